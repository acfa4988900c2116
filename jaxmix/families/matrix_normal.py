"""The normal family of a matrix whose rows and columns have a covariance each."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._factors import (
    HIGHEST,
    covariance_of,
    inverse_of_lower,
    log_det_of,
    precision_factor,
    precision_of,
    product,
    whitener,
)
from ._family import LOG_2_PI, ExponentialFamily, Moments, as_float, made, one_event
from ._moments import OfMoments, mean_and_scatter
from .multivariate_normal import MultivariateNormal


class MatrixNormal(ExponentialFamily, OfMoments):
    """Normal density of a matrix (n, p): cov(X_ia, X_jb) = rows_ij columns_ab.

    log p(X) = -tr(columns^-1 (X - mean)' rows^-1 (X - mean)) / 2 - (n p log(2 pi) + p log|rows|
    + n log|columns|) / 2, in nats. The M-step maximises in mean and rows, then in columns, each
    given the other, as of Dutilleul (1999, doi 10.1080/00949659908811970); |columns| is kept at 1.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> density = jm.MatrixNormal(jnp.zeros((2, 3)), rows=jnp.eye(2), columns=jnp.eye(3))
        >>> density.log_prob(jnp.zeros((2, 3))).round(4)  # -3 log(2 pi)
        Array(-5.5136, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    mean: Float[Array, "*stack n p"]
    row_factor: Float[Array, "*stack n n"]
    column_factor: Float[Array, "*stack p p"]
    about: ClassVar[str] = "mean"
    rows = property(lambda self: covariance_of(self.row_factor))
    columns = property(lambda self: covariance_of(self.column_factor))

    def __init__(self, mean, rows, columns):
        self.mean, rows, columns = as_float(mean, rows, columns)
        self.row_factor, self.column_factor = precision_factor(rows), precision_factor(columns)

    @property
    def num_parameters(self) -> int:
        n, p = self.mean.shape[-2:]
        return n * p + n * (n + 1) // 2 + p * (p + 1) // 2 - 1

    def _head(self):
        n, p = self.mean.shape[-2:]
        halves = p * log_det_of(self.row_factor) + n * log_det_of(self.column_factor)
        return halves - 0.5 * n * p * LOG_2_PI

    def log_prob(self, x):
        r = one_event(x, self.mean.shape[-2:], self) - self.mean
        z = product(whitener(self.row_factor).T, r, whitener(self.column_factor))
        return self._head() - 0.5 * jnp.sum(z * z)

    def sample(self, key):
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        root = lambda factor: inverse_of_lower(whitener(factor).T)
        return self.mean + product(root(self.row_factor), z, root(self.column_factor).T)

    # Statistics are those of the matrix as one vector, row after row.

    def stats(self, x, origin=None):
        r = one_event(x, self.mean.shape[-2:], self) - (self.mean if origin is None else origin)
        flat = r.ravel()
        return Moments(jnp.ones((), r.dtype), flat, flat[:, None] * flat[None])

    def natural(self, origin=None):
        shift = self.mean - (self.mean if origin is None else origin)
        rows, columns = precision_of(self.row_factor), precision_of(self.column_factor)
        linear = _flat(product(rows, shift, columns))
        second = -0.5 * rows[..., :, None, :, None] * columns[..., None, :, None, :]
        head = self._head() - 0.5 * jnp.sum(linear * _flat(shift), -1)
        return Moments(head, linear, second.reshape(*linear.shape, linear.shape[-1]))

    def log_normaliser(self, natural, origin=None):
        vector = made(MultivariateNormal, mean=natural.first, factor=natural.second)  # of its size
        return vector.log_normaliser(natural)

    def from_stats(self, stats, origin=None) -> Self:
        (n, p), (_, shift, scatter) = self.mean.shape[-2:], mean_and_scatter(stats)
        scatter = scatter.reshape(*stats.count.shape, n, p, n, p)
        given = lambda which, matrix: jnp.einsum(which, scatter, matrix, precision=HIGHEST)
        rows = given("...iajb,...ab->...ij", precision_of(self.column_factor)) / p
        columns = given("...iajb,...ij->...ab", precision_of(precision_factor(rows))) / n
        log_det = -2 * log_det_of(precision_factor(columns))  # goes to the rows
        unit = jnp.exp(log_det / p)[..., None, None]
        mean = (self.mean if origin is None else origin) + shift.reshape(self.mean.shape)
        factors = precision_factor(rows * unit), precision_factor(columns / unit)
        return self._replace(mean=mean, row_factor=factors[0], column_factor=factors[1])

    def recentre(self, stats, old, new):
        return super().recentre(stats, _flat(old), _flat(new))


def _flat(matrix):
    return matrix.reshape(*matrix.shape[:-2], -1)
