"""A fit of few rows: two short programs of bucketed shapes, compiled with little effort.

Seeds are drawn on the host. One program makes the starts of a few restarts, the other takes them
some steps further. Its E-step occurs once, in the residual form, which is right whatever the
spread, and few rows need no speed; but in two, about one origin and about each density's own, for
more rows of vectors whose densities are no products of their own. Rows and components are padded to
buckets, rows at weight 0 and components at probability 0, and restarts go on four at a time, so that
another number of rows, of components, or of restarts compiles nothing.
"""

import functools
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
from ...combinators import MixtureSameFamily, SequenceEvent
from ..chunks import densities, is_brief
from ..drive import Progress
from ..entry import Options, check_support
from ..expected import log_likelihood
from ..parts import take_apart
from ..priors.prior import Prior, floors_prior
from ..run import loop
from ..solution import Fit, answer, entropy
from ..solver import PlainEM, Rules, result_of
from ..state import History, State, begin
from .initialise import Start, components, global_fit, started
from .padding import bucket_of_components, can_widen, padded_rows, resized, with_room
from .restarts import QUICK, SHORT, Searched, groups, round_steps, rounds, table_of
from .seeds import starts

ELEMENTS = 500_000  # rows x densities x restarts up to which compiling costs more than running
LONG = 100_000  # the same, from which products over the rows are worth compiling well
WIDE = 4  # restarts side by side


# ---- the two programs ----------------------------------------------------------------------------


@Quick
def _begun(template, data, weights, starts, floor, prior, solver) -> tuple[State, Prior]:
    """The states of restarts before any pass over the data, and the prior of the fit.

    Without `starts` the template, stacked, is what they start from.
    """
    one = take(template, 0) if starts is None else template
    placed, pooled = global_fit(one, data, weights)
    if prior is None:
        leaves = take_apart(placed).leaves
        prior = floors_prior(leaves, pooled, [leaf.origin for leaf in leaves], weights, floor)
    models = template if starts is None else started(placed, pooled, data, weights, starts)
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models), prior


class Lanes(NamedTuple):
    """Restarts between two looks of the host: their states, codes, and entropies or NaN."""

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

    NaN where base measures or latent variables inside components have a part in either.
    """
    model, expected = state.model, state.expected
    leaves, total = take_apart(model).leaves, expected.log_likelihood.value
    known = [id(getattr(model, name, None)) for name in ("mixing", "components")]
    plain = isinstance(model, MixtureSameFamily) and [id(leaf) for leaf in leaves] == known
    kind = type(leaves[1]) if plain else Refittable
    if not issubclass(kind, ExponentialFamily) or kind.log_base is not ExponentialFamily.log_base:
        return jnp.full_like(total, jnp.nan)
    for leaf, stats in zip(leaves, expected.stats, strict=True):
        total -= jnp.sum(leaf.expected_log_prob(stats))
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
    templates, data, weights = in_numpy((templates, data, weights))
    padded, case = padded_rows(with_room(data), weights, float_of(templates[0]))
    widest = templates[int(np.argmax(sizes))]
    widest = resized(widest, bucket_of_components(max(*sizes, room))) if can else widest
    with Progress(options.max_steps, options.progress) as bar:
        go = _Rounds(widest, (data, weights), (padded, case), options, bar)
        each = zip(keys, templates, sizes, strict=True)
        return [go.fit(key, template, size) for key, template, size in each]


def _owns_products(leaf: Any) -> bool:
    """Whether each density about its own origin is a product over the rows, of parameters its own."""
    return isinstance(leaf, ProductForm) and leaf.own_products and not leaf.num_shared_parameters


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
        found, known = self.run(*self.begin(key, template, size))
        cut = (lambda m: resized(m, size)) if size else (lambda m: m)
        state = found.state
        if not np.isfinite(state.expected.log_likelihood.value[0]) and state.num_steps[0] == 0:
            check_support(cut(take(state.model, 0)), *self.rows)
        held = self.options.validation
        table = table_of(found)
        if held is not None:
            data = padded_rows(with_room(in_numpy(held)), None, float_of(template))
            held = np.asarray(totals(state.model, *data, len(data[1])))
        of_model = lambda model, lane: (
            entropy(model, *self.padded) if np.isnan(known[lane]) else float(known[lane])
        )
        data, weights = self.rows
        total = num_rows(data) if weights is None else np.sum(weights)
        return answer(
            found, table, held, float(total), of_model,
            interrupted=self.bar.interrupted, throw=self.options.throw, narrowed=cut,
        )  # fmt: skip

    def begin(self, key: Any, template: PyTree, size: int) -> tuple[State, Prior]:
        """The states of all restarts of one model, on the host, and the prior."""
        options, starts, many = self.options, None, self.options.num_restarts
        widest, floor = self.widest, np.asarray(self.options.floor, self.padded[1].dtype)
        if options.init == "given":
            widest, many = alone(widest), 1
        else:
            starts = self.starts(key, template, size)
        begun = [
            _begun(
                widest, *self.padded, take(starts, np.minimum(group, many - 1)), floor,
                options.prior, options.solver,
            )
            for group in groups(np.arange(many), min(many, WIDE), many)
        ]  # fmt: skip
        states, priors = zip(*begun, strict=True)
        return _joined(states, many), priors[0]

    def run(self, states: State, prior: Prior) -> tuple[Searched, np.ndarray]:
        """Restarts until every one has ended, or can't be the best; and entropies where known."""
        options, many = self.options, len(states.running)
        lanes = densities(self.widest) * many
        work = num_rows(self.rows[0]) * lanes
        stack = getattr(self.widest, "components", None)
        # Of vectors whose densities are no products of their own, a pass about one origin; but of a
        # few rows one E-step is sooner compiled than two are run.
        several = isinstance(stack, ProductForm) and stack.origin.ndim > 1
        rows = len(self.padded[1])
        few = rows * lanes <= QUICK
        residual = few or not several or _owns_products(stack)
        rules = options.rules(prior, rows)._replace(residual=residual)
        shapes = jax.tree.map(np.shape, (take(states, slice(WIDE)), self.padded))
        kind = (jax.tree.structure(shapes), *jax.tree.leaves(shapes))
        effort = _efforts.setdefault(kind, Effort())
        effort.least = 2 * int(not rules.residual and work > LONG)
        wide = any(_owns_products(leaf) for leaf in take_apart(self.widest).leaves)
        program = advanced_wide if wide else advanced
        kept = Lanes(states, np.zeros(many, int), np.full(many, np.nan))

        def further(states, group, ahead):
            there = group < many
            some = take(states, np.minimum(group, many - 1))
            some = some._replace(running=some.running & there)
            steps = np.asarray(ahead, jax.dtypes.canonicalize_dtype(int))
            new, history = effort.run(program, some, *self.padded, rules, steps)
            put = lambda whole, part: whole.__setitem__(group[there], np.asarray(part)[there])
            jax.tree.map(put, kept, new)
            return states, history, [NAMES[int(code)] for code in kept.code]

        found = rounds(
            further, states, [], groups(np.arange(many), min(many, WIDE), many),
            steps=round_steps(work), most=many, options=options, bar=self.bar,
        )  # fmt: skip
        return found, kept.entropy

    def starts(self, key: Any, template: PyTree, size: int) -> Start:
        """What one model starts from, padded to the rows and components of the programs."""
        (data, weights), many = self.rows, self.options.num_restarts
        size_of = size or components(template, data)
        drawn = starts(key, self.widest, data, size_of, many, weights)
        share, room = drawn.share, [(0, 0)] * drawn.share.ndim
        if drawn.rows is None:
            room[1] = (0, len(self.padded[1]) - share.shape[1])
        alive = None
        if size:
            top = self.widest.mixing.size
            room[2] = (0, top - size)
            alive = np.broadcast_to(np.arange(top) < size, (many, top))
        return drawn._replace(share=np.pad(share, room), alive=alive)


def _joined(parts: Any, many: int) -> Any:
    """Groups of lanes as one stack on the host, without those that fill the last group."""
    return jax.tree.map(lambda *a: np.concatenate([*map(np.asarray, a)])[:many], *parts)


@functools.partial(Quick, when=is_brief)
def totals(models, data, weights, chunk: int):
    """Log-likelihoods under each of some models, in nats."""
    return jax.vmap(lambda m: log_likelihood(m, data, weights, chunk).value)(models)
