"""`jm.fit`: options are checked, then arrays are fitted in memory and sources by streaming.

In memory lanes (restarts) go on side by side in rounds of steps, and the best one is the answer.
"""

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._arguments import each_read, takes
from .._hooks import Source
from .._platform import with_precision
from .._refuse import checked_key
from .._results import names
from .._sharding import on_automatic_axes
from .._trees import alone, num_rows, take
from ..combinators._buckets import bucketed
from ..regression.centred import Centre, centred, reads_pairs
from .accelerate import solver_of
from .checks import checked_data, of_dtype
from .chunks import densities, rows_of_chunk, width
from .drive import Keeper, Progress, belonging
from .entry import (
    RULES,
    Options,
    check_model,
    check_rows,
    check_start,
    check_support,
    enter,
    items_of_one_row,
)
from .priors.prior import DEFAULT_FLOOR, FLOOR_ROWS, Prior, folded
from .run import loop
from .search import restarts
from .search.padding import alike
from .search.restarts import Searched, floor_prior, search, table_of
from .search.small import fits, suits, totals
from .sharded import layout_of, over_rows, placed
from .solution import Fit, answer, entropy
from .solver import Rules, Solver, result_of
from .state import History, begin
from .streaming.stream import fit_source


@takes("call jm.em.run, the pure function under it.", **RULES)
@functools.partial(on_automatic_axes, spread=True)
@with_precision
def fit(
    key: Key[Array, ""] | None,
    template: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    validation: PyTree | None = None,
    num_restarts: int = 16,
    init: str = "search",
    assignment: str = "soft",
    max_steps: int = 1000,
    tol: float | None = 1e-6,
    accelerate: str | Solver | None = None,
    stopping: str = "gain",
    prior: Prior | None = None,
    floor: float = DEFAULT_FLOOR,
    checkpoint: Any = None,
    progress: bool | None = None,
    throw: bool = False,
    precision: str | None = None,
) -> Fit:
    """Fit a model by EM: many starts, the best one continued, every failure told.

    Restarts go on in rounds of a few steps. Between two, those leave that have ended, that can no
    longer be the best, or that are on their way to where a better one is; `fit.restarts` says so of
    each. Of more than 4,096 rows (up to 16,384 where parameters or components are many) all of that
    happens on a sample, and the best one or two go on over all rows. A restart that collapsed ranks
    below every clean one. With `validation`, every restart is run to its end.

    Sequences of unequal lengths are passed over in groups of like lengths, where that saves work.

    Args:
        key: a typed key for the starts; None with `init="given"`.
        template: a model whose structure matters; with `init="given"` the start itself.
        data: events stacked along a leading axis, or a `jm.data` source of batches.
        weights: case weights (rows,), non-negative.
        validation: events by whose log-likelihood the best restart is chosen instead.
        num_restarts: how many starts.
        init: "search", or "given" to go on from `template` as it is.
        assignment: "soft", or "hard" for classification EM (k-means among it).
        max_steps: at most so many steps for one start.
        tol: stop at a gain below this, in nats a datum (a row; an item of the sequence where there
            is one single row); None never stops early.
        accelerate: None, "squarem", "lbfgs", or a `jm.em.Solver`; a step is one pass over the
            data in each.
        stopping: "gain" holds the last step's gain against `tol`, and a plain fit whose gains hardly
            fall ends as `slow`; "aitken" also holds against it what the gains' own rate, or the
            acceleration, foretells of those to come.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: least variance of a component, as a share of the data's.
        checkpoint: a folder in which the fit keeps its state, every few seconds; the same call goes on
            from there. `max_steps` and `tol` may change.
        progress: show a progress bar; None shows it on fits that last.
        throw: raise the result's sentence if the fit failed.
        precision: of float32 matrix products; None for all digits, or see `jm.products_in`.

    Returns:
        A `Fit`.

    Raises:
        ValueError: for bad input, by a sentence that names it; nothing has run by then.
        TypeError: for what is no typed key.
        RuntimeError: with `throw`, for a result other than successful.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-3, -1, 50), jnp.linspace(2, 4, 50)])
        >>> fit = jm.fit(jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), x)
        >>> bool(fit.result == jm.RESULTS.successful)
        True
    """
    del precision  # held by the decorator
    solver = solver_of(accelerate, template)
    options = Options(
        validation, num_restarts, init, assignment, max_steps, tol, solver, stopping, prior,
        floor, checkpoint, progress, throw,
    )  # fmt: skip
    if init == "search":
        if key is None:
            raise ValueError('fit needs a key, such as jax.random.key(0), unless init="given".')
        checked_key(key, "fit")
    if streams := isinstance(data, Source):
        check_model(template, data, "template")
    else:
        data, weights = enter(template, data, weights, name="template", finite=True)
    if init == "given":
        check_start(template)
    if streams:
        return fit_source(fit_arrays, key, template, data, weights, options)
    items = items_of_one_row(data)
    if items is not None and tol is not None:  # in nats an item
        options = options._replace(tol=tol * float(items))
    found = fit_arrays([key], [template], data, weights, options)[0]
    if items is None:
        return found
    return dataclasses.replace(found, num_data=found.num_data * float(items), unit="item")


def fit_each(
    keys: Sequence[Key[Array, ""]], templates: Sequence[PyTree], data: PyTree, **options: Any
) -> list[Fit]:
    """`jm.fit` of several models to the same data, together where that can be."""
    found = fit_together(keys, templates, data, **options) if len(templates) > 1 else None
    return found or [fit(k, t, data, **options) for k, t in zip(keys, templates, strict=True)]


@with_precision
def fit_together(
    keys: Sequence[Key[Array, ""]],
    templates: Sequence[PyTree],
    data: PyTree,
    *,
    weights: Array | None = None,
    room: int = 1,
    **options: Any,
) -> list[Fit] | None:
    """`jm.fit` of several models by the same programs, each with its own key; None where they differ.

    Mixtures of one family that differ in their number of components alone share programs where
    the data are few; with `room` for more components also with those of another call.
    """
    if isinstance(data, Source):
        return None
    for template in templates:
        check_model(template, data, "template")
    data, weights = enter(templates[0], data, weights, finite=True)
    if items_of_one_row(data) is not None or len(alike([of_dtype(t, data) for t in templates])) > 1:
        return None
    given = DEFAULTS | options
    given |= each_read(RULES, given)
    solver = solver_of(given.pop("accelerate"))
    del given["weights"], given["precision"]  # held by the decorator
    chosen = Options(solver=solver, **given)
    return fit_arrays(keys, templates, data, weights, chosen, room, many=False) or None


DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


@eqx.filter_jit
def _begin(models, data, weights, solver):
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models)


@eqx.filter_jit
def _advance(states, lanes, data, weights, rules, block, layout):
    """Some lanes, by their positions, at most `block` steps on; a position past the last is none."""

    def all_of(data, weights, states, lanes, rules):
        def further(some):
            go = lambda state: loop(state, data, weights, rules, block=block)
            # A single one has no axis of lanes: one of size 1 slows XLA's passes tenfold.
            return go(some) if len(lanes) > 1 else alone(go(take(some, 0)))

        some = jax.tree.map(lambda a: a.at[lanes].get(mode="clip"), states)
        there = lanes < states.running.shape[0]
        some, history = further(some._replace(running=some.running & there))
        states = jax.tree.map(lambda a, b: a.at[lanes].set(b, mode="drop"), states, some)
        return states, history, jax.vmap(lambda s: result_of(s, rules))(states)

    return over_rows(all_of, layout, data, weights, states, lanes, rules)


def _rounds(
    template: PyTree, options: Options, bar: Progress, belongs: dict[str, Any],
    models: PyTree, data: PyTree, weights: Any, rules: Rules, phase: str = "fit", most: int = 1,
    used: int | None = None,
) -> Searched:  # fmt: skip
    """Rounds of steps from some models until every one has stopped, or can't win.

    Models past the first `used` fill a stack whose size is to compile nothing anew. Each phase
    of a fit has a checkpoint of its own, of what `belongs` to it.
    """
    many, rows = jax.tree.leaves(models)[0].shape[0], num_rows(data)
    each = densities(template)
    wide = restarts.lanes_wide(rows, each, many)
    layout = layout_of(data)
    rules = rules._replace(chunk_size=rows_of_chunk(template, data, wide))
    if layout is None:
        data, weights = bucketed(data, weights, width(template) * wide)
    first = (models, data, weights, options.solver)
    folder, keeper, saved = options.checkpoint, None, None
    max_steps = int(rules.max_steps)
    history: list[History] = []
    if folder is not None:
        options = options._replace(max_steps=max_steps)
        keeper = Keeper(Path(folder) / phase, belongs, options)
        saved, history = keeper.resume(_begin, *first)
    # Of no lane: a look at what stands before the first round.
    lanes = np.full((1, wide), many)
    if bar.interrupted:  # in a phase before: one pass, that its models have a score
        lanes, max_steps = restarts.groups(np.arange(many), wide, many), 0
        rules = rules._replace(max_steps=jnp.zeros_like(rules.max_steps))

    def further(states, group, ahead):
        states, part, result = _advance(states, group, data, weights, rules, ahead, layout)
        return states, part, names(result)

    return restarts.rounds(
        further, _begin(*first) if saved is None else saved, history, lanes,
        steps=restarts.round_steps(rows * each * many), most=most, used=used,
        options=options._replace(max_steps=max_steps), bar=bar, keeper=keeper,
    )  # fmt: skip


_near = eqx.filter_jit(centred)


def fit_arrays(
    keys: Sequence[Any],
    templates: Sequence[PyTree],
    data: PyTree,
    weights: Any,
    options: Options,
    room: int = 1,
    many: bool = True,
) -> list[Fit]:
    """`jm.fit` over arrays in memory, on one device or spread over several.

    Several templates are mixtures that differ in components alone: of few data they are fitted by
    the same programs. None are fitted to many where these are not wanted.
    """
    layout, templates = layout_of(data), [of_dtype(template, data) for template in templates]
    widest = int(np.argmax(list(map(width, templates))))
    data, weights, options, fold, centre = _entered(
        templates[widest], data, weights, options, layout
    )
    models = [centre.near(fold.model(template)) for template in templates]
    if layout is None and suits(models[widest], data, weights, options):
        found = fits(list(keys), models, data, weights, options, room)
    else:
        pairs = zip(keys, models, strict=True) if many else ()
        found = [_fit_many(key, m, data, weights, options, layout) for key, m in pairs]
    return [fold.undone(centre.undone(fit), t) for fit, t in zip(found, templates, strict=False)]


def _entered(template, data, weights, options: Options, layout):
    """Data, weights and options as they are fitted, how like columns were stacked, and a centre."""
    data, weights = placed((data, weights), layout)
    check_rows(template, data, weights, options.prior)
    fold, prior = folded(options.prior, template, data)
    centre = Centre(None)
    if reads_pairs(template):
        _, data, centre = _near(template, data, weights)
    held = options.validation
    held = None if held is None else fold.data(centre.data(checked_data(held, template)))
    options = options._replace(prior=prior, validation=held)
    return fold.data(data), weights, options, fold, centre


def _fit_many(key, template, data, weights, options: Options, layout) -> Fit:
    rows, held, prior, floor = num_rows(data), options.validation, options.prior, options.floor
    bar = Progress(options.max_steps, options.progress)
    belongs = {}
    if options.checkpoint is not None:
        # Of the data, 4,096 rows spread over them.
        few = np.round(np.linspace(0, rows - 1, min(rows, FLOOR_ROWS))).astype(int)
        belongs = belonging(key, template, take((data, weights), few), rows, options)
        belongs["restarts"] = 1 if options.init == "given" else options.num_restarts
    go = functools.partial(_rounds, template, options, bar, belongs)
    with bar:
        if options.init == "given":
            models = alone(template)
            prior = floor_prior(template, data, weights, floor) if prior is None else prior
            check_support(template, data, weights)
            found = go(models, data, weights, options.rules(prior))
            table = table_of(found)
        else:
            assert key is not None
            found, table, prior = search(key, template, data, weights, options, go)
    models, scores = found.state.model, np.asarray(found.state.expected.log_likelihood.value)
    validated = None
    if held is not None:
        chunk = rows_of_chunk(template, held, len(scores))
        validated = np.asarray(totals(models, held, None, chunk))
    return answer(
        found, table, validated, float(rows if weights is None else jnp.sum(weights)),
        lambda model, _: entropy(model, data, weights, layout),
        interrupted=bar.interrupted, throw=options.throw,
    )  # fmt: skip
