"""Hidden states of a chain as its items come in: filtered, foretold, and what each item tells.

Of one event, in logarithms: its `following` are transitions (k, k), or (t - 1, k, k) where they
change from item to item. Within a pass they are probabilities that sum to 1 at each item where no
transition is so improbable that a state would be lost to rounding, and logarithms elsewhere: one
loop for both, that branches inside, since a loop is dear to compile and a branch is not.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from .. import _loops
from .._log_sums import log_and_safe, logsumexp
from .._numerics import unanimous
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
    """What `read` makes of the forward `Pass`, and of a scan that goes by the same transitions."""
    by = lambda dense: lambda *given: read(*_pass(dense, *given))
    given = first, following, emitted, used
    if following.ndim == 3:
        return by(False)(*given)
    if sizes().halved:  # a branch in a loop costs an accelerator a wait at each turn
        return _loops.cond(is_dense(following), by(True), by(False), *given)
    return by(is_dense(following))(*given)


def _pass(dense, first, following, emitted, used) -> tuple[Pass, Callable]:
    """The forward pass, normalised at each item, and the scan of a step that goes by its moves."""
    chosen = lambda logs: jnp.where(dense, jnp.exp(logs), logs)
    scan = functools.partial(_scan, dense, chosen(following))

    def scaled(ahead, odds, moves):
        joint = ahead * jnp.exp(odds)
        total = _weighed_sum(joint, jnp.ones_like(joint))
        return _weighed_sum(joint, moves) / total, joint / total, jnp.log(total)

    def by_logs(ahead, odds, moves):
        joint = ahead + odds
        total = logsumexp(joint)
        # An item that no state here can emit: the states stay as they are foretold.
        lost = total == -jnp.inf
        state = jnp.where(lost, ahead, joint - jnp.where(lost, 0, total))
        return logsumexp(state[:, None] + moves, axis=0), state, total

    def step(either, ahead, logs, moves):
        odds, peak = level(logs)
        ahead, state, total = either(scaled, by_logs, ahead, odds, moves)
        return ahead, (state, ahead, total + peak)

    begin = jnp.where(dense, jnp.ones_like(first), jnp.zeros_like(first))
    emitted, peak = begun(first, emitted)
    states, ahead, seen = scan(step, begin, emitted)[1]
    seen = seen.at[0].add(peak)
    return Pass(dense, states, ahead, jnp.where(used, seen, jnp.zeros_like(seen))), scan


def begun(
    first: Float[Array, " k"], emitted: Float[Array, "t k"]
) -> tuple[Float[Array, "t k"], Scalar]:
    """Items whose first has the beginning's odds too, and what all states shared of it.

    So no state is lost that begins almost surely not; what is shared would round its odds.
    """
    odds, peak = level(emitted[0])
    return emitted.at[0].set(odds + first), peak


def level(logs: Float[Array, " k"]) -> tuple[Float[Array, " k"], Scalar]:
    """Logarithms less the greatest, and that: a constant of differentiation.

    Where all are -inf, they are 0: what no state can emit tells nothing of the states.
    """
    logs_ = jax.lax.stop_gradient(logs)
    peak = functools.reduce(jnp.maximum, logs_) if _is_few(logs) else jnp.max(logs_)
    return jnp.where(peak == -jnp.inf, jnp.zeros_like(logs), logs - peak), peak


def _is_few(states: Float[Array, " k"]) -> bool:
    """Whether sums over states are written out: over a batch one kernel, and four times as fast."""
    return states.shape[0] <= 8


def _weighed_sum(weights: Float[Array, " k"], rows: Float[Array, " k *m"]) -> Float[Array, "*m"]:
    if _is_few(weights):
        return functools.reduce(jnp.add, map(jnp.multiply, weights, rows))
    return jnp.dot(weights, rows, precision=product_precision(weights))


def _scan(dense, moves, step, begin, parts, reverse: bool = False):
    """Scans `step(either, carry, part, moves)`, which chooses between two functions by `either`.

    Moves that are the same for all items are not copied for each; those out of the last lead
    nowhere. The choice is an input of each turn, not a constant of the loop: what is constant in
    both branches is taken out of a loop that is differentiated, and with so many operands XLA no
    longer makes one function of it, which is ten times slower.
    """
    length = jax.tree.leaves(parts)[0].shape[0]
    which = None if isinstance(dense, bool) else jnp.full(length, dense)
    own = None if moves.ndim == 2 else jnp.pad(moves, ((0, 1), (0, 0), (0, 0)))

    def body(carry, turn):
        part, own, which = turn
        either = functools.partial(_either, dense if which is None else which)
        return step(either, carry, part, moves if own is None else own)

    # Differentiated, a step is computed again from the k numbers before it: none of the k x k
    # shares of all its transitions are kept, and their sum grows within the loop backwards.
    again = jax.checkpoint(body, prevent_cse=False)
    return _loops.scan(again, begin, (parts, own, which), reverse=reverse)


def _either(dense, scaled, by_logs, *given):
    if isinstance(dense, bool):
        return (scaled if dense else by_logs)(*given)
    return _loops.cond(dense, scaled, by_logs, *given)


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

    0 beyond the length.
    """
    read = _smoothed if whole else lambda found, _: found.probs(found.states)
    found = in_passes(read, *given)
    return jnp.where(given[-1][:, None], found, jnp.zeros_like(found))


def _smoothed(found: Pass, scan: Callable) -> Float[Array, "t k"]:
    """Back through a forward pass (Rauch, Tung and Striebel's, of a chain).

    q_t(i) = sum_j q_t+1(j) p_t(i) P(i, j) / p(j at t + 1 given the items up to t): a mean of q_t+1,
    so that what underflows in probabilities is lost to no other.
    """

    def scaled(later, state, ahead, moves):
        return state * _weighed_sum(later / ahead, moves.T)

    def by_logs(later, state, ahead, moves):
        return _weighed_sum(later, _shares(state, ahead, moves).T)

    def back(either, later, part, moves):
        new = either(scaled, by_logs, later, *part, moves)
        return new, new

    states = scan(back, found.probs(found.ahead[-1]), (found.states, found.ahead), reverse=True)[1]
    return states / jnp.sum(states, -1, keepdims=True)


def _shares(state, ahead, moves) -> Float[Array, "k k"]:
    """Of each state at an item, given the next item's state and all items until then."""
    ahead = jnp.where(ahead == -jnp.inf, jnp.zeros_like(ahead), ahead)
    return jnp.exp(state[:, None] + moves - ahead[None])


def expected(*given: Array) -> tuple[Float[Array, " t"], Float[Array, "t k"], Float[Array, "..."]]:
    """Log-densities of the items, and what EM expects: occupations, and moves made.

    The latter (k, k) are summed over the items where transitions are the same for all. They come
    from one product after the pass back: within it they would be the most that a turn carries.
    """
    _, following, _, used = given

    def scaled(states, ahead, later):
        digits = product_precision(states)
        return jnp.exp(following) * jnp.dot(states.T, later / ahead, precision=digits)

    def by_logs(states, ahead, later):
        made = lambda state, ahead, later, moves: _shares(state, ahead, moves) * later[None]
        if following.ndim == 3:
            return jax.vmap(made)(states, ahead, later, following)
        add = jax.checkpoint(lambda sum_, xs: (sum_ + made(xs[0], xs[1], xs[2], following), None))
        return _loops.scan(add, jnp.zeros_like(following), (states, ahead, later))[0]

    def read(found, scan):
        states = _smoothed(found, scan)
        states = jnp.where(used[:, None], states, jnp.zeros_like(states))
        parts = found.states[:-1], found.ahead[:-1], states[1:]
        return found.log_density, states, _either(found.dense, scaled, by_logs, *parts)

    return in_passes(read, *given)


def foretold(
    state: Float[Array, " k"], following: Float[Array, "*t k k"], steps: int
) -> Float[Array, "steps k"]:
    """Log-probabilities of the states 1, ..., `steps` items ahead."""
    moves = jnp.broadcast_to(following, (steps, *following.shape[-2:]))

    def step(state, moves):
        new = logsumexp(state[:, None] + moves, axis=0)
        return new, new

    return _loops.scan(step, state, moves)[1]
