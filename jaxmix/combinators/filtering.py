"""Hidden states of a chain as its items come in: filtered, foretold, and what each item tells.

Of one event, in logarithms: its `following` are transitions (k, k), or (t - 1, k, k) where they
change from item to item. Within a pass they are probabilities that sum to 1 at each item where no
transition is so improbable that a state would be lost to rounding, and logarithms elsewhere: one
loop for both, that branches inside, since a loop is dear to compile and a branch is not.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .. import _loops
from .._numerics import finite_or_zero, log_and_safe, logsumexp, unanimous
from .._platform import product_precision, sizes


class Pass(NamedTuple):
    """States at each item and one further (t, k), probabilities where `dense`, else logarithms.

    - `states`: at item t given items 0, ..., t; `ahead`: at item t + 1 given the same.
    - `log_density` (t,): of item t given items 0, ..., t - 1; 0 beyond the length.
    """

    dense: Bool[Array, ""] | bool
    states: Float[Array, "t k"]
    ahead: Float[Array, "t k"]
    log_density: Float[Array, " t"]

    def probs(self, states: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.where(self.dense, states, jnp.exp(states))


def in_passes(
    read: Callable[..., PyTree],
    first: Float[Array, " k"],
    following: Float[Array, "*t k k"],
    emitted: Float[Array, "t k"],
    used: Bool[Array, " t"],
) -> PyTree:
    """What `read` makes of the forward `Pass` and the transitions that it went by."""
    by = lambda dense: lambda *given: read(*_pass(dense, *given))
    given = first, following, emitted, used
    if following.ndim == 3:
        return by(False)(*given)
    if sizes().halved:  # a branch in a loop costs an accelerator a wait at each turn
        return _loops.cond(is_dense(following), by(True), by(False), *given)
    return by(is_dense(following))(*given)


def _pass(dense, first, following, emitted, used) -> tuple[Pass, Callable]:
    """The forward pass, normalised at each item, and a function that gives a loop its moves."""
    odds, peak = levelled(first, emitted)
    chosen = lambda logs: jnp.where(dense, jnp.exp(logs), logs)
    with_moves = functools.partial(_with_moves, chosen(following))

    def scaled(ahead, likely, moves):
        joint = ahead * likely
        total = jnp.sum(joint)
        # An item that no state can emit: the states stay as they are foretold.
        state = jnp.where(total > 0, joint / jnp.where(total > 0, total, 1), ahead)
        return _dot(state, moves), state, total

    def by_logs(ahead, likely, moves):
        joint = ahead + likely
        total = logsumexp(joint)
        lost = total == -jnp.inf
        state = jnp.where(lost, ahead, joint - jnp.where(lost, 0, total))
        return logsumexp(state[:, None] + moves, axis=0), state, total

    def step(ahead, part, moves):
        ahead, state, total = _either(dense, scaled, by_logs, ahead, part, moves)
        return ahead, (state, ahead, total)

    # Differentiated, a step is computed again from the k numbers before it: none of the k x k
    # shares of all its transitions are kept, and their sum grows within the loop backwards.
    body, parts = with_moves(step, chosen(odds))
    begin = jnp.where(dense, jnp.ones_like(first), jnp.zeros_like(first))
    again = jax.checkpoint(body, prevent_cse=False)
    states, ahead, totals = _loops.scan(again, begin, parts)[1]
    # Items that no state can emit: -inf, and no slope.
    logs, _ = log_and_safe(totals)
    log_density = jnp.where(used, jnp.where(dense, logs, totals) + peak, jnp.zeros_like(peak))
    return Pass(dense, states, ahead, log_density), with_moves


def level(logs: Float[Array, "*t k"]) -> tuple[Float[Array, "*t k"], Float[Array, "*t"]]:
    """Logarithms less the greatest of the last axis, and that: a constant of differentiation."""
    peak = finite_or_zero(jax.lax.stop_gradient(jnp.max(logs, -1)))
    return logs - peak[..., None], peak


def levelled(
    first: Float[Array, " k"], emitted: Float[Array, "t k"]
) -> tuple[Float[Array, "t k"], Float[Array, " t"]]:
    """What items and the beginning say of the states, the greatest 0, and what all states share.

    The latter is set aside, lest it round what tells the states apart. The beginning's odds are
    among the first item's, lest a state that begins almost surely not be lost.
    """
    odds, peak = level(emitted)
    start = (jnp.arange(emitted.shape[0]) == 0)[:, None]
    odds, more = level(odds + jnp.where(start, first, jnp.zeros_like(first)))
    return odds, peak + more


def _with_moves(moves, step, parts) -> tuple[Callable, Any]:
    """A body over parts of items and the moves out of each, and what it scans.

    Moves that are the same for all items are not copied for each; those out of the last lead
    nowhere.
    """
    if moves.ndim == 2:
        return lambda carry, part: step(carry, part, moves), parts
    moves = jnp.pad(moves, ((0, 1), (0, 0), (0, 0)))
    return lambda carry, part: step(carry, *part), (parts, moves)


def _either(dense, scaled, by_logs, *given):
    if isinstance(dense, bool):
        return (scaled if dense else by_logs)(*given)
    return _loops.cond(dense, scaled, by_logs, *given)


def _dot(a, b):
    return jnp.dot(a, b, precision=product_precision(a))


def is_dense(following: Float[Array, "k k"]) -> Bool[Array, ""]:
    """Whether a probability that underflows beside its step's greatest is below the rounding error.

    Unless a transition leaves out the greatest one almost surely, it is lost to no later state.
    """
    limits = jnp.finfo(following.dtype)
    return unanimous(jnp.min(following) > 0.5 * (jnp.log(limits.tiny) - jnp.log(limits.eps)))


def item_log_densities(*given: Array) -> Float[Array, " t"]:
    """Of each item given those before it: 0 beyond the length."""
    return in_passes(lambda found, _: found.log_density, *given)


def last_log_probs(*given: Array) -> Float[Array, " k"]:
    """Log-probabilities of the states at the last item given all of them."""
    last = jnp.maximum(jnp.sum(given[-1]) - 1, 0)

    def read(found, _):
        state = found.states[last]
        return jnp.where(found.dense, log_and_safe(state)[0], state)

    return in_passes(read, *given)


def occupations(*given: Array, whole: bool) -> Float[Array, "t k"]:
    """Probability of each state at each item given the items so far, or given the `whole` sequence.

    The latter goes back through the former (Rauch, Tung and Striebel's pass, of a chain):
    q_t(i) = p_t(i) sum_j P(i, j) q_t+1(j) / p(j at t + 1 given the items up to t). It is a mean of
    q_t+1, so that what underflows in probabilities is lost to no other.
    """

    def scaled(later, state, ahead, moves):
        return state * _dot(moves, later / ahead)

    def by_logs(later, state, ahead, moves):
        ahead = jnp.where(ahead == -jnp.inf, jnp.zeros_like(ahead), ahead)
        return _dot(jnp.exp(state[:, None] + moves - ahead[None]), later)

    def read(found, with_moves):
        if not whole:
            return found.probs(found.states)

        def back(later, part, moves):
            new = _either(found.dense, scaled, by_logs, later, *part, moves)
            new = new / jnp.sum(new)
            return new, new

        body, parts = with_moves(back, (found.states, found.ahead))
        return _loops.scan(body, found.probs(found.ahead[-1]), parts, reverse=True)[1]

    found = in_passes(read, *given)
    return jnp.where(given[-1][:, None], found, jnp.zeros_like(found))


def foretold(
    state: Float[Array, " k"], following: Float[Array, "*t k k"], steps: int
) -> Float[Array, "steps k"]:
    """Log-probabilities of the states 1, ..., `steps` items ahead."""
    moves = jnp.broadcast_to(following, (steps, *following.shape[-2:]))

    def step(state, moves):
        new = logsumexp(state[:, None] + moves, axis=0)
        return new, new

    return _loops.scan(step, state, moves)[1]
