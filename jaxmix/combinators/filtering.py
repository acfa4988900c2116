"""Hidden states of a chain as its items come in: filtered, foretold, and what each item tells.

Of one event, in logarithms: its `following` are transitions (k, k), or (t - 1, k, k) where they
change from item to item. Within a pass they are probabilities that sum to 1 at each item where no
transition is so improbable that a state would be lost to rounding, and logarithms elsewhere.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _loops
from .._numerics import logsumexp, unanimous
from .._platform import product_precision


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
    _, (states, totals) = _loops.scan(*_over(step, state, emitted, following, used))
    total = jnp.where(used[0], total, jnp.zeros_like(total))
    return Filtered(jnp.concatenate([state[None], states]), jnp.concatenate([total[None], totals]))


def _over(step, state, items, following, used):
    """What a scan takes: transitions that are the same for all items are not copied for each."""
    if following.ndim == 3:
        return step, state, (items[1:], following, used[1:])
    return lambda s, part: step(s, (part[0], following, part[1])), state, (items[1:], used[1:])


def is_dense(following: Float[Array, "k k"]) -> Bool[Array, ""]:
    """Whether a probability that underflows beside its step's greatest is below the rounding error.

    Unless a transition leaves out the greatest one almost surely, it is lost to no later state.
    """
    limits = jnp.finfo(following.dtype)
    return unanimous(jnp.min(following) > 0.5 * (jnp.log(limits.tiny) - jnp.log(limits.eps)))


def occupations(
    first: Float[Array, " k"],
    following: Float[Array, "*t k k"],
    emitted: Float[Array, "t k"],
    used: Bool[Array, " t"],
    whole: bool,
) -> Float[Array, "t k"]:
    """Probability of each state at each item given the items so far, or given the `whole` sequence.

    The latter goes back through the former (Rauch, Tung and Striebel's pass, of a chain):
    q_t(i) = p_t(i) sum_j P(i, j) q_t+1(j) / p(j at t + 1 given the items up to t).
    """

    def by_logs(first, following, emitted, used):
        states = filtered(first, following, emitted, used).log_probs
        if not whole:
            return jnp.exp(states)

        def back(later, part):
            state, moves, there = part
            ahead = logsumexp(state[:, None] + moves, axis=0)
            gain = jnp.where(jnp.isfinite(ahead), later - ahead, jnp.full_like(ahead, -jnp.inf))
            new = state + logsumexp(moves + gain[None], axis=1)
            new = jnp.where(there, new - logsumexp(new), state)
            return new, new

        begin, scanned = states[-1], (states[:-1], following, used[1:])
        if following.ndim == 2:
            step = lambda later, part: back(later, (part[0], following, part[1]))
            scanned = (states[:-1], used[1:])
        else:
            step = back
        rest = _loops.scan(step, begin, scanned, reverse=True)[1]
        return jnp.exp(jnp.concatenate([rest, begin[None]]))

    def scaled(first, following, emitted, used):
        likely = jnp.exp(emitted - _level(emitted))
        moves = jnp.exp(following)
        dot = lambda a, b: jnp.dot(a, b, precision=product_precision(a))

        def step(state, part):
            likely, there = part
            new = jnp.where(there, _normalised(dot(state, moves) * likely, state), state)
            return new, new

        begin = _normalised(jnp.exp(first - _level(first[None])[0]) * likely[0], first * 0)
        rest = _loops.scan(step, begin, (likely[1:], used[1:]))[1]
        states = jnp.concatenate([begin[None], rest])
        if not whole:
            return states
        ahead = dot(states[:-1], moves)
        per = jnp.where(ahead > 0, 1 / jnp.where(ahead > 0, ahead, jnp.ones_like(ahead)), 0)

        def back(later, part):
            state, per, there = part
            new = _normalised(state * dot(moves, later * per), state)
            new = jnp.where(there, new, state)
            return new, new

        rest = _loops.scan(back, states[-1], (states[:-1], per, used[1:]), reverse=True)[1]
        return jnp.concatenate([rest, states[-1][None]])

    given = first, following, emitted, used
    if following.ndim == 3:
        found = by_logs(*given)
    else:
        found = _loops.cond(is_dense(following), scaled, by_logs, *given)
    return jnp.where(used[:, None], found, jnp.zeros_like(found))


def _level(logs: Float[Array, "t k"]) -> Float[Array, "t 1"]:
    peak = jnp.max(logs, 1, keepdims=True)
    return jnp.where(jnp.isfinite(peak), peak, jnp.zeros_like(peak))


def _normalised(new: Float[Array, " k"], old: Float[Array, " k"]) -> Float[Array, " k"]:
    """With sum 1; the old where nothing is left: an item that no state can emit."""
    total = jnp.sum(new)
    return jnp.where(total > 0, new / jnp.where(total > 0, total, jnp.ones_like(total)), old)


def foretold(
    state: Float[Array, " k"], following: Float[Array, "*t k k"], steps: int
) -> Float[Array, "steps k"]:
    """Log-probabilities of the states 1, ..., `steps` items ahead."""
    moves = jnp.broadcast_to(following, (steps, *following.shape[-2:]))

    def step(state, moves):
        new = logsumexp(state[:, None] + moves, axis=0)
        return new, new

    return _loops.scan(step, state, moves)[1]
