"""Hidden states of a chain as its items come in: filtered, foretold, and what each item tells.

Everything is in logarithms, shifted by the greatest term at each item, and of one event: its
`following` are transitions (k, k), or (t - 1, k, k) where they change from item to item.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _loops
from .._numerics import logsumexp


class Filtered(NamedTuple):
    """Log-probabilities of the states given the items so far, and each item's log-density.

    - `log_probs` (t, k): of the state at item t given items 0, ..., t; those of the last item
      beyond the length.
    - `log_density` (t,): of item t given items 0, ..., t - 1; 0 beyond the length.
    """

    log_probs: Float[Array, "t k"]
    log_density: Float[Array, " t"]


def filtered(
    first: Float[Array, " k"],
    following: Float[Array, "*t k k"],
    emitted: Float[Array, "t k"],
    used: Bool[Array, " t"],
) -> Filtered:
    """The forward pass, normalised at each item."""

    def normalised(joint):
        total = logsumexp(joint)
        # An item that no state can emit: -inf, and the states stay as they are foretold.
        return joint - jnp.where(jnp.isfinite(total), total, jnp.zeros_like(total)), total

    def step(state, part):
        log_emitted, moves, there = part
        joint = logsumexp(state[:, None] + moves, axis=0) + log_emitted
        new, total = normalised(joint)
        new = jnp.where(there, new, state)
        return new, (new, jnp.where(there, total, jnp.zeros_like(total)))

    state, total = normalised(first + emitted[0])
    steps = emitted.shape[0] - 1
    moves = jnp.broadcast_to(following, (steps, *following.shape[-2:]))
    _, (states, totals) = _loops.scan(step, state, (emitted[1:], moves, used[1:]))
    total = jnp.where(used[0], total, jnp.zeros_like(total))
    return Filtered(jnp.concatenate([state[None], states]), jnp.concatenate([total[None], totals]))


def foretold(
    state: Float[Array, " k"], following: Float[Array, "*t k k"], steps: int
) -> Float[Array, "steps k"]:
    """Log-probabilities of the states 1, ..., `steps` items ahead."""
    moves = jnp.broadcast_to(following, (steps, *following.shape[-2:]))

    def step(state, moves):
        new = logsumexp(state[:, None] + moves, axis=0)
        return new, new

    return _loops.scan(step, state, moves)[1]
