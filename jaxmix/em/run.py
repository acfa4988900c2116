"""EM as a pure function: one loop, padded traces, a result code; for `jit`, `vmap` and `grad`."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .. import _loops
from .._arguments import takes, whole
from .._numerics import if_mapped, unanimous
from .._platform import with_precision
from .._refuse import forward_only
from .._results import RESULTS
from .._sharding import on_automatic_axes
from .._stack import of_arrays
from ..regression.centred import centred
from .accelerate import solver_of
from .chunks import brief, in_blocks, lanes_of
from .entry import (
    ASSIGNMENT,
    FLOOR,
    RULES,
    STOPPING,
    check_rows,
    check_start,
    enter,
    items_of_one_row,
)
from .expected import expect
from .m_step import GradientState, maximise
from .priors.prior import DEFAULT_FLOOR, Prior, floor_prior, folded
from .solver import Rules, Solver, result_of
from .state import History, State, begin, judge, propose, select


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


def pass_on(
    state: State, data: PyTree, weights: Array | None, rules: Rules
) -> tuple[State, History]:
    """One pass over the data further: a step, or of a fresh state that over its own model."""
    trial = propose(state, data, weights, rules)
    expected = expect(
        trial.maximised.model, data, weights, assignment=rules.assignment,
        chunk_size=rules.chunk_size, residual=rules.residual,
    )  # fmt: skip
    return judge(state, trial, expected, rules)


def loop(
    state: State,
    data: PyTree,
    weights: Array | None,
    rules: Rules,
    *,
    block: int,
    steps: Array | int | None = None,
) -> tuple[State, History]:
    """At most `block` further steps, and their entries of the history: the one loop of EM.

    A fresh state's first pass is no step: one body of a pass serves the start and all steps.
    Without a block (0) there is no end and no history; `steps` is a traced end before the block's.

    Of lanes, along the state's leading axis or under `vmap`, all turn together while any goes on,
    so that the entries of a turn have one place: a loop of each lane's own would select all of the
    history anew at every turn. (The axis is the sooner traced.)
    """
    fresh = state.num_steps < 0
    lanes = fresh.ndim > 0
    dtype = state.penalty.dtype
    blank = jnp.full((block + 1 if block else 0, *fresh.shape), jnp.nan, dtype)
    turns = jnp.where(fresh, 1, 0) + (block if steps is None else steps)
    going = lambda state, turn: state.running & (turn < turns) if block else state.running

    def further(state, on):
        new, entry = pass_on(state, data, weights, rules)
        return select(on, new, state), entry

    def body(carry):
        state, history, turn = carry
        on = going(state, turn) if lanes else if_mapped(going(state, turn))
        state, entry = (jax.vmap(further) if lanes else further)(state, on)

        def put(trace, value):
            value = jnp.where(on, value.astype(dtype), jnp.nan)
            return jax.lax.dynamic_update_index_in_dim(trace, value, turn, 0)

        history = jax.tree.map(put, history, entry) if block else history
        return state, history, turn + 1

    more = lambda carry: ~unanimous(jnp.all(~going(carry[0], carry[2])))
    start = (state, History(*(blank for _ in History._fields)), jnp.zeros((), int))
    state, history, _ = _loops.while_loop(more, body, start)
    # The first pass of a fresh state is not of its history.
    return state, jax.tree.map(lambda a: jnp.where(fresh, a[1:], a[:-1]).T, history)


@takes(
    max_steps=whole(0, traced=True), tol=RULES["tol"], assignment=ASSIGNMENT, stopping=STOPPING,
    floor=FLOOR, history_size=whole(1),
)  # fmt: skip
@on_automatic_axes
@with_precision
def run(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    max_steps: int | Array = 1000,
    tol: float | Array | None = 1e-6,
    assignment: str = "soft",
    accelerate: str | Solver | None = None,
    stopping: str = "gain",
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    history_size: int = 1000,
    chunk_size: int | None = None,
    precision: str | None = None,
) -> Solution:
    """Run EM from a model: pure, with static shapes, for `jit`, `vmap` and a user's own code.

    Each step maximises E[log p(x, z)] + log prior under the responsibilities of the model before
    it (Dempster, Laird and Rubin 1977), so the objective never falls. Under `vmap` many small fits
    run in blocks, each of which ends with its slowest fit.

    Args:
        model: the start.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), non-negative.
        max_steps: a traced number: changing it compiles nothing. At most `history_size`.
        tol: stop when a step gains less than this, in nats a datum (a row; an item of the sequence
            where there is one single row); None never stops early.
        assignment: "soft", or "hard" for classification EM (Celeux and Govaert 1992).
        accelerate: None, "squarem", "lbfgs", or a `jm.em.Solver`; a step is one pass over the
            data in each.
        stopping: "gain" holds the last step's gain against `tol`, "aitken" the gain that is still
            to come as well.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: least variance of a component, as a share of the data's.
        history_size: length of the padded traces, at least 1.
        chunk_size: rows of a chunk of the scan over the data.
        precision: of float32 matrix products; None for all digits, or see `jm.products_in`.

    Returns:
        A `Solution`, whose `result` tells why it stopped.

    Raises:
        ValueError: for an unknown option, or traces of no length; rows that are no events of the
            model; impossible weights; a start whose components are all alike.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> x = jnp.array([-1.1, -0.9, 0.9, 1.1])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> solution = jm.em.run(jm.MixtureSameFamily(jnp.ones(2) / 2, parts), x)
        >>> bool(solution.result == jm.RESULTS.successful)
        True
    """
    del precision  # held by the decorator
    solver = solver_of(accelerate, model)
    data, weights = enter(model, data, weights)
    check_start(model)
    check_rows(model, data, weights, prior)
    model = of_arrays(model)
    # Numbers go in as arrays, so that others compile nothing; they yield to the model's dtype.
    floor, max_steps, tol = jax.tree.map(
        lambda n: n if isinstance(n, jax.Array) else jax.device_put(n),
        (floor, max_steps, -np.inf if tol is None else tol),
    )
    fold, prior = folded(prior, model, data)  # a program that does not grow with the columns
    rules = Rules(solver, prior, max_steps, tol, stopping, assignment, chunk_size)
    solution = _run(fold.model(model), fold.data(data), weights, floor, rules, history_size)
    return forward_only(
        fold.undone(solution, model),
        "em.run ends when it has converged, and has no reverse-mode derivative: call em.solve, "
        "which is differentiated implicitly, or take a forward-mode one (jax.jvp, jax.jacfwd).",
    )


@brief
def _run(model, data, weights, floor, rules: Rules, history_size: int) -> Solution:
    # A block closes over no traced number, of a user's solver neither.
    arrays, rest = eqx.partition(rules, eqx.is_array)

    def whole(model, data, weights, floor, arrays):
        rules = eqx.combine(arrays, rest)
        prior, tol, items = rules.prior, rules.tol, items_of_one_row(data)
        model, data, centre = centred(model, data, weights)
        prior = floor_prior(model, data, weights, floor) if prior is None else prior
        # In nats an item, where there is one single row.
        tol = tol if items is None else tol * items.astype(tol.dtype)
        most = jnp.minimum(rules.max_steps, history_size)
        rules = rules._replace(prior=prior, max_steps=most, tol=tol)
        start = begin(model, data, weights, rules.solver)
        state, history = loop(start, data, weights, rules, block=history_size)
        return Solution(
            centre.back(state.model),
            state.expected.log_likelihood.value,
            history,
            state.num_steps,
            state.num_emptied,
            result_of(state, rules),
        )

    return in_blocks(whole, lanes_of(model, data))(model, data, weights, floor, arrays)


@takes(assignment=ASSIGNMENT)
@on_automatic_axes
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
    data, weights = enter(model, data, weights)
    return _step(of_arrays(model), data, state, weights, assignment, prior)


@brief
def _step(model, data, state, weights, assignment, prior):
    model, data, centre = centred(model, data, weights)
    expected = expect(model, data, weights, assignment=assignment)
    new = maximise(model, expected, data, weights, prior, state)
    info = StepInfo(expected.log_likelihood.value, new.num_emptied)
    return centre.back(new.model), new.state, info
