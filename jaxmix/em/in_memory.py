"""Arrays in memory: restarts under one vmap, short runs first where they are dear, one answer."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._results import RESULTS
from .checkpoint import digest
from .checks import check_rows, check_support, checked_data, checked_weights, float_of, of_dtype
from .chunks import num_rows, rows_of_chunk, width
from .columns import fold_of
from .drive import Rounds
from .expected import log_likelihood
from .maximise import FLOOR_ROWS
from .options import Options
from .progress import Progress
from .restarts import Searched, floor_prior, search, table_of, take
from .sharded import layout_of, over_rows, placed
from .small import fit_small, fits, suits
from .solution import Fit, code_of, entropy, message, num_parameters, trimmed
from .state import History


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
    check_rows(template, data, weights, options.prior)
    held = options.validation
    options = options._replace(validation=None if held is None else checked_data(held, template))
    fold = _fold_of(template, data, options) if layout is None else None
    if fold is None:
        return _fit_checked(key, template, data, weights, options, layout)
    if options.validation is not None:
        options = options._replace(validation=fold.data(options.validation))
    found = _fit_checked(key, fold.model(template), fold.data(data), weights, options, None)
    return dataclasses.replace(found, model=fold.unfolded(found.model, template))


def _fold_of(template, data, options: Options):
    """How like columns are stacked; a prior and a checkpoint hold to the record as it is."""
    return None if options.prior or options.checkpoint else fold_of(template, data)


def _fit_checked(key, template, data, weights, options: Options, layout) -> Fit:
    rows, held = num_rows(data), options.validation
    if layout is None and suits(template, data, weights, options):
        return fit_small(key, template, data, weights, options)
    prior, floor = options.prior, options.floor
    bar = Progress(options.max_steps, options.progress)

    saved = options.checkpoint is not None
    belongs = _belongs(key, template, data, weights, options) if saved else None
    go = Rounds(template, options, bar, belongs)

    with bar:
        if options.init == "given":
            models = jax.tree.map(lambda a: a[None], template)
            prior = floor_prior(template, data, weights, floor) if prior is None else prior
            check_support(template, data, weights)
            found = go.run(models, data, weights, prior, options.limits)
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
    check_rows(widest, data, weights, options.prior)
    held = options.validation
    options = options._replace(validation=None if held is None else checked_data(held, widest))
    if not suits(widest, data, weights, options, len(templates)):
        return None
    fold = _fold_of(widest, data, options)
    if fold is None:
        return fits(keys, templates, data, weights, options)
    if options.validation is not None:
        options = options._replace(validation=fold.data(options.validation))
    found = fits(keys, [fold.model(t) for t in templates], fold.data(data), weights, options)
    pairs = zip(found, templates, strict=True)
    return [dataclasses.replace(fit, model=fold.unfolded(fit.model, t)) for fit, t in pairs]


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


def _of_restart(found: Searched, best: int) -> list[History]:
    """A restart's blocks of traces, each without the padding after its last step."""
    blocks = []
    for part in found.history:
        one = History(*(np.asarray(trace)[best] for trace in part))
        done = int(np.sum(~np.isnan(one.objective) | ~np.isnan(one.log_likelihood)))
        blocks.append(History(*(trace[:done] for trace in one)))
    return blocks
