"""Normal families of a vector some of whose coordinates are missing."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._exponential import Moments, Refittable
from ._domain import Domain
from .diagonal_normal import DiagonalNormal, SphericalNormal
from .multivariate_normal import MultivariateNormal, TiedMultivariateNormal
from .normal import LOG_2_PI


def _inverse_and_log_det(matrix: Float[Array, "d d"]) -> tuple[Array, Array]:
    """Of a positive definite matrix, by sweeping: no triangular solve in a datum's path."""

    def sweep(k, carry):
        a, log_det = carry
        pivot, column = a[k, k], a[:, k]
        at = jnp.arange(a.shape[0]) == k
        swept = a - column[:, None] * column[None] / pivot
        edge = jnp.where(at, -1 / pivot, column / pivot)
        swept = jnp.where(at[:, None], edge[None], jnp.where(at[None], edge[:, None], swept))
        return swept, log_det + jnp.log(pivot)

    start = (matrix, jnp.zeros((), matrix.dtype))
    negative, log_det = jax.lax.fori_loop(0, matrix.shape[0], sweep, start)
    return -negative, log_det


class _Partial(Refittable):
    """A normal family whose events may lack coordinates: the statistics are completed ones."""

    ranks: ClassVar[dict[str, int]] = {}
    nan_is_missing: ClassVar[bool] = True

    whole: eqx.AbstractVar[Any]

    @property
    def domain(self) -> Domain:
        return Domain(f"a vector of {self.dim} numbers (NaN if missing)", dim=self.dim, nan=True)

    @property
    def dim(self) -> int:
        return self.whole.dim

    @property
    def mean(self) -> Float[Array, "*stack d"]:
        return self.whole.mean

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        return self.whole.covariance

    @property
    def origin(self):
        return self.whole.mean

    @property
    def num_parameters(self) -> int:
        return self.whole.num_parameters

    @property
    def num_shared_parameters(self) -> int:
        return getattr(self.whole, "num_shared_parameters", 0)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return self.whole.sample(key)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        return eqx.tree_at(lambda m: m.whole, self, self.whole.from_stats(stats, origin))

    def expected_log_prob(self, stats: Moments, origin=None) -> Scalar:
        return self.whole.expected_log_prob(stats, origin)

    def floor(self, stats: Moments, share) -> Moments:
        return self.whole.floor(stats, share)

    def recentre(self, stats: Moments, old, new) -> Moments:
        return self.whole.recentre(stats, old, new)

    def zero_stats(self) -> Moments:
        return self.whole.zero_stats()

    def on_boundary(self, floor: Moments):
        return self.whole.on_boundary(floor)


class PartialNormal(_Partial):
    """Normal density of a vector in which NaN is a missing coordinate, marginalised exactly.

    log p(x) is that of the observed coordinates alone, in nats; 0 where none is. EM uses the
    expected moments of the missing ones given the observed (Dempster, Laird and Rubin 1977).

    Args:
        mean: vector (d,).
        covariance: positive definite matrix (d, d).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> density = jm.PartialNormal(jnp.zeros(2), jnp.eye(2))
        >>> density.log_prob(jnp.array([0.0, jnp.nan])).round(4)
        Array(-0.9189, dtype=float32)
    """

    whole: MultivariateNormal | TiedMultivariateNormal

    def __init__(self, mean, covariance):
        self.whole = MultivariateNormal(mean, covariance)

    @classmethod
    def template(cls, dim: int, *, tied: bool = False) -> Self:
        """A placeholder of this dimension for a fit; `tied` for one covariance for a stack."""
        one = cls(jnp.zeros(dim), jnp.eye(dim))
        if not tied:
            return one
        return eqx.tree_at(lambda m: m.whole, one, TiedMultivariateNormal.template(dim))

    def _observed(self, x):
        """What is seen, residuals there, the inverse of the covariance there, its log det."""
        seen = ~jnp.isnan(x)
        residual = jnp.where(seen, x - self.mean, jnp.zeros_like(x))
        both = seen[:, None] & seen[None]
        # The identity where nothing is seen: determinant 1, and no link to the rest.
        block = jnp.where(both, self.covariance, jnp.eye(self.dim, dtype=x.dtype))
        inverse, log_det = _inverse_and_log_det(block)
        return seen, residual, jnp.where(both, inverse, jnp.zeros_like(inverse)), log_det

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        seen, residual, inverse, log_det = self._observed(x)
        square = jnp.dot(residual, jnp.matmul(inverse, residual, precision="highest"))
        return -0.5 * (square + log_det + jnp.sum(seen).astype(x.dtype) * LOG_2_PI)

    def completed(self, x: Float[Array, " d"]) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of the whole vector given its observed coordinates."""
        seen, residual, inverse, _ = self._observed(x)
        covariance = self.covariance
        slope = jnp.matmul(covariance, inverse, precision="highest")
        mean = self.mean + jnp.matmul(slope, residual, precision="highest")
        rest = covariance - jnp.matmul(slope, covariance, precision="highest")
        unseen = ~seen[:, None] & ~seen[None]
        return jnp.where(seen, x, mean), jnp.where(unseen, rest, jnp.zeros_like(rest))

    def stats(self, x, origin=None) -> Moments:
        mean, covariance = self.completed(x)
        r = mean - (self.mean if origin is None else origin)
        return Moments(jnp.ones((), r.dtype), r, r[:, None] * r[None, :] + covariance)


class PartialDiagonalNormal(_Partial):
    """Normal density of a vector with independent coordinates, NaN where one is missing.

    log p(x) = sum over the observed i of log N(x_i; mean_i, scale_i), in nats; 0 where none is.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,), or one positive scalar for all coordinates.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> density = jm.PartialDiagonalNormal(jnp.zeros(2), jnp.ones(2))
        >>> density.log_prob(jnp.array([0.0, jnp.nan])).round(4)
        Array(-0.9189, dtype=float32)
    """

    whole: DiagonalNormal | SphericalNormal

    def __init__(self, mean, scale):
        one = jnp.ndim(scale) == 0
        self.whole = SphericalNormal(mean, scale) if one else DiagonalNormal(mean, scale)

    @classmethod
    def template(cls, dim: int, *, spherical: bool = False) -> Self:
        """A placeholder of this dimension for a fit; `spherical` for one scale."""
        return cls(jnp.zeros(dim), 1.0 if spherical else jnp.ones(dim))

    def _observed(self, x):
        """What is seen, and residuals there."""
        seen = ~jnp.isnan(x)
        return seen, jnp.where(seen, x - self.mean, jnp.zeros_like(x))

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        seen, residual = self._observed(x)
        log_scale = jnp.broadcast_to(self.whole.log_scale, residual.shape)
        z = residual * jnp.exp(-log_scale)
        each = -0.5 * z * z - log_scale - 0.5 * LOG_2_PI
        return jnp.sum(jnp.where(seen, each, jnp.zeros_like(each)))

    def stats(self, x, origin=None) -> Moments:
        seen, residual = self._observed(x)
        r = residual + (jnp.zeros_like(residual) if origin is None else self.mean - origin)
        variance = jnp.broadcast_to(self.whole.variance, r.shape)
        second = r * r + jnp.where(seen, jnp.zeros_like(r), variance)
        one_scale = isinstance(self.whole, SphericalNormal)
        return Moments(jnp.ones((), r.dtype), r, jnp.sum(second) if one_scale else second)
