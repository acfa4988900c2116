"""A fit of few rows: two short programs of bucketed shapes, compiled with little effort.

Seeds are drawn on the host. One program makes the starts of a few restarts, the other takes them
some steps further; its E-step occurs once, in the residual form, which is right whatever the
spread, and few rows need no speed. Rows and components are padded to buckets, rows at weight 0 and
components at probability 0, and restarts go on four at a time, so that another number of rows,
of components, or of restarts compiles nothing.
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._chunkwise import ProductForm
from ..._compile import BY_LIBRARY, Effort, Quick
from ..._exponential import ExponentialFamily
from ..._refittable import Refittable
from ..._results import NAMES
from ..._trees import alone, float_of, in_numpy, num_rows, take
from ...combinators import Composite, MixtureSameFamily, SequenceEvent
from ..chunks import densities
from ..drive import Progress, best_of_all, drive
from ..entry import Options, check_support
from ..expected import log_likelihood
from ..parts import take_apart
from ..priors.prior import Prior, floors_prior
from ..run import loop
from ..solution import Fit, answer, entropy
from ..solver import PlainEM, Rules, result_of
from ..state import History, State, begin
from .initialise import NUDGE, components, global_fit, refitted
from .padding import bucket_of_components, can_widen, narrowed, padded_rows, widened, with_room
from .restarts import (
    GOES,
    SHORT,
    Searched,
    groups,
    round_history,
    round_steps,
    standing,
    table_of,
    verdicts,
)  # fmt: skip
from .seeds import generator, seeds

ELEMENTS = 500_000  # rows x densities x restarts up to which compiling costs more than running
WIDE = 4  # restarts side by side


# ---- the two programs ----------------------------------------------------------------------------


class Start(NamedTuple):
    """What the starts of some restarts are made of, each with a leading axis of them.

    - `share` (n, k) or (n,): with what weight a component starts from a row.
    - `rows` (n,): which rows these are; None for all, as they stand.
    - `alive` (k,): components that are not padding; None where none is.
    - `seeds`: of the latent variables inside components; None where there are none.
    - `noise`: added to each array without statistics.
    """

    share: Any
    rows: Any
    alive: Any
    seeds: Any
    noise: list[Any]


@Quick
def started(template, data, weights, starts, floor, prior, solver) -> tuple[State, Prior]:
    """The states of restarts before any pass over the data, and the prior of the fit.

    Without `starts` the template, stacked, is what they start from.
    """
    one = take(template, 0) if starts is None else template
    placed, pooled = global_fit(one, data, weights)
    if prior is None:
        leaves = take_apart(placed).leaves
        prior = floors_prior(leaves, pooled, [leaf.origin for leaf in leaves], weights, floor)

    def fresh(start: Start):
        few = (data, weights) if start.rows is None else take((data, weights), start.rows)
        sample, case = few
        inside = (start.seeds, start.noise, start.alive)
        return refitted(placed, pooled, sample, start.share, case, *inside)

    models = template if starts is None else jax.vmap(fresh)(starts)
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models), prior


class Lanes(NamedTuple):
    """Restarts between two looks of the host: their states, codes, and entropies where known."""

    state: State
    code: Any
    entropy: Any


def _advanced(states, data, weights, rules: Rules, steps) -> tuple[Lanes, History]:
    """Restarts at most so many `steps` further, and their traces, a row a restart."""
    states, history = loop(states, data, weights, rules, block=SHORT, steps=steps)
    codes = jax.vmap(lambda state: result_of(state, rules)._value)(states)
    return Lanes(states, codes, jax.vmap(_entropy_of)(states)), history


advanced, advanced_wide = Quick(_advanced), Quick(_advanced, options=BY_LIBRARY)


def _entropy_of(state: State) -> Any:
    """Entropy of the responsibilities: the log-likelihood less Q of its own statistics, in nats.

    None where base measures or latent variables inside components have a part in either.
    """
    model, expected = state.model, state.expected
    leaves = take_apart(model).leaves
    known = [id(getattr(model, name, None)) for name in ("mixing", "components")]
    plain = isinstance(model, MixtureSameFamily) and [id(leaf) for leaf in leaves] == known
    kind = type(leaves[1]) if plain else Refittable
    if not issubclass(kind, ExponentialFamily) or kind.log_base is not ExponentialFamily.log_base:
        return None
    total = expected.log_likelihood.value
    for leaf, stats in zip(leaves, expected.stats, strict=True):
        total -= jnp.sum(leaf.expected_log_prob(stats, leaf.origin))
    return total


# ---- the host --------------------------------------------------------------------------------


def suits(template: PyTree, data: PyTree, weights: Any, options: Options) -> bool:
    """Whether a fit is so small that compiling it well would cost more than running it."""
    arrays = [a for a in jax.tree.leaves((template, data, weights)) if isinstance(a, jax.Array)]
    if options.checkpoint is not None or any(len(a.devices()) > 1 for a in arrays):
        return False
    restarts = 1 if options.init == "given" else options.num_restarts
    return num_rows(data) * _items(data) * max(1, densities(template)) * restarts <= ELEMENTS


def _items(data: PyTree, axis: int = 1, above: int = 1) -> int:
    """For how many items the sequences of a row have room, those of a sequence in a sequence too."""
    most, is_sequence = above, lambda node: isinstance(node, SequenceEvent)
    for node in jax.tree.leaves(data, is_leaf=is_sequence):
        if is_sequence(node):
            size = jax.tree.leaves(node.items)[0].shape[axis]
            most = max(most, _items(node.items, axis + 1, above * size))
    return most


def fits(
    keys: list[Any],
    templates: list[PyTree],
    data: PyTree,
    weights: Any,
    options: Options,
    room: int = 1,
) -> list[Fit]:
    """Fits of several models to the same few rows by the same programs.

    The models are alike but for their number of components, in which they can be widened: to
    that of the widest, or to `room`.
    """
    can = can_widen(templates[0]) and options.prior is None and isinstance(options.solver, PlainEM)
    sizes = [t.mixing.size if can else 0 for t in templates]
    templates, data = in_numpy(templates), in_numpy(data)
    weights = None if weights is None else np.asarray(weights)
    padded, case = padded_rows(with_room(data), weights, float_of(templates[0]))
    widest = templates[int(np.argmax(sizes))]
    widest = widened(widest, bucket_of_components(max(*sizes, room))) if can else widest
    with Progress(options.max_steps, options.progress) as bar:
        go = _Rounds(widest, (data, weights), (padded, case), options, bar)
        each = zip(keys, templates, sizes, strict=True)
        return [go.fit(key, template, size) for key, template, size in each]


_efforts: dict[Any, Effort] = {}  # by the shapes of what is taken further


class _Rounds(NamedTuple):
    """What the fits of several models to the same rows have in common."""

    widest: PyTree
    rows: tuple[PyTree, Any]  # as they were given
    padded: tuple[PyTree, Any]
    options: Options
    bar: Progress

    def fit(self, key: Any, template: PyTree, size: int) -> Fit:
        """The best of all restarts of one model; of `size` components, or 0 for what has its own."""
        lanes, traces, codes, fates = self.run(*self.begin(key, template, size))
        cut = (lambda m: narrowed(m, size)) if size else (lambda m: m)
        state = lanes.state
        if not np.isfinite(state.expected.log_likelihood.value[0]) and state.num_steps[0] == 0:
            check_support(cut(take(state.model, 0)), *self.rows)
        found = Searched(state, traces, codes, fates, np.arange(len(codes)))
        held = self.options.validation
        table = table_of(found)
        if held is not None:
            data = padded_rows(with_room(in_numpy(held)), None, float_of(template))
            held = np.asarray(_totals(state.model, *data))
            table = table._replace(validation_log_likelihood=held)

        def entropy_of(model, lane):
            if lanes.entropy is not None:
                return float(lanes.entropy[lane])
            return entropy(model, *self.padded)

        data, weights = self.rows
        total = num_rows(data) if weights is None else np.sum(weights)
        return answer(
            found, table, held, float(total), entropy_of,
            interrupted=self.bar.interrupted, throw=self.options.throw, narrowed=cut,
        )  # fmt: skip

    def begin(self, key: Any, template: PyTree, size: int) -> tuple[State, Prior]:
        """The states of all restarts of one model, on the host, and the prior."""
        options, starts, many = self.options, None, self.options.num_restarts
        widest, floor = self.widest, np.asarray(self.options.floor, float_of(template))
        if options.init == "given":
            widest, many = alone(widest), 1
        else:
            starts = self.starts(key, template, size)
        begun = [
            started(
                widest, *self.padded, take(starts, np.minimum(group, many - 1)), floor,
                options.prior, options.solver,
            )
            for group in groups(np.arange(many), min(many, WIDE), many)
        ]  # fmt: skip
        states, priors = zip(*begun, strict=True)
        return _joined(states, many), priors[0]

    def run(self, states: State, prior: Prior) -> tuple[Lanes, list[History], list[str], Any]:
        """Rounds of steps until every restart has ended, or can't be the best."""
        options, many = self.options, len(states.running)
        number = lambda value: np.asarray(value, states.penalty.dtype)
        work = num_rows(self.rows[0]) * densities(self.widest) * many
        counts = (options.max_steps, round_steps(work))
        max_steps, steps = np.asarray(counts, jax.dtypes.canonicalize_dtype(int))
        tol = number(-np.inf if options.tol is None else options.tol)
        rules = Rules(
            options.solver, prior, max_steps, tol, options.stopping, options.assignment,
            num_rows(self.padded), residual=True,
        )  # fmt: skip
        shapes = jax.tree.map(np.shape, (take(states, slice(WIDE)), self.padded))
        kind = (jax.tree.structure(shapes), *jax.tree.leaves(shapes))
        effort = _efforts.setdefault(kind, Effort())
        leaves = take_apart(self.widest).leaves
        wide = any(isinstance(leaf, ProductForm) and leaf.own_products for leaf in leaves)
        program = advanced_wide if wide else advanced
        going, fates, codes = np.arange(many), np.full(many, GOES), []

        def block(lanes: Lanes, traces: list[History]):
            nonlocal going, fates, codes
            if not len(going):
                return None
            began, level = time.process_time(), effort.level
            step = program.with_effort(level)
            parts, grouped = [], groups(going, min(many, WIDE), many)
            for group in grouped:
                some = take(lanes.state, np.minimum(group, many - 1))
                some = some._replace(running=some.running & (group < many))
                parts.append(step(some, *self.padded, rules, steps))
            new, fresh = zip(*parts, strict=True)
            new = _joined(new, len(going))
            effort.note(level, time.process_time() - began)
            lanes = jax.tree.map(lambda a, b: _put(a, going, b), lanes, new) if traces else new
            trace = round_history(grouped, in_numpy(fresh), many)
            codes = [NAMES[int(code)] for code in lanes.code]
            now = standing(lanes.state, traces + trace, codes, options.max_steps)
            judged = options.validation is None
            fates = verdicts(now, many) if judged else np.full(many, GOES)
            going = np.flatnonzero(now.running & (fates == GOES))
            return lanes, trace

        told = lambda lanes, _: best_of_all(lanes.state, [])
        lanes, traces = drive(block, Lanes(states, None, None), [], self.bar, told=told)
        return lanes, traces, codes, fates

    def starts(self, key: Any, template: PyTree, size: int) -> Start:
        """What one model starts from, padded to the rows and components of the programs."""
        (data, weights), many = self.rows, self.options.num_restarts
        drawn = seeds(key, data, size or components(template, data), many, weights)
        share, room = drawn.share, [(0, 0)] * drawn.share.ndim
        if drawn.rows is None:
            room[1] = (0, len(self.padded[1]) - share.shape[1])
        alive = None
        if size:
            top = self.widest.mixing.size
            room[2] = (0, top - size)
            alive = np.broadcast_to(np.arange(top) < size, (many, top))
        share = np.pad(share, room).astype(float_of(template))
        random = generator(key).spawn(1)[0]  # the seeds have used the generator itself
        parts, bits = take_apart(self.widest), None
        if not _is_flat(self.widest):
            draw = lambda leaf: random.integers(0, 1 << 32, (many, *leaf.stack_shape, 2), np.uint32)
            bits = [draw(leaf) for leaf in parts.leaves]
        noise = [
            (NUDGE * random.standard_normal((many, *a.shape))).astype(a.dtype) for a in parts.loose
        ]
        return Start(share, drawn.rows, alive, bits, noise)


def _joined(parts: Any, many: int) -> Any:
    """Groups of lanes as one stack on the host, without those that fill the last group."""
    return jax.tree.map(lambda *a: np.concatenate([*map(np.asarray, a)])[:many], *parts)


def _put(whole: np.ndarray, lanes: np.ndarray, some: np.ndarray) -> np.ndarray:
    whole = whole.copy()
    whole[lanes] = some
    return whole


def _is_flat(model: PyTree) -> bool:
    """Whether a mixture's components have no latent variables inside that could want noise."""
    stack = getattr(model, "components", None)
    plain = lambda node: isinstance(node, Refittable)
    if isinstance(stack, Composite):
        return all(plain(part) for _, part in stack.items())
    return plain(stack)


@Quick
def _totals(models, data, weights):
    one = lambda m: log_likelihood(m, data, weights, num_rows(data)).value
    return jax.vmap(one)(models)
