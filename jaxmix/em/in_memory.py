"""Arrays in memory: restarts under one vmap, short runs first where they are dear, one answer."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._results import RESULTS
from . import restarts
from .buckets import bucketed
from .checkpoint import digest
from .checks import check_support, checked_data, checked_weights, float_of, of_dtype
from .chunks import densities, num_rows, rows_of_chunk, width
from .expected import log_likelihood
from .keeper import Keeper
from .maximise import FLOOR_ROWS
from .options import Options
from .progress import Progress
from .restarts import GOES, Searched, floor_prior, search, table_of, take
from .run import loop
from .sharded import layout_of, over_rows, placed
from .small import fit_small, fits, suits
from .solution import Fit, code_of, entropy, message, names, num_parameters, trimmed
from .state import History, begin, result_of


@eqx.filter_jit
def _begin(models, data, weights, solver):
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models)


@eqx.filter_jit
def _advance(states, lanes, data, weights, prior, solver, limits, block, assignment, chunk, layout):
    """Some lanes, by their positions, at most `block` steps on; a position past the last is none."""

    def all_of(data, weights, states, prior, lanes, numbers):
        end = limits._replace(max_steps=numbers[0], tol=numbers[1])
        one = lambda state: loop(
            state, data, weights, prior, solver, end,
            block=block, assignment=assignment, chunk_size=chunk,
        )  # fmt: skip
        some = jax.tree.map(lambda a: a.at[lanes].get(mode="clip"), states)
        there = lanes < states.running.shape[0]
        some, history = jax.vmap(one)(some._replace(running=some.running & there))
        states = jax.tree.map(lambda a, b: a.at[lanes].set(b, mode="drop"), states, some)
        return states, history, jax.vmap(lambda s: result_of(s, prior, end))(states)

    numbers = (limits.max_steps, limits.tol)
    return over_rows(all_of, layout, data, weights, states, prior, lanes, numbers)


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

    def go(models, data, weights, prior, limits, phase="fit", most=1, used=None):
        """Rounds of steps from some models until every one has stopped, or can't win.

        Models past the first `used` fill a stack whose size is to compile nothing anew.
        """
        many, rows = jax.tree.leaves(models)[0].shape[0], num_rows(data)
        each = densities(template)
        wide = restarts.lanes_wide(rows, each, many)
        block = restarts.round_steps(rows * each * many)
        chunk, layout = rows_of_chunk(template, data, wide), layout_of(data)
        if layout is None:
            data, weights = bucketed(data, weights, width(template) * wide)
        first = (models, data, weights, options.solver)
        keep = _keeper(options, limits, phase, belongs)
        states, history = (
            keep.resume(eqx.filter_eval_shape(_begin, *first)) if belongs else (None, [])
        )
        if states is None:
            states = _begin(*first)
        history = [History(*map(jnp.asarray, part)) for part in history]
        lanes = np.full((1, wide), many)  # of no lane: what stands before the first round
        steps = int(limits.max_steps)
        result: Any = None
        ahead = block
        while True:
            parts = []
            for group in lanes:
                states, part, result = _advance(
                    states, group, data, weights, prior, options.solver, limits, ahead,
                    options.assignment, chunk, layout,
                )  # fmt: skip
                parts.append(jax.tree.map(np.asarray, part))
            joined = restarts.round_history(lanes, parts, many)
            history += [] if joined is None else [joined]
            codes = names(result)
            keep(states, history)
            bar.show(states)
            now = restarts.standing(states, history, codes, steps, used)
            # Looks come after the same steps, wherever a fit was stopped and goes on.
            since = int(now.num_steps[now.running].max(initial=0)) % block
            judged = held is None and not since
            fates = restarts.verdicts(now, most) if judged else np.full(many, GOES)
            going = np.flatnonzero(now.running & (fates == GOES))
            if bar.interrupted or not len(going):
                break
            lanes, ahead = restarts.groups(going, wide, many), block - since
        keep.write(states, history)
        if used is not None:
            states, history = take((states, history), slice(used))
            codes, fates = codes[:used], fates[:used]
        return Searched(states, history, codes, fates, np.arange(len(codes)))

    with bar:
        if options.init == "given":
            models = jax.tree.map(lambda a: a[None], template)
            prior = floor_prior(template, data, weights, floor) if prior is None else prior
            check_support(template, data, weights)
            found = go(models, data, weights, prior, options.limits)
            table = table_of(found)
        else:
            assert key is not None
            found, table, prior = search(key, template, data, weights, options, go)
    models, scores = found.state.model, np.asarray(found.state.expected.log_likelihood.value)
    validated = None
    if held is not None:
        validated = np.asarray(
            _totals(models, held, None, rows_of_chunk(template, held, len(scores)))
        )
        every = np.full(len(table.num_steps), np.nan, validated.dtype)
        every[found.lanes] = validated
        table = table._replace(validation_log_likelihood=every)
    bad = np.array([code in ("degenerate", "nonfinite") for code in found.codes])
    rank = scores if validated is None else validated
    order = np.where(np.isnan(rank), -np.inf, rank)
    best = int(np.argmax(np.where(bad & ~bad.all(), -np.inf, order)))
    state = take(found.state, best)
    model, steps = state.model, int(state.num_steps)
    total = state.expected.log_likelihood.value
    result = RESULTS.interrupted if bar.interrupted else code_of(found.codes[best])
    if options.throw and bool(result != RESULTS.successful):
        raise RuntimeError(message(result))
    return Fit(
        model, total, trimmed(_of_restart(found, best), steps), steps, int(state.num_emptied),
        result, table, num_parameters(model),
        float(rows if weights is None else jnp.sum(weights)), entropy(model, data, weights, layout),
        None if validated is None else float(validated[best]),
    )  # fmt: skip


def fit_alike(keys, templates, data, weights, options: Options) -> list[Fit] | None:
    """Fits of mixtures that differ in components alone in one launch; None for too many data."""
    if layout_of(data) is not None:
        return None
    templates = [of_dtype(template, data) for template in templates]
    widest = max(templates, key=width)
    data = checked_data(data, widest)
    weights = checked_weights(weights, num_rows(data), float_of(data))
    held = options.validation
    options = options._replace(validation=None if held is None else checked_data(held, widest))
    if not suits(widest, data, weights, options, len(templates)):
        return None
    return fits(keys, templates, data, weights, options)


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
