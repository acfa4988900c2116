"""Normal families of a vector some of whose coordinates are missing."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from .._density import one_event
from .._refittable import Moments, Refittable
from ._entrances import entrance, of_field, stated
from ._seen import SeenDiagonal, SeenFull
from ._support import Domain
from .diagonal_normal import DiagonalNormal, SphericalNormal
from .multivariate_normal import MultivariateNormal, TiedMultivariateNormal

THIN = 30.0  # logarithms by which a placeholder's scale is lowered where it is to add nothing


class Completed(Refittable):
    """A normal family whose events show a part of a vector: the statistics are completed ones."""

    whole: eqx.AbstractVar[Any]
    dim, covariance = of_field("whole", "dim"), of_field("whole", "covariance")
    mean = origin = of_field("whole", "mean")
    num_parameters = of_field("whole", "num_parameters")
    num_shared_parameters = of_field("whole", "num_shared_parameters")
    sample, expected_log_prob = of_field("whole", "sample"), of_field("whole", "expected_log_prob")
    zero_stats, on_boundary = of_field("whole", "zero_stats"), of_field("whole", "on_boundary")
    floor, recentre = of_field("whole", "floor"), of_field("whole", "recentre")

    variance = stated(lambda self: jnp.diagonal(self.whole.covariance, axis1=-2, axis2=-1), "d")

    def from_stats(self, stats: Moments, origin=None) -> Self:
        return self._replace(whole=self.whole.from_stats(stats, origin))

    def placed_at(self, origin) -> Self:
        return self._replace(whole=self.whole.placed_at(origin))


class CompletedFull(Completed):
    """With a full covariance."""

    def _stats(self, mean, covariance, origin) -> Moments:
        """Of a vector of which this mean and covariance are known."""
        r = mean - origin
        return Moments(jnp.ones((), r.dtype), r, r[:, None] * r[None, :] + covariance)


class _Partial(Completed):
    """What some coordinates of may be missing, which are NaN."""

    nan_is_missing: ClassVar[bool] = True

    @property
    def bare(self) -> Self:
        whole: Any = self.whole
        if hasattr(whole, "log_scale"):
            thin = whole._replace(log_scale=whole.log_scale - THIN)
        else:  # the factor of the precision, of whose diagonal the logarithms are stored
            eye = jnp.eye(self.dim, dtype=bool)
            factor = jnp.where(eye, whole.factor + THIN, whole.factor * jnp.exp(THIN))
            thin = whole._replace(factor=factor)
        return self._replace(whole=thin)

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        seen: Any = self  # a `SeenInPart`
        return seen.observed_log_prob(one_event(x, (self.dim,), self))

    @property
    def domain(self) -> Domain:
        return Domain(f"a vector of {self.dim} numbers (NaN if missing)", dim=self.dim, nan=True)


class PartialNormal(CompletedFull, _Partial, SeenFull):
    """Normal density of a vector in which NaN is a missing coordinate, marginalised exactly.

    log p(x) is that of the observed coordinates alone, in nats; 0 where none is. EM uses the
    expected moments of the missing ones given the observed (Dempster, Laird and Rubin 1977).

    Args:
        mean: vector (d,).
        covariance: positive definite matrix (d, d); or `scale_tril`, `precision` or `factor`
            instead, as in `MultivariateNormal`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> density = jm.PartialNormal(jnp.zeros(2), jnp.eye(2))
        >>> density.log_prob(jnp.array([0.0, jnp.nan])).round(4)
        Array(-0.9189, dtype=float32)
    """

    whole: MultivariateNormal | TiedMultivariateNormal

    def __init__(self, mean, covariance=None, *, scale_tril=None, precision=None, factor=None):
        forms = {"scale_tril": scale_tril, "precision": precision, "factor": factor}
        self.whole = MultivariateNormal(mean, covariance, **forms)

    @classmethod
    def template(cls, dim: int, *, tied: bool = False) -> Self:
        """A placeholder of this dimension for a fit; `tied` for one covariance for a stack."""
        one = cls(jnp.zeros(dim), jnp.eye(dim))
        return one._replace(whole=TiedMultivariateNormal.template(dim)) if tied else one

    def stats(self, x, origin=None) -> Moments:
        return self._stats(*self.completed(one_event(x, (self.dim,), self)), origin)


class PartialDiagonalNormal(_Partial, SeenDiagonal):
    """Normal density of a vector with independent coordinates, NaN where one is missing.

    log p(x) = sum over the observed i of log N(x_i; mean_i, scale_i), in nats; 0 where none is.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,), or one positive scalar for all coordinates.
        log_scale: their logarithms, or its own, any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> density = jm.PartialDiagonalNormal(jnp.zeros(2), jnp.ones(2))
        >>> density.log_prob(jnp.array([0.0, jnp.nan])).round(4)
        Array(-0.9189, dtype=float32)
    """

    whole: DiagonalNormal | SphericalNormal
    log_scale = of_field("whole", "log_scale")

    def __init__(self, mean, scale=None, *, log_scale=None):
        forms: dict[str, Any] = {"scale": scale, "log_scale": log_scale}
        given = forms[entrance("PartialDiagonalNormal", **forms)]
        family = SphericalNormal if jnp.ndim(given) == 0 else DiagonalNormal
        self.whole = family(mean, scale, log_scale=log_scale)

    @classmethod
    def template(cls, dim: int, *, spherical: bool = False) -> Self:
        """A placeholder of this dimension for a fit; `spherical` for one scale."""
        return cls(jnp.zeros(dim), 1.0 if spherical else jnp.ones(dim))

    def stats(self, x, origin=None) -> Moments:
        seen, residual = self._observed(one_event(x, (self.dim,), self))
        r = residual + (self.mean - origin)
        variance = jnp.broadcast_to(self.whole.variance, r.shape)
        second = r * r + jnp.where(seen, jnp.zeros_like(r), variance)
        one_scale = isinstance(self.whole, SphericalNormal)
        return Moments(jnp.ones((), r.dtype), r, jnp.sum(second) if one_scale else second)
