"""EM as a pure function: one loop, padded traces, a result code; for `jit`, `vmap` and `grad`."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._numerics import Sum, difference
from .._results import RESULTS
from .accelerate import begin as begin_memory
from .accelerate import propose, settle
from .expected import Expected, expect, take_apart
from .maximise import (
    GradientState,
    Prior,
    about_own_origins,
    floor_prior,
    init_gradient_state,
    log_prior,
    maximise,
)

DEFAULT_FLOOR = 1e-9


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
    penalty: Array
    gain: Array  # of the objective at the last step, nats a datum
    num_steps: Array
    num_emptied: Array
    num_collapsed: Array
    running: Array


class Solution(eqx.Module):
    """What `em.run` gives: a model, its padded traces, and why it stopped.

    `history` entries from `num_steps` on are NaN.
    """

    model: PyTree
    log_likelihood: Array
    history: History
    num_steps: Array
    num_emptied: Array
    result: RESULTS


class StepInfo(NamedTuple):
    """What one `em.step` saw: of the model it was given, unless said otherwise."""

    log_likelihood: Array
    num_emptied: Array  # densities the step left as they were for want of data


def noise_of(total: Sum, weight: Array) -> Array:
    """Rounding error of a mean log-density, were its rows' errors independent, nats a datum."""
    eps = jnp.finfo(total.high.dtype).eps
    return eps * jnp.abs(total.value) / (weight * jnp.sqrt(weight))


def start(model, data, weights=None, prior=None, *, assignment="soft", chunk_size=None) -> State:
    """The state before the first step: one pass over the data."""
    expected = expect(model, data, weights, assignment=assignment, chunk_size=chunk_size)
    return begin(model, expected, prior)


def begin(model: PyTree, expected: Expected, prior: Prior | None) -> State:
    """The state of a model over which one pass has been made."""
    dtype = expected.objective.high.dtype
    return State(
        model,
        expected,
        init_gradient_state(model),
        jnp.asarray(log_prior(model, prior), dtype),
        jnp.asarray(jnp.inf, dtype),
        jnp.zeros((), int),
        jnp.zeros((), int),
        jnp.zeros((), int),
        jnp.isfinite(expected.objective.value),
    )


def advance(state: State, maximised: Any, expected: Expected, prior, max_steps, tol):
    """The state after a step, from the new model and the pass over the data under it."""
    old = state.expected
    penalty = jnp.asarray(log_prior(maximised.model, prior), state.penalty.dtype)
    total_gain = difference(expected.objective, old.objective) + (penalty - state.penalty)
    gain = total_gain / expected.weight
    finite = jnp.isfinite(expected.objective.value) & jnp.isfinite(penalty)
    # Without a tolerance nothing but the number of steps (or NaN) ends the loop.
    least = jnp.where(
        tol == -jnp.inf, tol, jnp.maximum(tol, noise_of(expected.objective, expected.weight))
    )
    steps = state.num_steps + 1
    new = State(
        maximised.model,
        expected,
        maximised.state,
        penalty,
        gain,
        steps,
        maximised.num_emptied,
        maximised.num_collapsed,
        finite & (gain >= least) & (steps < max_steps),
    )
    # A step into NaN is taken back: the last finite model is the answer, with its own code.
    back = state._replace(gain=jnp.full_like(gain, jnp.nan), running=jnp.zeros_like(finite))
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o) if eqx.is_array(n) else n, new, back)
    likelihood = difference(expected.log_likelihood, old.objective)
    kl = likelihood - maximised.gain
    value = expected.log_likelihood.value
    entry = History(value, value - kl, kl, expected.objective.value + penalty)
    return kept, entry


def result_of(state: State, prior: Prior | None, tol) -> RESULTS:
    """Why a loop stopped."""
    expected = state.expected
    bad = ~jnp.isfinite(expected.objective.value) | jnp.isnan(state.gain)
    noise = noise_of(expected.objective, expected.weight)
    code = RESULTS.where(
        state.running | (state.gain >= jnp.maximum(tol, noise)) | (tol == -jnp.inf),
        RESULTS.max_steps_reached,
        RESULTS.where(
            (state.gain >= tol) & (state.gain < noise),
            RESULTS.tolerance_below_noise,
            RESULTS.successful,
        ),
    )
    collapsed = on_boundary(state.model, prior) | (state.num_collapsed > 0)
    code = RESULTS.where(collapsed, RESULTS.degenerate, code)
    return RESULTS.where(bad, RESULTS.nonfinite, code)


def on_boundary(model: PyTree, prior: Prior | None) -> Array:
    """Whether any leaf sits on its floor."""
    found = jnp.asarray(False)
    if prior is not None:
        leaves = take_apart(model).leaves
        for leaf, floor in zip(leaves, about_own_origins(leaves, prior), strict=True):
            found = found | jnp.any(leaf.on_boundary(floor))
    return found


def loop(
    state, data, weights, prior, *, max_steps, tol, block, assignment, accelerate, chunk_size
) -> tuple[State, History]:
    """At most `block` further steps, and their entries of the history."""
    dtype = state.penalty.dtype
    empty = History(*(jnp.full((block,), jnp.nan, dtype) for _ in History._fields))

    def body(carry):
        state, memory, history, count = carry
        maximised = maximise(state.model, state.expected, data, weights, prior, state.move)
        proposal, memory = propose(memory, state, maximised)
        expected = expect(
            proposal.model, data, weights, assignment=assignment, chunk_size=chunk_size
        )
        new, entry = advance(state, proposal, expected, prior, max_steps, tol)
        state, entry, memory = settle(memory, state, new, entry, max_steps)
        history = jax.tree.map(
            lambda trace, value: trace.at[count].set(value.astype(trace.dtype), mode="drop"),
            history,
            entry,
        )
        return state, memory, history, count + 1

    def more(carry):
        state, _, _, count = carry
        return state.running & (count < block)

    memory = begin_memory(accelerate, state.model)
    start = (state, memory, empty, jnp.zeros((), int))
    state, _, history, _ = jax.lax.while_loop(more, body, start)
    return state, history


def run(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    max_steps: int | Array = 1000,
    tol: float | Array | None = 1e-6,
    assignment: str = "soft",
    accelerate: str | None = None,
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    history_size: int = 1000,
    chunk_size: int | None = None,
) -> Solution:
    """Run EM from a model: pure, with static shapes, for `jit`, `vmap` and a user's own code.

    Each step maximises E[log p(x, z)] + log prior under the responsibilities of the model before
    it (Dempster, Laird and Rubin 1977), so the objective never falls.

    Args:
        model: the start.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), non-negative.
        max_steps: a traced number: changing it compiles nothing. At most `history_size`.
        tol: stop when a step gains less than this, in nats a datum; None never stops early.
        assignment: "soft", or "hard" for classification EM (Celeux and Govaert 1992).
        accelerate: None, "squarem" or "anderson"; a step is one pass over the data in each.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: least variance of a component, as a share of the data's.
        history_size: length of the padded traces.
        chunk_size: rows of a chunk of the scan over the data.

    Returns:
        A `Solution`, whose `result` tells why it stopped.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> x = jnp.array([-1.1, -0.9, 0.9, 1.1])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> solution = jm.em.run(jm.MixtureSameFamily(jnp.ones(2) / 2, parts), x)
        >>> bool(solution.result == jm.RESULTS.successful)
        True
    """
    if assignment not in ("soft", "hard"):
        raise ValueError(f'assignment must be "soft" or "hard"; it was {assignment!r}.')
    tol = -jnp.inf if tol is None else tol
    prior = floor_prior(model, data, weights, floor) if prior is None else prior
    state = start(model, data, weights, prior, assignment=assignment, chunk_size=chunk_size)
    limit = jnp.minimum(max_steps, history_size)
    state = state._replace(running=state.running & (limit > 0))
    state, history = loop(
        state,
        data,
        weights,
        prior,
        max_steps=limit,
        tol=tol,
        block=history_size,
        assignment=assignment,
        accelerate=accelerate,
        chunk_size=chunk_size,
    )
    return Solution(
        state.model,
        state.expected.log_likelihood.value,
        history,
        state.num_steps,
        state.num_emptied,
        result_of(state, prior, tol),
    )


def step(
    model: PyTree,
    data: PyTree,
    state: GradientState | None = None,
    *,
    weights: Array | None = None,
    assignment: str = "soft",
    prior: Prior | None = None,
) -> tuple[PyTree, GradientState | None, StepInfo]:
    """One EM step, for a user's own loop.

    Args:
        model: any density.
        data: events, stacked along a leading axis.
        state: what the gradient step of leaves without statistics carries; None to begin.
        weights: case weights (rows,).
        assignment: "soft" or "hard".
        prior: pseudo-statistics; None for none.

    Returns:
        The new model, the state to pass on, and the log-likelihood of the model given.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model, state, info = jm.em.step(jm.Normal(0, 1), jnp.array([1.0, 3.0]))
        >>> float(model.mean)
        2.0
    """
    expected = expect(model, data, weights, assignment=assignment)
    state = init_gradient_state(model) if state is None else state
    new = maximise(model, expected, data, weights, prior, state)
    return new.model, new.state, StepInfo(expected.log_likelihood.value, new.num_emptied)
