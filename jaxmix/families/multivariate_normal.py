"""Normal families of a vector with a full covariance: one each, or one tied over a stack."""

import functools
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._platform import product_precision
from ._factors import (
    COVARIANCE,
    HIGHEST,
    covariance_of,
    definite,
    inverse_of_lower,
    log_det_of,
    precision_factor,
    precision_of,
    whitener,
)
from ._family import LOG_2_PI, Moments, ProductForm, finite, one_event, stated, store
from ._moments import OfMoments, floor_with_rounding, mean_and_scatter
from ._pairs import matrix_of_pairs, products_of_pairs, weights_of_pairs
from ._seen import SeenFull

FEW = 4  # dimensions in which features are as soon made as products of matrices


def _white(upper: Array, shift: Array) -> Array:
    return jnp.einsum("...ij,...i->...j", upper, shift, precision=HIGHEST)


class _FullCovariance(ProductForm, OfMoments, SeenFull):
    """What the untied and the tied family share: everything but who owns the factor."""

    reparametrised: ClassVar[bool] = True
    rows_last: ClassVar[bool] = True
    own_products: ClassVar[bool] = True
    about: ClassVar[str] = "mean"
    triangular: ClassVar[tuple[str, ...]] = ("factor",)

    mean: eqx.AbstractVar[Array]
    factor: eqx.AbstractVar[Array]
    forms = COVARIANCE
    dim = property(lambda self: self.mean.shape[-1])

    @property
    def _factors(self) -> Array:
        """The factor with the axes of the stack, of length 1 where one serves a whole axis."""
        return self.factor

    def _for_each(self, matrix: Array) -> Float[Array, "*stack d d"]:
        return jnp.broadcast_to(matrix, (*self.mean.shape, self.dim))

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        return self._for_each(covariance_of(self._factors))

    variance = stated(lambda self: jnp.diagonal(self.covariance, axis1=-2, axis2=-1), "d")
    precision = stated(lambda self: self._for_each(precision_of(self._factors)), "d", "d")
    _head = property(lambda self: log_det_of(self._factors) - 0.5 * self.dim * LOG_2_PI)

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        x, base = finite(one_event(x, (self.dim,), self))
        r = x - self.mean
        z = jnp.dot(r, whitener(self.factor), precision=product_precision(r))
        return base + self._head - jnp.sum(0.5 * z * z)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        solve = jax.scipy.linalg.solve_triangular
        return self.mean + solve(whitener(self.factor), z, trans="T", lower=False)

    def stats(self, x, origin=None) -> Moments:
        r = one_event(x, (self.dim,), self) - origin
        return Moments(jnp.ones((), r.dtype), r, r[:, None] * r[None, :])

    def pair(self, t: Moments, x, origin=None) -> Scalar:
        r = x - origin
        # The square as two products with r: its transpose is a matrix product over the data.
        dot = functools.partial(jnp.dot, precision=product_precision(r))
        linear, square = dot(t.first, r), dot(r, dot(t.second, r))
        return t.count + linear + square

    def natural(self, origin=None) -> Moments:
        shift, upper = self.mean - origin, whitener(self._factors)
        precision = jnp.einsum("...ik,...jk->...ij", upper, upper, precision=HIGHEST)
        linear = jnp.einsum("...ij,...j->...i", precision, shift, precision=HIGHEST)
        head = self._head - 0.5 * jnp.sum(_white(upper, shift) ** 2, -1)
        return Moments(head, linear, self._for_each(-0.5 * precision))

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        second = natural.second
        lower, log_det, inside = definite(-second - jnp.swapaxes(second, -1, -2))
        whitened = jnp.einsum(
            "...ij,...j->...i", inverse_of_lower(lower), natural.first, precision=HIGHEST
        )
        value = 0.5 * (jnp.sum(whitened**2, -1) - log_det + self.dim * LOG_2_PI)
        return jnp.where(inside, value, jnp.inf)

    def on_boundary(self, floor: Moments):
        # Least variances from the largest precision, which is known to its own digits, each
        # coordinate in units of its own floor, then of its own scale.
        precision, covariance = self.precision, self.covariance
        diagonal = lambda matrix: jnp.diagonal(matrix, axis1=-2, axis2=-1)
        in_units = lambda unit: precision * unit[..., :, None] * unit[..., None, :]
        lowest = floor_with_rounding(diagonal(floor.second), self.mean)
        at_floor = jnp.linalg.eigvalsh(in_units(jnp.sqrt(lowest)))[..., -1] >= 1
        # Below this share of the largest, a Cholesky factor cannot tell a variance from 0.
        shares = jnp.abs(jnp.linalg.eigvalsh(in_units(jnp.sqrt(diagonal(covariance)))))
        return at_floor | (shares[..., 0] <= 8 * jnp.finfo(shares.dtype).eps * shares[..., -1])

    def features(self, residual):
        # Pairs of (x - origin, 1): the quadratic terms, the linear ones, and a constant.
        return products_of_pairs(jnp.concatenate([residual, jnp.ones_like(residual[:1])]))

    def product_natural(self, origin):
        natural = self.natural(origin)
        half = 0.5 * natural.first[..., None]
        above = jnp.concatenate([natural.second, half], -1)
        below = jnp.concatenate([jnp.swapaxes(half, -1, -2), jnp.zeros_like(half[..., :1, :])], -1)
        return natural.count, weights_of_pairs(jnp.concatenate([above, below], -2))

    def from_features(self, count, sums) -> Moments:
        square = matrix_of_pairs(sums, self.dim + 1)
        return Moments(count, square[..., -1, :-1], square[..., :-1, :-1])

    # Of many rows, these come last: nothing is transposed.

    def own_log_probs(self, events):
        if self.dim <= FEW:
            return super().own_log_probs(events)
        r = events.T - self.mean[:, None]
        z = jnp.dot(whitener(self.factor).T, r, precision=product_precision(r))
        return self._head - jnp.sum(0.5 * z * z, 0)

    def weighed_stats(self, events, weights) -> Moments:
        if self.dim <= FEW:
            return super().weighed_stats(events, weights)
        # One product with the residuals: there are half as many features as squares, to be made.
        r = events.T - self.mean[:, None]
        dot = functools.partial(jnp.dot, precision=product_precision(r))
        return Moments(jnp.sum(weights), dot(r, weights), dot(r * weights[None], r.T))

    def spread(self, origin):
        return jnp.max(_white(whitener(self._factors), self.mean - origin) ** 2, -1)


class MultivariateNormal(_FullCovariance):
    """Normal density of a vector with a full covariance.

    log p(x) = -|W'(x - mean)|^2 / 2 + log det W - d log(2 pi) / 2, W W' = covariance^-1, in nats.
    W is stored (upper triangular, logarithm on the diagonal), so that no datum costs a solve.

    Args:
        mean: vector (d,).
        covariance: positive definite matrix (d, d); or one of the following instead:
        scale_tril: its lower triangular factor, with a positive diagonal.
        precision: its inverse.
        factor: the matrix W as it is stored: any (d, d), whose upper triangle counts.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.MultivariateNormal(jnp.zeros(2), jnp.eye(2)).log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    factor: Float[Array, "*stack d d"]

    def __init__(self, mean, covariance=None, *, scale_tril=None, precision=None, factor=None):
        forms = {"scale_tril": scale_tril, "precision": precision, "factor": factor}
        store(self, mean=mean, covariance=covariance, **forms)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        _, shift, scatter = mean_and_scatter(stats)
        return self._replace(mean=origin + shift, factor=precision_factor(scatter))


class TiedMultivariateNormal(_FullCovariance):
    """Normal densities of vectors, one covariance for the whole last axis of a stack.

    Args:
        mean: vector (d,) of one density, or (k, d) of a stack.
        covariance: the one positive definite matrix (d, d); or `scale_tril`, `precision` or
            `factor` instead, as in `MultivariateNormal`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.TiedMultivariateNormal(jnp.zeros((3, 2)), jnp.eye(2)).stack_shape
        (3,)
    """

    shared: ClassVar[tuple[str, ...]] = ("factor",)

    mean: Float[Array, "*stack d"]
    factor: Float[Array, "*outer d d"]

    def __init__(self, mean, covariance=None, *, scale_tril=None, precision=None, factor=None):
        forms = {"scale_tril": scale_tril, "precision": precision, "factor": factor}
        store(self, mean=mean, covariance=covariance, **forms)

    @property
    def is_tied(self) -> bool:
        """Whether there is a stack, for which this is the one covariance."""
        return self.factor.ndim - 2 < len(self.stack_shape)

    _factors = property(lambda self: self.factor[..., None, :, :] if self.is_tied else self.factor)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        count, shift, scatter = mean_and_scatter(stats)
        mean = origin + shift
        if self.is_tied:
            # An emptied density has no mean residual, and no say in the pool.
            used = jnp.where(count[..., None, None] > 0, count[..., None, None] * scatter, 0)
            scatter = jnp.sum(used, -3) / jnp.sum(count, -1)[..., None, None]
        return self._replace(mean=mean, factor=precision_factor(scatter))
