"""Arrays in memory: lanes (restarts) side by side in rounds of steps, and the best one's answer."""

from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._results import names
from .._trees import alone, num_rows, take
from ..combinators._buckets import bucketed
from ..regression.centred import Centre, centred, reads_pairs
from .checks import checked_data, of_dtype
from .chunks import densities, rows_of_chunk, width
from .drive import Keeper, Progress, belonging
from .entry import Options, check_rows, check_support
from .priors.prior import FLOOR_ROWS, folded
from .run import loop
from .search import restarts
from .search.restarts import Searched, floor_prior, search, table_of
from .search.small import fits, suits, totals
from .sharded import layout_of, over_rows, placed
from .solution import Fit, answer, entropy
from .solver import Rules, result_of
from .state import History, begin


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


class Rounds(NamedTuple):
    """What every phase of a fit to arrays in memory has in common.

    `belongs` is what a checkpoint must belong to.
    """

    template: PyTree
    options: Options
    bar: Progress
    belongs: dict[str, Any]

    def run(self, models, data, weights, rules: Rules, phase="fit", most=1, used=None) -> Searched:
        """Rounds of steps from some models until every one has stopped, or can't win.

        Models past the first `used` fill a stack whose size is to compile nothing anew. Each phase
        of a fit has a checkpoint of its own.
        """
        many, rows = jax.tree.leaves(models)[0].shape[0], num_rows(data)
        each = densities(self.template)
        wide = restarts.lanes_wide(rows, each, many)
        layout = layout_of(data)
        rules = rules._replace(chunk_size=rows_of_chunk(self.template, data, wide))
        if layout is None:
            data, weights = bucketed(data, weights, width(self.template) * wide)
        first = (models, data, weights, self.options.solver)
        folder, keeper, saved = self.options.checkpoint, None, None
        max_steps = int(rules.max_steps)
        history: list[History] = []
        if folder is not None:
            options = self.options._replace(max_steps=max_steps)
            keeper = Keeper(Path(folder) / phase, self.belongs, options)
            saved, history = keeper.resume(_begin, *first)
        # Of no lane: a look at what stands before the first round.
        lanes = np.full((1, wide), many)
        if self.bar.interrupted:  # in a phase before: one pass, that its models have a score
            lanes, max_steps = restarts.groups(np.arange(many), wide, many), 0
            rules = rules._replace(max_steps=jnp.zeros_like(rules.max_steps))

        def further(states, group, ahead):
            states, part, result = _advance(states, group, data, weights, rules, ahead, layout)
            return states, part, names(result)

        return restarts.rounds(
            further, _begin(*first) if saved is None else saved, history, lanes,
            steps=restarts.round_steps(rows * each * many), most=most, used=used,
            options=self.options._replace(max_steps=max_steps), bar=self.bar, keeper=keeper,
        )  # fmt: skip


_near = eqx.filter_jit(centred)


def fit_arrays(
    key: Key[Array, ""] | None, template: PyTree, data: PyTree, weights: Any, options: Options
) -> Fit:
    """`jm.fit` over arrays in memory, on one device or spread over several."""
    layout, template = layout_of(data), of_dtype(template, data)
    data, weights, options, fold, centre = _entered(template, data, weights, options, layout)
    model = centre.near(fold.model(template))
    found = _fit_checked(key, model, data, weights, options, layout)
    return fold.undone(centre.undone(found), template)


def fit_alike(keys, templates, data, weights, options: Options, room: int) -> list[Fit] | None:
    """Fits of mixtures that differ in components alone by the same programs; None for too many data."""
    if layout_of(data) is not None:
        return None
    templates = [of_dtype(template, data) for template in templates]
    widest = max(templates, key=width)
    data, weights, options, fold, centre = _entered(widest, data, weights, options, None)
    models = [centre.near(fold.model(t)) for t in templates]
    if not suits(max(models, key=width), data, weights, options):
        return None
    found = fits(keys, models, data, weights, options, room)
    return [fold.undone(centre.undone(fit), t) for t, fit in zip(templates, found, strict=True)]


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


def _fit_checked(key, template, data, weights, options: Options, layout) -> Fit:
    rows, held = num_rows(data), options.validation
    if layout is None and suits(template, data, weights, options):
        return fits([key], [template], data, weights, options)[0]
    prior, floor = options.prior, options.floor
    bar = Progress(options.max_steps, options.progress)
    belongs = {}
    if options.checkpoint is not None:
        # Of the data, 4,096 rows spread over them.
        few = np.round(np.linspace(0, rows - 1, min(rows, FLOOR_ROWS))).astype(int)
        belongs = belonging(key, template, take((data, weights), few), rows, options)
        belongs["restarts"] = 1 if options.init == "given" else options.num_restarts
    go = Rounds(template, options, bar, belongs)
    with bar:
        if options.init == "given":
            models = alone(template)
            prior = floor_prior(template, data, weights, floor) if prior is None else prior
            check_support(template, data, weights)
            found = go.run(models, data, weights, options.rules(prior))
            table = table_of(found)
        else:
            assert key is not None
            found, table, prior = search(key, template, data, weights, options, go)
    models, scores = found.state.model, np.asarray(found.state.expected.log_likelihood.value)
    validated = None
    if held is not None:
        chunk = rows_of_chunk(template, held, len(scores))
        validated = np.asarray(totals(models, held, None, chunk))
        every = np.full(len(table.num_steps), np.nan, validated.dtype)
        every[found.lanes] = validated
        table = table._replace(validation_log_likelihood=every)
    return answer(
        found, table, validated, float(rows if weights is None else jnp.sum(weights)),
        lambda model, _: entropy(model, data, weights, layout),
        interrupted=bar.interrupted, throw=options.throw,
    )  # fmt: skip
