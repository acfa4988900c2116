"""Normal vectors of which some coordinates are seen: densities of these, and of the rest given them."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .. import _loops
from .._density import LogDensity, one_event
from ._factors import product
from ._special import LOG_2_PI
from .normal import Normal


def inverse_and_log_det(matrix: Float[Array, "d d"]) -> tuple[Array, Array]:
    """Of a positive definite matrix, by sweeping: no triangular solve in a datum's path."""

    def sweep(k, carry):
        a, log_det = carry
        pivot, column = a[k, k], a[:, k]
        at = jnp.arange(a.shape[0]) == k
        swept = a - column[:, None] * (column / pivot)[None]  # squares would overflow
        edge = jnp.where(at, -1 / pivot, column / pivot)
        swept = jnp.where(at[:, None], edge[None], jnp.where(at[None], edge[:, None], swept))
        return swept, log_det + jnp.log(pivot)

    start = (matrix, jnp.zeros((), matrix.dtype))
    negative, log_det = _loops.fori_loop(0, matrix.shape[0], sweep, start)
    return -negative, log_det


class SeenInPart(LogDensity):
    """Normal families of vectors: NaN is a coordinate that is not seen, here and in `impute`."""

    mean: eqx.AbstractVar[Array]
    covariance: eqx.AbstractVar[Array]
    dim = property(lambda self: self.mean.shape[-1])

    @abc.abstractmethod
    def observed_log_prob(self, event: Float[Array, " d"]) -> Scalar:
        """Log-density of the coordinates that are seen, in nats; 0 where none is."""

    @abc.abstractmethod
    def completed(self, x: Float[Array, " d"]) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of the whole vector given the coordinates seen."""

    @abc.abstractmethod
    def _vector(self, mean: Float[Array, " m"], covariance: Float[Array, "m m"]) -> PyTree:
        """A normal density of some coordinates."""

    def _some(self, mean, covariance, fields) -> PyTree:
        if isinstance(fields, int | np.integer):
            return Normal(mean[fields], log_scale=0.5 * jnp.log(covariance[fields, fields]))
        at = np.asarray(fields)
        return self._vector(mean[at], covariance[np.ix_(at, at)])

    def _check(self, fields) -> None:
        whole = np.asarray(fields)
        fine = whole.dtype.kind in "iu" and whole.ndim < 2 and whole.size > 0
        fine = fine and whole.min() >= 0 and whole.max() < self.dim
        if not fine or np.unique(whole).size < whole.size:
            raise ValueError(
                f"The fields of a vector are coordinates 0 to {self.dim - 1}, one or a list of "
                f"different ones; {fields!r} was given."
            )

    def split(self, event: Float[Array, " d"], field) -> tuple[Scalar, PyTree]:
        """Log-density of the other coordinates seen, and the density of these given them."""
        self._check(field)
        event = one_event(event, (self.dim,), self)
        asked = np.isin(np.arange(self.dim), np.asarray(field))
        others = jnp.where(asked, jnp.nan, event)
        return self.observed_log_prob(others), self._some(*self.completed(others), field)

    def conditional(self, event: Float[Array, " d"], field) -> PyTree:
        """The density of a coordinate, or of a list of them, given the others that are seen."""
        return self.split(event, field)[1]

    def marginal(self, fields) -> PyTree:
        """The density of a coordinate, or of a list of them."""
        self._check(fields)
        make = lambda mean, covariance: self._some(mean, covariance, fields)
        for _ in self.stack_shape:
            make = jax.vmap(make)
        return make(self.mean, self.covariance)

    def impute(self, event: Float[Array, " d"], key: Key[Array, ""] | None = None) -> Array:
        """The vector with its NaN filled in, by their conditional mean or with a key by a draw."""
        event = one_event(event, (self.dim,), self)
        mean, _ = self.completed(event)
        if key is None:
            return mean
        # A draw of all coordinates, moved from what its own seen ones foretell to what these do.
        drawn = self.sample(key)
        return mean + (drawn - self.completed(jnp.where(jnp.isnan(event), event, drawn))[0])


class SeenFull(SeenInPart):
    """With a full covariance."""

    def _vector(self, mean, covariance):
        from .multivariate_normal import MultivariateNormal  # which is one of these itself

        return MultivariateNormal(mean, covariance)

    def _observed(self, x):
        """What is seen, residuals there, the inverse of the covariance there, its log det."""
        seen = ~jnp.isnan(x)
        residual = jnp.where(seen, x - self.mean, jnp.zeros_like(x))
        both = seen[:, None] & seen[None]
        # The identity where nothing is seen: determinant 1, and no link to the rest.
        block = jnp.where(both, self.covariance, jnp.eye(self.dim, dtype=x.dtype))
        inverse, log_det = inverse_and_log_det(block)
        return seen, residual, jnp.where(both, inverse, jnp.zeros_like(inverse)), log_det

    def observed_log_prob(self, event):
        seen, residual, inverse, log_det = self._observed(event)
        square = jnp.dot(residual, product(inverse, residual))
        return -0.5 * (square + log_det + jnp.sum(seen).astype(event.dtype) * LOG_2_PI)

    def completed(self, x):
        seen, residual, inverse, _ = self._observed(x)
        covariance = self.covariance
        slope = product(covariance, inverse)
        mean = self.mean + product(slope, residual)
        rest = covariance - product(slope, covariance)
        unseen = ~seen[:, None] & ~seen[None]
        return jnp.where(seen, x, mean), jnp.where(unseen, rest, jnp.zeros_like(rest))


class SeenDiagonal(SeenInPart):
    """With independent coordinates."""

    log_scale: eqx.AbstractVar[Array]

    def _vector(self, mean, covariance):
        from .diagonal_normal import DiagonalNormal

        return DiagonalNormal(mean, jnp.sqrt(jnp.diagonal(covariance)))

    def _observed(self, x):
        """What is seen, and residuals there."""
        seen = ~jnp.isnan(x)
        return seen, jnp.where(seen, x - self.mean, jnp.zeros_like(x))

    def observed_log_prob(self, event):
        seen, residual = self._observed(event)
        log_scale = jnp.broadcast_to(self.log_scale, residual.shape)
        z = residual * jnp.exp(-log_scale)
        each = -0.5 * z * z - log_scale - 0.5 * LOG_2_PI
        return jnp.sum(jnp.where(seen, each, jnp.zeros_like(each)))

    def completed(self, x):
        seen = ~jnp.isnan(x)
        unseen = ~seen[:, None] & ~seen[None]
        rest = jnp.where(unseen, self.covariance, jnp.zeros_like(self.covariance))
        return jnp.where(seen, x, self.mean), rest
