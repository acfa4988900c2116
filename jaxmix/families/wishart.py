"""The Wishart family of a positive definite matrix: scatters, precisions, covariances."""

from typing import ClassVar, NamedTuple, Self

import jax.numpy as jnp
from jax.scipy.special import multigammaln
from jaxtyping import Array, Float

from . import _factors as of
from ._family import ExponentialFamily, made, newton_maximum, store, within
from ._special import scatter_head


class Scatters(NamedTuple):
    """Counts, sums of log-determinants, and sums of matrices."""

    count: Array
    log_det: Array
    matrix: Array


class Wishart(ExponentialFamily):
    """Wishart density of a positive definite matrix X (d, d), of mean M = df scale, df > d - 1.

    log p(X) = (df - d - 1) / 2 log|X| - df tr(M^-1 X) / 2 - df / 2 log|M| + df d / 2 log(df / 2)
    - log Gamma_d(df / 2), in nats (Wishart 1928, doi 10.2307/2331939). Unconstrained are
    `log_excess`, log(df - d + 1), and `scale_tril`, the lower factor of the scale.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> jm.Wishart(3, jnp.eye(2)).log_prob(jnp.eye(2)).round(4)
        Array(-3.5310, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    triangular, width_in = ("factor",), "log_det"
    log_excess: Float[Array, "*stack"]
    factor: Float[Array, "*stack d d"]
    forms = of.forms_of("scale") | {"df": ("log_excess", lambda df: df)}
    dim = property(lambda self: self.factor.shape[-1])
    df = property(lambda self: self.dim - 1 + jnp.exp(self.log_excess))
    mean = property(lambda self: of.covariance_of(self.factor))
    scale = property(lambda self: self.mean / self.df[..., None, None])
    width = property(lambda self: of.log_det_width(self.factor, self.df))
    _head = property(lambda self: scatter_head(self.log_excess, self.dim))

    def __init__(self, df=None, scale=None, *, log_excess=None, scale_tril=None):
        store(self, df=df, log_excess=log_excess, scale=scale, scale_tril=scale_tril)
        if log_excess is None:
            self.log_excess = jnp.log(self.log_excess - self.dim + 1)
        upper = of.whitener(self.factor) / jnp.sqrt(self.df)[..., None, None]
        self.factor = of.mapped_diagonal(jnp.log, upper)

    def log_base(self, x):
        _, log_det, base = of.if_definite(x, self)
        return base - 0.5 * (self.dim + 1) * log_det

    def log_prob(self, x):
        x, log_det, base = of.if_definite(x, self)
        beyond = jnp.sum(jnp.diagonal(of.whitened(x, self.factor, self.factor)) - 1)
        gap = log_det + 2 * of.log_det_of(self.factor) - beyond
        return self._head + 0.5 * self.df * gap - 0.5 * (self.dim + 1) * log_det + base

    def stats(self, x, origin=None):
        x, log_det, _ = of.if_definite(x, self)
        return Scatters(jnp.ones_like(log_det), log_det, x)

    def natural(self, origin=None):
        half = 0.5 * self.df
        head = self._head + half * (self.dim + 2 * of.log_det_of(self.factor))
        return Scatters(head, half, -half[..., None, None] * of.precision_of(self.factor))

    def log_normaliser(self, natural, origin=None):
        (_, log_det, inside), half = of.definite(-natural.matrix), natural.log_det
        value = lambda half, log_det: multigammaln(half, self.dim) - half * log_det
        return within(inside & (half > 0.5 * (self.dim - 1)), value, half, log_det)

    def width_of(self, stats):
        # What log|X| has on average above log|M|: not above 0.
        mean = of.mean_factor(stats.matrix, stats.count)
        return stats.log_det / stats.count + 2 * of.log_det_of(mean)

    def from_stats(self, stats, origin=None) -> Self:
        value = lambda log, gap: scatter_head(log[0], self.dim) + 0.5 * jnp.exp(log[0]) * gap
        best = newton_maximum(value, self.log_excess[..., None], self.width_of(stats))
        factor = of.mean_factor(stats.matrix, stats.count)
        return made(type(self), log_excess=best[..., 0], factor=factor)

    def sample(self, key):
        root = of.product(of.scale_of(self.factor), of.bartlett(key, self.df, self.dim))
        return of.product(root, root.T) / self.df
