"""The sum over all paths of hidden states, whose gradient is what EM expects of them.

Where launches cost more than products, in log2(T) steps of matrices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from .. import _loops
from .._platform import sizes
from .filtering import begun, expected, is_dense, item_log_densities, level


def is_short(states: int, length: int) -> bool:
    """Whether a chain of so few states is halved, on the platform that a program is made for.

    Products of matrices are that many times the work and the memory of the pass item by item: a CPU
    is faster without them.
    """
    return states <= sizes().halved and length >= 64


def halved(
    following: Float[Array, "k k"],
    odds: Float[Array, "t k"],
    used: Bool[Array, " t"],
) -> Scalar:
    """The log of the sum over all paths, by products of neighbours: half as many, until one is left.

    The first state's odds are among the first item's.

    Each product is divided by its greatest entry. Its rows differ by a factor of the least
    transition at most, so that none is lost where no transition is almost impossible.
    """
    likely = jnp.exp(odds)
    step = jnp.exp(following)[:, :, None] * likely[1:].T[None]  # items last: they fill the lanes
    still = jnp.eye(step.shape[0], dtype=step.dtype)[:, :, None]
    parts = jnp.where(used[None, None, 1:], step, still)
    logs = jnp.zeros_like(likely[1:, 0])
    while (count := parts.shape[-1]) > 1:
        even = count - count % 2
        left, right = (slice(i, even, 2) for i in (0, 1))
        product, size = _product(parts[..., left], parts[..., right])
        rest = slice(even, count)
        logs = jnp.concatenate([logs[left] + logs[right] + jnp.log(size), logs[rest]])
        parts = jnp.concatenate([product, parts[..., rest]], -1)
    total = jnp.sum(likely[0][:, None] * parts[..., 0])
    lost = total == 0  # items that no state can emit: -inf, and no slope
    value = jnp.log(jnp.where(lost, jnp.ones_like(total), total)) + logs[0]
    return jnp.where(lost, -jnp.inf, value)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """Products of matrices (k, k, items) over their greatest entries, and these."""
    product = jnp.sum(a[:, :, None] * b[None], 1)  # fused: small matrices fill no tensor core
    size = jax.lax.stop_gradient(jnp.max(product, (0, 1), keepdims=True))
    size = jnp.where(size > 0, size, jnp.ones_like(size))
    return product / size, size[0, 0]


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
