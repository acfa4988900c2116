"""A hidden chain's forward pass in log2(T) steps, where launches cost more than products."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from .._platform import sizes


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
