"""What every family with residual statistics does with them."""

import jax.numpy as jnp
from jaxtyping import Array

from .._exponential import Moments


def mean_and_scatter(
    stats: Moments, core: int, *, square: bool = True
) -> tuple[Array, Array, Array]:
    """Count, mean residual, and second moment about that mean, of summed statistics.

    `core` is the rank of one first moment; the second moment is a matrix if `square`.
    """
    count = stats.count
    first = stats.first / _expand(count, core)
    second = stats.second / _expand(count, 2 * core if square else core)
    if core and square:
        return count, first, second - first[..., :, None] * first[..., None, :]
    return count, first, second - first * first


def _expand(x: Array, rank: int) -> Array:
    return x.reshape(x.shape + (1,) * rank)


def recentred(stats: Moments, old: Array, new: Array, core: int, *, square: bool = True) -> Moments:
    """Residual moments about another origin."""
    shift = old - new
    count = _expand(stats.count, core)
    first = stats.first + count * shift
    if core and square:
        cross = stats.first[..., :, None] * shift[..., None, :]
        outer = shift[..., :, None] * shift[..., None, :]
        second = stats.second + cross + jnp.swapaxes(cross, -1, -2) + count[..., None] * outer
    else:
        second = stats.second + 2 * stats.first * shift + count * shift * shift
    return Moments(stats.count, first, second)


def diagonal_matrix(diagonal: Array) -> Array:
    """The matrices (..., d, d) that have these diagonals (..., d)."""
    return jnp.vectorize(jnp.diag, signature="(d)->(d,d)")(diagonal)


def at_floor(variance: Array, floor: Array, mean: Array) -> Array:
    """Whether a variance is down at its floor, or at the rounding of the mean."""
    return variance <= floor_with_rounding(floor, mean)


def floor_with_rounding(floor: Array, mean: Array) -> Array:
    """Variances that cannot be told from a floor, or from the rounding of the mean."""
    rounding = 4 * jnp.finfo(mean.dtype).eps * mean
    return 2 * floor + rounding * rounding
