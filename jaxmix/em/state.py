"""What a loop of EM carries from step to step, what a step adds to it, and why it stops."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from equinox import is_array
from jaxtyping import Array, PyTree

from .._numerics import Sum, difference
from .._results import RESULTS
from . import accelerate as acceleration
from .expected import Expected
from .gradient_step import GradientState, init_gradient_state
from .maximise import (
    Maximised,
    Prior,
    floors_of,
    log_prior,
    maximise,
)
from .parts import take_apart


class History(NamedTuple):
    """Traces, one entry a step: entry t is the model after step t + 1. Totals in nats.

    - `log_likelihood`: of the data under the model (the mixture's own, after hard EM too).
    - `elbo`: under the responsibilities of the model before that step.
    - `kl`: log_likelihood - elbo, from those responsibilities to the model's own; >= 0.
    - `objective`: what the steps optimise: with a prior its log-density is added, with hard
      assignments it is the log-likelihood of the data and their assignments.
    """

    log_likelihood: Array
    elbo: Array
    kl: Array
    objective: Array


class State(NamedTuple):
    """Between two steps: a model, one pass over the data under it, and what is counted."""

    model: PyTree
    expected: Expected
    move: GradientState | None
    memory: Any  # of the acceleration
    penalty: Array
    gain: Array  # of the objective at the last step, nats a datum
    left: Array  # what the stopping rule holds against the tolerance: the gain, or what is to come
    num_steps: Array
    num_emptied: Array
    num_collapsed: Array
    running: Array


class Limits(NamedTuple):
    """When a loop ends: steps, tolerance (-inf for none), and what is held against it."""

    max_steps: int | Array
    tol: float | Array
    stopping: str


def noise_of(total: Sum, weight: Array) -> Array:
    """Rounding error of a mean log-density, were its rows' errors independent, nats a datum."""
    eps = jnp.finfo(total.high.dtype).eps
    return eps * jnp.abs(total.value) / (weight * jnp.sqrt(weight))


def begin(
    model: PyTree, expected: Expected, prior: Prior | None, accelerate: str | None = None
) -> State:
    """The state of a model over which one pass has been made."""
    dtype = expected.objective.high.dtype
    infinite, none = jnp.asarray(jnp.inf, dtype), jnp.zeros((), int)
    return State(
        model,
        expected,
        init_gradient_state(model),
        acceleration.begin(accelerate, model),
        jnp.asarray(log_prior(model, prior), dtype),
        infinite,
        infinite,
        none,
        none,
        none,
        jnp.isfinite(expected.objective.value),
    )


def propose(
    state: State, data: PyTree, weights: Array | None, prior: Prior | None
) -> tuple[Maximised, Any]:
    """The next model to make a pass under, and the acceleration's memory with it."""
    plain = maximise(state.model, state.expected, data, weights, prior, state.move)
    return acceleration.propose(state, plain, prior)


def judge(
    state: State, proposal: Maximised, memory: Any, expected: Expected, prior, limits: Limits
) -> tuple[State, History]:
    """The state after a step, from the model proposed and the pass over the data under it."""
    old = state.expected
    penalty = jnp.asarray(log_prior(proposal.model, prior), state.penalty.dtype)
    total_gain = difference(expected.objective, old.objective) + (penalty - state.penalty)
    gain = total_gain / expected.weight
    left = gain
    if memory is None and limits.stopping == "aitken":
        left = jnp.maximum(gain, to_come(gain, state.gain))
    finite = jnp.isfinite(expected.objective.value) & jnp.isfinite(penalty)
    steps = state.num_steps + 1
    new = State(
        proposal.model,
        expected,
        proposal.state,
        memory,
        penalty,
        gain,
        left,
        steps,
        proposal.num_emptied,
        proposal.num_collapsed,
        finite & ~_at_rest(left, gain, expected, limits.tol) & (steps < limits.max_steps),
    )
    # A step into NaN is taken back: the last finite model is the answer, with its own code.
    back = state._replace(
        gain=jnp.full_like(gain, jnp.nan), memory=memory, running=jnp.zeros_like(finite)
    )
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o) if is_array(n) else n, new, back)
    likelihood = difference(expected.log_likelihood, old.objective)
    kl = likelihood - proposal.gain
    value = expected.log_likelihood.value
    entry = History(value, value - kl, kl, expected.objective.value + penalty)
    return acceleration.settle(state, kept, entry, limits)


def to_come(gain: Array, before: Array) -> Array:
    """Gains still to come if they go on falling geometrically: gain a / (1 - a), a = gain / before.

    Aitken's extrapolation (Böhning et al. 1994, Ann. Inst. Stat. Math. 46:373). Infinite where
    gains grow: the fit is leaving a plateau.
    """
    rate = jnp.where(before > 0, gain / jnp.where(before > 0, before, 1), jnp.inf)
    falls = (rate < 1) & (before < jnp.inf)
    rest = gain * rate / jnp.where(falls, 1 - rate, 1)
    return jnp.where(gain <= 0, gain, jnp.where(falls, rest, jnp.inf))


def _at_rest(left, gain, expected, tol):
    """Whether too little is left, or gains can no longer be told from rounding."""
    noise = noise_of(expected.objective, expected.weight)
    # Without a tolerance nothing but the number of steps (or NaN) ends the loop.
    return (tol > -jnp.inf) & ((left < tol) | (gain < noise))


def result_of(state: State, prior: Prior | None, tol) -> RESULTS:
    """Why a loop stopped."""
    expected = state.expected
    bad = ~jnp.isfinite(expected.objective.value) | jnp.isnan(state.gain)
    # Where gains have ended in rounding, a tolerance below it has not been met.
    noise = noise_of(expected.objective, expected.weight)
    met = (state.left < tol) & ((state.left > 0) | (tol >= noise))
    code = RESULTS.where(
        state.running | ~_at_rest(state.left, state.gain, expected, tol),
        RESULTS.max_steps_reached,
        RESULTS.where(met, RESULTS.successful, RESULTS.tolerance_below_noise),
    )
    collapsed = on_boundary(state.model, prior) | (state.num_collapsed > 0)
    code = RESULTS.where(collapsed, RESULTS.degenerate, code)
    return RESULTS.where(bad, RESULTS.nonfinite, code)


def on_boundary(model: PyTree, prior: Prior | None) -> Array:
    """Whether any leaf sits on its floor."""
    found = jnp.asarray(False)
    if prior is not None:
        leaves = take_apart(model).leaves
        for leaf, floor in zip(leaves, floors_of(prior), strict=False):
            found = found | jnp.any(leaf.on_boundary(floor))
    return found
