"""What families with residual statistics do with them."""

from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array

from .._refittable import Moments, Refittable
from .._trees import spread

FAR = 8.0  # in logarithms from the origin: there, and beyond, float32 has no digit of a width left


def mean_and_scatter(stats: Moments) -> tuple[Array, Array, Array]:
    """Count, mean residual, and second moment about that mean, of summed statistics.

    The second moment is that of each coordinate, or of all together, or a matrix.
    """
    count = stats.count
    each = lambda total: total / jnp.expand_dims(count, range(count.ndim, total.ndim))
    first, second = each(stats.first), each(stats.second)
    if second.ndim > first.ndim:
        return count, first, second - first[..., :, None] * first[..., None, :]
    # Of more than rounding: about an origin far away no digit of the difference is left, which
    # would be no estimate, and a mean that is one would be lost with it.
    own = _as(second, first * first)
    return count, first, jnp.maximum(second - own, jnp.finfo(own.dtype).eps * own)


def _as(second: Array, square: Array) -> Array:
    """Squares of each coordinate, or of all together, as the second moment is."""
    return jnp.sum(square, -1) if second.ndim < square.ndim else square


def shifted(weight: Array, first: Array, second: Array, shift: Array) -> tuple[Array, Array]:
    """Sums of w r and of w r^2 about a place that lies lower by `shift`."""
    return first + weight * shift, second + (2 * first + weight * shift) * shift


def weighed_variance(weight: Array, first: Array, second: Array) -> Array:
    """By weights and not counts: far from a template's location both sums are small alike."""
    return (second - first**2 / weight) / weight


class OfMoments(Refittable):
    """A family whose statistics are moments of residuals: see `mean_and_scatter`."""

    def floor(self, stats: Moments, share) -> Moments:
        # Each coordinate by its own variance: a fit in other units is the same fit.
        second = mean_and_scatter(stats)[2]
        if second.ndim > stats.first.ndim:
            second = diagonal_matrix(jnp.diagonal(second, axis1=-2, axis2=-1))
        return Moments(jnp.zeros_like(stats.count), jnp.zeros_like(stats.first), share * second)

    def recentre(self, stats: Moments, old: Array, new: Array) -> Moments:
        shift = old - new
        count = spread(stats.count, stats.first.ndim)
        if stats.second.ndim > shift.ndim:
            half = (stats.first + 0.5 * count * shift)[..., :, None] * shift[..., None, :]
            more = half + jnp.swapaxes(half, -1, -2)
        else:
            more = _as(stats.second, (2 * stats.first + count * shift) * shift)
        return Moments(stats.count, stats.first + count * shift, stats.second + more)

    def from_stats(self, stats: Moments, origin: Any = None) -> Self:
        _, shift, variance = mean_and_scatter(stats)
        if variance.ndim < shift.ndim:
            variance = variance / shift.shape[-1]
        place: Any = {self.about: origin + shift}
        return self._replace(**place, log_scale=0.5 * jnp.log(variance))

    def on_boundary(self, floor: Moments):
        scaled: Any = self  # a family of scales; the others have rules of their own
        variance, least, mean = jnp.exp(2 * scaled.log_scale), floor.second, self.origin
        if variance.ndim < mean.ndim:
            variance, least = variance[..., None], least[..., None] / mean.shape[-1]
        bound = at_floor(variance, least, mean)
        return jnp.any(bound, tuple(range(len(self.stack_shape), bound.ndim)))


def diagonal_matrix(diagonal: Array) -> Array:
    """The matrices (..., d, d) that have these diagonals (..., d)."""
    return jnp.vectorize(jnp.diag, signature="(d)->(d,d)")(diagonal)


def at_floor(variance: Array, floor: Array, mean: Array) -> Array:
    """Whether a variance is down at its floor, or at the rounding of the mean."""
    return variance <= floor_with_rounding(floor, mean)


def floor_with_rounding(floor: Array, mean: Array) -> Array:
    """Variances that cannot be told from a floor, the rounding of the mean, or of squares to 0."""
    kind = jnp.finfo(mean.dtype)
    rounding = 4 * kind.eps * mean
    # Below this the squares of small residuals are 0: of data of 1e-19 nothing else would be told.
    least = kind.tiny / jnp.sqrt(kind.eps).astype(kind.dtype)
    return 2 * floor + rounding * rounding + least
