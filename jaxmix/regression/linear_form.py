"""What linear regressions share, of one response or of several: least squares on residuals."""

import abc
from typing import Any, ClassVar, NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from .._chunkwise import ByChunk
from .._exponential import ExponentialFamily
from .._platform import product_precision
from ..families._factors import HIGHEST, log_det_of, precision_of, product, whitener
from ..families._pairs import matrix_of_pairs, products_of_pairs, weights_of_pairs
from ..families._special import LOG_2_PI
from ..families._support import finite
from .design import Regressed, chunk_with_intercept, solved, with_intercept


class Residuals(NamedTuple):
    """Counts; sums of the pairs of (x, 1), of (x, 1) e and of the pairs of e, e the residuals."""

    count: Array
    gram: Array
    cross: Array
    square: Array


class Chunk(NamedTuple):
    """Covariates (q, rows) of a chunk, and residuals (k, r, rows) under k densities."""

    covariates: Array
    residuals: Array


class LinearForm(Regressed, ByChunk, ExponentialFamily):
    """The base of linear regressions: log N(y; B (x, 1), (W W')^-1), B of r rows and q columns.

    W, upper triangular with the logarithm on its diagonal, is `factor_of_errors`, and B is the
    `origin`: the coefficients, and behind them the intercept.
    """

    num_responses: ClassVar[Any]
    factor_of_errors: ClassVar[Any]

    @abc.abstractmethod
    def taken(self, event: Any) -> tuple[Float[Array, " r"], Float[Array, " p"]]:
        """Response, less its offset, and covariates of one event."""

    @abc.abstractmethod
    def placed(self, rows: Float[Array, "*stack r q"], covariance: Float[Array, "*s r r"]) -> Self:
        """The density of these coefficients and this covariance."""

    def _residual(self, event, origin):
        y, x = self.taken(event)
        q = with_intercept(x)
        return y - jnp.dot(origin, q, precision=product_precision(q)), q

    @property
    def _head(self) -> Float[Array, "*stack"]:
        return log_det_of(self.factor_of_errors) - 0.5 * self.num_responses * LOG_2_PI

    def log_prob(self, x) -> Scalar:
        residual, _ = self._residual(x, self.origin)
        upper = whitener(self.factor_of_errors)
        residual, base = finite(residual)
        z = jnp.dot(residual, upper, precision=product_precision(residual))
        return base + self._head - 0.5 * jnp.sum(z * z)

    def pair(self, t: Residuals, x, origin=None) -> Scalar:
        # Products with what is alike for all densities of a stack: matrix products over the data.
        e, q = self._residual(x, origin)
        dot = lambda a, b: jnp.dot(a, b, precision=product_precision(q))
        squares = dot(e, dot(t.square, e))
        return t.count + dot(t.gram, products_of_pairs(q)) + dot(e, dot(q, t.cross)) + squares

    def under(self, events) -> Chunk:
        y, q = chunk_with_intercept(self.taken, events)
        rows = self.origin.reshape(-1, q.shape[0])
        foretold = jnp.dot(rows, q, precision=product_precision(q))
        return Chunk(q, y.T[None] - foretold.reshape(-1, self.num_responses, q.shape[1]))

    def log_probs(self, chunk: Chunk) -> Float[Array, " rows *stack"]:
        r = self.num_responses
        upper = whitener(self.factor_of_errors).reshape(-1, r, r)
        digits = product_precision(chunk.residuals)
        z = jnp.einsum("krt,krn->ktn", upper, chunk.residuals, precision=digits)
        value = self._head.reshape(-1, 1) - 0.5 * jnp.sum(z * z, 1)
        return value.T.reshape(-1, *self.stack_shape)

    def weighed_sums(self, chunk: Chunk, weights: Float[Array, " rows *stack"]) -> Residuals:
        q, e = chunk
        shares = weights.reshape(weights.shape[0], -1).T
        weighed = shares[:, None] * e
        dot = lambda a, b: jnp.dot(a, b, precision=product_precision(q))
        gram = dot(shares, products_of_pairs(q).T)
        cross = dot(weighed.reshape(-1, e.shape[-1]), q.T).reshape(*e.shape[:2], -1)
        square = jnp.einsum("krn,ktn->krt", weighed, e, precision=product_precision(e))
        found = Residuals(jnp.sum(shares, 1), gram, jnp.swapaxes(cross, -1, -2), square)
        return Residuals(*(a.reshape(*self.stack_shape, *a.shape[1:]) for a in found))

    def natural(self, origin=None) -> Residuals:
        shift = self.origin - origin
        precision = precision_of(self.factor_of_errors)
        pulled = product(precision, shift)  # (r, q)
        outer = jnp.einsum("...rq,...rp->...qp", shift, pulled, precision=HIGHEST)
        cross = jnp.swapaxes(pulled, -1, -2)
        return Residuals(self._head, -0.5 * weights_of_pairs(outer), cross, -0.5 * precision)

    def from_stats(self, stats: Residuals, origin=None) -> Self:
        step = solved(matrix_of_pairs(stats.gram, self.num_features + 1), stats.cross)
        less = _inner(stats.cross, step)
        covariance = (stats.square - less) / stats.count[..., None, None]
        return self.placed(origin + jnp.swapaxes(step, -1, -2), covariance)

    def recentre(self, stats: Residuals, old, new) -> Residuals:
        """Residual statistics about coefficients that are less by `shift` (..., q, r)."""
        shift = jnp.swapaxes(old - new, -1, -2)
        gram = matrix_of_pairs(stats.gram, self.num_features + 1)
        moved = product(gram, shift)
        once = _inner(shift, stats.cross)
        square = stats.square + once + jnp.swapaxes(once, -1, -2) + _inner(shift, moved)
        return stats._replace(cross=stats.cross + moved, square=square)

    def floor(self, stats: Residuals, share) -> Residuals:
        """A share of the variance about the mean response: that about a line may be 0."""
        mean = stats.cross[..., -1, :] / stats.count[..., None]
        scatter = (
            stats.square / stats.count[..., None, None] - mean[..., :, None] * mean[..., None, :]
        )
        eye = jnp.broadcast_to(jnp.eye(self.num_responses, dtype=scatter.dtype), scatter.shape)
        zero = Residuals(*(jnp.zeros_like(a) for a in stats))
        return zero._replace(square=share * scatter * eye)


def _inner(a: Array, b: Array) -> Array:
    return jnp.einsum("...qi,...qj->...ij", a, b, precision=HIGHEST)
