"""The sum over all paths of hidden states, whose gradient is what EM expects of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from .. import _loops
from ._halving import halved, is_short
from .filtering import begun, expected, is_dense, item_log_densities, level


def log_sum_over_paths(
    first: Float[Array, " k"],
    following: Float[Array, "*t k k"],
    emitted: Float[Array, "t k"],
    used: Bool[Array, " t"],
) -> Scalar:
    """Log of the sum over all paths; what comes after the length leaves it as it is."""
    if following.ndim == 3 or not is_short(*emitted.shape[::-1]):
        return _over_paths(first, following, emitted, used)
    emitted, peak = begun(first, emitted)
    odds, peaks = jax.vmap(level)(emitted)
    by_items = lambda *given: _over_paths(jnp.zeros_like(first), *given)
    total = _loops.cond(is_dense(following), halved, by_items, following, odds, used)
    total = total + jnp.sum(peaks) + peak
    return jnp.where(total == -jnp.inf, -jnp.inf, total)  # and no slope


@jax.custom_jvp
def _over_paths(*given: Array) -> Scalar:
    return jnp.sum(item_log_densities(*given))


@_over_paths.defjvp
def _forward_and_backward(given, tangents):
    """Two passes and one product, where a loop's own derivative sums its moves item by item."""
    log_densities, states, moves = expected(*given)
    value = jnp.sum(log_densities)
    slopes = states[0], moves, states
    changes = [jnp.sum(slope * change) for slope, change in zip(slopes, tangents, strict=False)]
    change = sum(changes[1:], changes[0])
    # Items that no state can emit: -inf, and no slope.
    return value, jnp.where(value == -jnp.inf, jnp.zeros_like(change), change)
