"""The Wishart family of a positive definite matrix: scatters, precisions, covariances."""

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._factors import (
    covariance_of,
    inverse_of_lower,
    log_det_of,
    precision_factor,
    precision_of,
    product,
    whitener,
)
from ._family import (
    ExponentialFamily,
    as_float,
    check_one,
    made,
    newton_maximum,
    one_event,
    outside,
)
from ._special import deviance, stirling


class Scatters(NamedTuple):
    """Counts, sums of log-determinants, and sums of matrices."""

    count: Array
    log_det: Array
    matrix: Array


class Wishart(ExponentialFamily):
    """Wishart density of a positive definite matrix X (d, d), of mean M = df scale, df > d - 1.

    log p(X) = (df - d - 1) / 2 log|X| - df tr(M^-1 X) / 2 - df / 2 log|M| + df d / 2 log(df / 2)
    - log Gamma_d(df / 2), in nats (Wishart 1928, doi 10.2307/2331939).

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> jm.Wishart(3, jnp.eye(2)).log_prob(jnp.eye(2)).round(4)
        Array(-3.5310, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    log_excess: Float[Array, "*stack"]
    factor: Float[Array, "*stack d d"]
    dim = property(lambda self: self.factor.shape[-1])
    df = property(lambda self: self.dim - 1 + jnp.exp(self.log_excess))
    mean = property(lambda self: covariance_of(self.factor))
    scale = property(lambda self: self.mean / self.df[..., None, None])
    num_parameters = property(lambda self: 1 + self.dim * (self.dim + 1) // 2)

    def __init__(self, df, scale):
        self.log_excess, self.factor = df, scale = as_float(df, scale)
        check_one(self)
        self.factor = precision_factor(df * scale)
        self.log_excess = jnp.log(df - self.dim + 1)

    def _safe(self, x):
        """A matrix safe off the support, its log-determinant, and 0, -inf or NaN by the support."""
        x = one_event(x, self.factor.shape[-2:], self)
        inside = jnp.all(jnp.isfinite(jnp.linalg.cholesky(x)))
        safe = jnp.where(inside, x, jnp.eye(self.dim, dtype=x.dtype))
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(safe))))
        return safe, log_det, outside(inside, jnp.sum(x))

    def log_base(self, x):
        _, log_det, base = self._safe(x)
        return base - 0.5 * (self.dim + 1) * log_det

    def log_prob(self, x):
        x, log_det, base = self._safe(x)
        upper, excess = whitener(self.factor), jnp.exp(self.log_excess)
        whole = product(upper.T, x, upper)
        gap = log_det + 2 * log_det_of(self.factor) - jnp.trace(whole - jnp.eye(self.dim))
        slope = 0.5 * self.df * gap - 0.5 * (self.dim + 1) * log_det
        return _head(excess, self.dim) + slope + base

    def stats(self, x, origin=None):
        x, log_det, _ = self._safe(x)
        return Scatters(jnp.ones_like(log_det), log_det, x)

    def natural(self, origin=None):
        half = 0.5 * self.df
        head = half * (self.dim + 2 * log_det_of(self.factor))
        head = head + _head(jnp.exp(self.log_excess), self.dim)
        return Scatters(head, half, -half[..., None, None] * precision_of(self.factor))

    def log_normaliser(self, natural, origin=None):
        lower, half = jnp.linalg.cholesky(-natural.matrix), natural.log_det
        inside = (half > 0.5 * (self.dim - 1)) & jnp.all(jnp.isfinite(lower), (-2, -1))
        log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)), -1)
        value = jax.scipy.special.multigammaln(half, self.dim) - half * log_det
        return jnp.where(inside, value, jnp.full_like(value, jnp.inf))

    def _gap(self, stats):
        """The mean factor, and what log|X| has on average above log|M|: not above 0."""
        factor = precision_factor(stats.matrix / stats.count[..., None, None])
        return factor, stats.log_det / stats.count + 2 * log_det_of(factor)

    def from_stats(self, stats, origin=None) -> Self:
        factor, gap = self._gap(stats)

        def value(theta, gap):
            excess = jnp.exp(theta[0])
            return _head(excess, self.dim) + 0.5 * (self.dim - 1 + excess) * gap

        best = lambda start, gap: newton_maximum(value, start[None], gap)[0]
        log_excess = jnp.vectorize(best)(self.log_excess, gap)
        return made(type(self), log_excess=log_excess, factor=factor)

    def floor(self, stats, share):
        gap = self._gap(stats)[1]
        return Scatters(jnp.zeros_like(gap), share * gap, jnp.zeros_like(stats.matrix))

    def on_boundary(self, floor):
        # The gap is d (d + 1) / (2 df) at many degrees of freedom; a log-determinant is rounded.
        size = self.dim + 2 * jnp.abs(log_det_of(self.factor))
        rounding = 4 * jnp.finfo(size.dtype).eps * size
        return self.dim * (self.dim + 1) / (2 * self.df) <= rounding - 2 * floor.log_det

    def sample(self, key):
        """Bartlett (1934): a triangular factor of independent entries."""
        k_normal, k_gamma = jax.random.split(key)
        below = jnp.tril(jax.random.normal(k_normal, self.factor.shape, self.factor.dtype), -1)
        halves = 0.5 * (self.df - jnp.arange(self.dim, dtype=self.factor.dtype))
        lower = below + jnp.diag(jnp.sqrt(2 * jax.random.gamma(k_gamma, halves)))
        root = product(inverse_of_lower(whitener(self.factor).T), lower)
        return product(root, root.T) / self.df


def _head(excess, dim):
    """(df d / 2) (log(df / 2) - 1) - log Gamma_d(df / 2), df the excess over d - 1.

    Nothing large cancels, nor is a small excess lost beside d - 1.
    """
    log_pi = 1.1447298858494002
    below = 0.5 * jnp.arange(dim, dtype=excess.dtype)
    each = 0.5 * excess[..., None] + below[::-1]
    log_half = jnp.log(0.5 * (excess + dim - 1))[..., None]
    terms = stirling(each) - deviance(each, log_half) + below * log_half
    return jnp.sum(terms, -1) - 0.25 * dim * (dim - 1) * log_pi
