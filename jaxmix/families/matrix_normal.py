"""The normal family of a matrix whose rows and columns have a covariance each."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _factors as of
from ._family import LOG_2_PI, ExponentialFamily, Moments, finite, made, one_event, store
from ._moments import OfMoments, mean_and_scatter
from .multivariate_normal import MultivariateNormal


class MatrixNormal(ExponentialFamily, OfMoments):
    """Normal density of a matrix (n, p): cov(X_ia, X_jb) = rows_ij columns_ab.

    log p(X) = -tr(columns^-1 (X - mean)' rows^-1 (X - mean)) / 2 - (n p log(2 pi) + p log|rows|
    + n log|columns|) / 2, in nats. The M-step maximises in mean and rows, then in columns, each
    given the other, as of Dutilleul (1999, doi 10.1080/00949659908811970); |columns| is kept at 1.
    `rows_tril` and `columns_tril` are the lower factors of the covariances.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> density = jm.MatrixNormal(jnp.zeros((2, 3)), rows=jnp.eye(2), columns=jnp.eye(3))
        >>> density.log_prob(jnp.zeros((2, 3))).round(4)  # -3 log(2 pi)
        Array(-5.5136, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about, triangular = "mean", ("row_factor", "column_factor")
    mean: Float[Array, "*stack n p"]
    row_factor: Float[Array, "*stack n n"]
    column_factor: Float[Array, "*stack p p"]
    forms = of.forms_of("rows", "row_factor") | of.forms_of("columns", "column_factor")
    rows = property(lambda self: of.covariance_of(self.row_factor))
    columns = property(lambda self: of.covariance_of(self.column_factor))

    def __init__(self, mean, rows=None, columns=None, *, rows_tril=None, columns_tril=None):
        forms = {"rows": rows, "rows_tril": rows_tril}
        store(self, mean=mean, **forms, columns=columns, columns_tril=columns_tril)

    @property
    def num_parameters(self) -> int:
        return super().num_parameters - 1  # of what the rows and the columns may share

    @property
    def _vector(self) -> MultivariateNormal:
        """The density of the matrix as one vector, for statistics, which are those of the vector."""
        factor = of.kronecker(self.row_factor, self.column_factor)
        return made(MultivariateNormal, mean=_flat(self.mean), factor=factor)

    def log_prob(self, x):
        x, base = finite(one_event(x, self.mean.shape[-2:], self))
        (n, p), factors = x.shape, (self.row_factor, self.column_factor)
        z, (rows, columns) = of.whitened(x - self.mean, *factors), map(of.log_det_of, factors)
        return base + p * rows + n * columns - 0.5 * (n * p * LOG_2_PI + jnp.sum(z * z))

    def sample(self, key):
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        rows, columns = of.scale_of(self.row_factor), of.scale_of(self.column_factor)
        return self.mean + of.product(rows, z, columns.T)

    def stats(self, x, origin=None):
        flat = (one_event(x, self.mean.shape[-2:], self) - origin).ravel()
        return Moments(jnp.ones((), flat.dtype), flat, flat[:, None] * flat[None])

    def natural(self, origin=None):
        return self._vector.natural(_flat(origin))

    def log_normaliser(self, natural, origin=None):
        return self._vector.log_normaliser(natural)

    def from_stats(self, stats, origin=None) -> Self:
        (n, p), (_, shift, scatter) = self.mean.shape[-2:], mean_and_scatter(stats)
        scatter = scatter.reshape(*stats.count.shape, n, p, n, p)
        given = lambda which, matrix: jnp.einsum(which, scatter, matrix, precision=of.HIGHEST)
        rows = given("...iajb,...ab->...ij", of.precision_of(self.column_factor)) / p
        columns = given("...iajb,...ij->...ab", of.precision_of(of.precision_factor(rows))) / n
        log_det = -2 * of.log_det_of(of.precision_factor(columns))  # goes to the rows
        unit = jnp.exp(log_det / p)[..., None, None]
        row_factor, column_factor = map(of.precision_factor, (rows * unit, columns / unit))
        mean = origin + shift.reshape(self.mean.shape)
        return self._replace(mean=mean, row_factor=row_factor, column_factor=column_factor)

    def on_boundary(self, floor):
        return self._vector.on_boundary(floor)

    def recentre(self, stats, old, new):
        return super().recentre(stats, _flat(old), _flat(new))


def _flat(matrix):
    return matrix.reshape(*matrix.shape[:-2], -1)
