"""EM as a pure function: one loop, padded traces, a result code; for `jit`, `vmap` and `grad`."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._results import RESULTS
from .accelerate import begin as begin_memory
from .accelerate import propose, settle
from .expected import expect
from .maximise import (
    DEFAULT_FLOOR,
    GradientState,
    Prior,
    floor_prior,
    init_gradient_state,
    maximise,
)
from .options import check_assignment
from .state import History, State, advance, begin, result_of


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


def start(model, data, weights=None, prior=None, *, assignment="soft", chunk_size=None) -> State:
    """The state before the first step: one pass over the data."""
    expected = expect(model, data, weights, assignment=assignment, chunk_size=chunk_size)
    return begin(model, expected, prior)


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
    check_assignment(assignment)
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
