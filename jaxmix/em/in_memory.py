"""Arrays in memory: restarts under one vmap, short runs first where they are dear, one answer."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._results import RESULTS
from .buckets import bucketed
from .checkpoint import digest
from .checks import check_support, checked_data, checked_weights, float_of, of_dtype
from .chunks import num_rows, rows_of_chunk, width
from .expected import log_likelihood
from .keeper import Keeper
from .maximise import FLOOR_ROWS
from .options import Options
from .progress import Progress
from .restarts import BLOCK, Searched, floor_prior, search, take
from .run import loop
from .sharded import layout_of, over_rows, placed
from .small import fit_small, suits
from .solution import Fit, Restarts, entropy, message, name, num_parameters, trimmed
from .state import History, begin, result_of


@eqx.filter_jit
def _begin(models, data, weights, solver):
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models)


@eqx.filter_jit
def _advance(states, data, weights, prior, solver, limits, assignment, chunk, layout):
    def all_of(data, weights, states, prior, numbers):
        end = limits._replace(max_steps=numbers[0], tol=numbers[1])
        one = lambda state: loop(
            state, data, weights, prior, solver, end,
            block=BLOCK, assignment=assignment, chunk_size=chunk,
        )  # fmt: skip
        states, history = jax.vmap(one)(states)
        return states, history, jax.vmap(lambda s: result_of(s, prior, end))(states)

    numbers = (limits.max_steps, limits.tol)
    return over_rows(all_of, layout, data, weights, states, prior, numbers)


@eqx.filter_jit
def _totals(models, data, weights, chunk, layout=None):
    def all_of(data, weights, models):
        return jax.vmap(lambda m: log_likelihood(m, data, weights, chunk).value)(models)

    return over_rows(all_of, layout, data, weights, models)


def fit_arrays(
    key: Key[Array, ""] | None, template: PyTree, data: PyTree, weights: Any, options: Options
) -> Fit:
    """`jm.fit` over arrays in memory, on one device or spread over several."""
    layout = layout_of(data)
    template = of_dtype(template, data)
    data = checked_data(placed(data, layout), template)
    rows = num_rows(data)
    weights = placed(checked_weights(weights, rows, float_of(data)), layout)
    held = options.validation
    held = None if held is None else checked_data(held, template)
    if layout is None and suits(template, data, weights, options):
        return fit_small(key, template, data, weights, options._replace(validation=held))
    prior, floor = options.prior, options.floor
    bar = Progress(options.max_steps, options.progress)

    belongs = (
        None if options.checkpoint is None else _belongs(key, template, data, weights, options)
    )

    def go(models, data, weights, prior, limits, phase="fit"):
        """Blocks of steps from some models until every one of them has stopped."""
        many = jax.tree.leaves(models)[0].shape[0]
        chunk, layout = rows_of_chunk(template, data, many), layout_of(data)
        if layout is None:
            data, weights = bucketed(data, weights, width(template) * many)
        first = (models, data, weights, options.solver)
        keep = _keeper(options, limits, phase, belongs)
        states, history = (
            keep.resume(eqx.filter_eval_shape(_begin, *first)) if belongs else (None, [])
        )
        if states is None:
            states = _begin(*first)
        history = [History(*map(jnp.asarray, part)) for part in history]
        result = None
        while result is None or bool(
            jnp.any(states.running & (states.num_steps < limits.max_steps))
        ):
            states, part, result = _advance(
                states,
                data,
                weights,
                prior,
                options.solver,
                limits,
                options.assignment,
                chunk,
                layout,
            )
            history.append(jax.tree.map(np.asarray, part))
            keep(states, history)
            bar.show(states)
            if bar.interrupted:
                break
        keep.write(states, history)
        return Searched(states, history, result)

    with bar:
        if options.init == "given":
            models = jax.tree.map(lambda a: a[None], template)
            prior = floor_prior(template, data, weights, floor) if prior is None else prior
            check_support(template, data, weights)
            found = go(models, data, weights, prior, options.limits)
            scores = np.asarray(found.state.expected.log_likelihood.value)
        else:
            assert key is not None
            found, scores, prior = search(key, template, data, weights, options, go)
    models = found.state.model
    codes = [take(found.result, i) for i in range(len(scores))]
    validated = None
    if held is not None:
        validated = np.asarray(
            _totals(models, held, None, rows_of_chunk(template, held, len(scores)))
        )
    bad = np.array([name(c) in ("degenerate", "nonfinite") for c in codes])
    rank = scores if validated is None else validated
    order = np.where(np.isnan(rank), -np.inf, rank)
    best = int(np.argmax(np.where(bad & ~bad.all(), -np.inf, order)))
    state = take(found.state, best)
    model, steps = state.model, int(state.num_steps)
    total = state.expected.log_likelihood.value
    result = RESULTS.interrupted if bar.interrupted else codes[best]
    table = Restarts(scores, validated, np.asarray(found.state.num_steps), [name(c) for c in codes])
    if options.throw and bool(result != RESULTS.successful):
        raise RuntimeError(message(result))
    return Fit(
        model, total, trimmed(_of_restart(found, best), steps), steps, int(state.num_emptied),
        result, table, num_parameters(model),
        float(rows if weights is None else jnp.sum(weights)), entropy(model, data, weights, layout),
        None if validated is None else float(validated[best]),
    )  # fmt: skip


def _belongs(key, template, data, weights, options):
    """What a checkpoint belongs to; of the data, 4,096 rows spread over them."""
    rows = num_rows(data)
    few = np.round(np.linspace(0, rows - 1, min(rows, FLOOR_ROWS))).astype(int)
    given = options.init == "given"
    begun = template if given else (template, jax.random.key_data(key))
    return {
        "start": digest(begun), "data": digest(take((data, weights), few)), "rows": rows,
        "assignment": options.assignment, "accelerate": repr(options.solver),
        "restarts": 1 if given else options.num_restarts,
    }  # fmt: skip


def _keeper(options, limits, phase, belongs):
    """One for each phase of a fit, in a folder of its own."""
    folder = None if options.checkpoint is None else Path(options.checkpoint) / phase
    return Keeper(folder, belongs or {}, options._replace(max_steps=int(limits.max_steps)))


def _of_restart(found: Searched, best: int) -> list[History]:
    """A restart's blocks of traces, each without the padding after its last step."""
    blocks = []
    for part in found.history:
        one = History(*(np.asarray(trace)[best] for trace in part))
        done = int(np.sum(~np.isnan(one.objective) | ~np.isnan(one.log_likelihood)))
        blocks.append(History(*(trace[:done] for trace in one)))
    return blocks
