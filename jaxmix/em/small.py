"""A fit of few rows: two short programs of bucketed shapes, compiled with little effort.

Seeds are drawn on the host. One program makes the starts of every restart, the other takes all of
them a block of steps further; its E-step occurs once, in the residual form, which is right
whatever the spread, and few rows need no speed. Rows, components and restarts are padded to
buckets, rows at weight 0 and components at probability 0, so that data of another length, or
another number of components, compile nothing.
"""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._compile import Quick
from .._exponential import ExponentialFamily, Refittable
from .._numerics import logsumexp
from .._results import RESULTS
from .._trees import alone, float_of, in_numpy, num_rows, take
from ..combinators import Composite, MixtureSameFamily, SequenceEvent
from .checks import check_support
from .chunks import densities, is_brief
from .drive import Progress, drive
from .expected import log_likelihood
from .initialise import (
    NOISE,
    NUDGE,
    PSEUDO_ROWS,
    PSEUDO_VECTORS,
    components,
    global_fit,
    is_vector_event,
    moved,
)
from .maximise import Prior, blank_stats, if_seen, refit
from .options import Options
from .padding import (
    bucket_of_components,
    bucket_of_lanes,
    can_widen,
    narrowed,
    padded_rows,
    widened,
)
from .parts import take_apart
from .run import loop
from .seeds import generator, seeds
from .solution import (
    NAMES,
    Fit,
    Restarts,
    best_of,
    message,
    name,
    num_parameters,
    of_lane,
    trimmed,
)
from .solver import PlainEM
from .state import History, Limits, State, begin, result_of

ELEMENTS = 500_000  # rows x densities x restarts up to which compiling costs more than running
PATIENCE = 5.0  # seconds of the processor: about what compiling well takes
BLOCK = 100  # steps between two looks of the host


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


def _unit(leaf: Any, pooled: Any, mixing: Any, alive: Any) -> Any:
    """One row's worth of a leaf's statistics in the global fit; none for padding."""
    ratio = 1 / jnp.where(pooled.count > 0, pooled.count, jnp.ones_like(pooled.count))
    scaled = lambda a: a * ratio.reshape(ratio.shape + (1,) * (a.ndim - ratio.ndim))
    unit = jax.tree.map(scaled, pooled)
    if alive is None or leaf is not mixing:
        return unit
    outcomes = alive.astype(unit.outcomes.dtype)
    return unit._replace(outcomes=outcomes / jnp.sum(outcomes))


def _start(placed, pooled, data, weights, start: Start) -> PyTree:
    """One start: the global fit refitted to the rows of its components."""
    if start.rows is not None:
        data, weights = take((data, weights), start.rows)
    vector = is_vector_event(data)
    smooth = PSEUDO_VECTORS if vector else PSEUDO_ROWS
    parts = take_apart(placed)
    mixing = getattr(placed, "mixing", None)
    stats = blank_stats(placed, data, start.seeds, NOISE, weights=start.share)
    leaves = []
    for leaf, s, pool in zip(parts.leaves, stats, pooled, strict=True):
        unit = _unit(leaf, pool, mixing, start.alive)
        total = jax.tree.map(lambda a, b: a + smooth * b.astype(a.dtype), s, unit)
        leaves.append(refit(leaf, total, None, jnp.zeros((), total.count.dtype))[0])
    loose = parts.loose
    if loose:
        noisy = [a + noise for a, noise in zip(loose, start.noise, strict=True)]
        build = lambda loose: parts.model(leaves, loose)
        loose = moved(build, noisy, data, start.share, weights)
    return parts.model(leaves, loose)


@Quick
def started(template, data, weights, starts, floor, prior, solver) -> tuple[State, Prior]:
    """The states of all restarts before any pass over the data, and the prior of the fit.

    Without `starts` the template, stacked, is what they start from.
    """
    given = starts is None
    one = take(template, 0) if given else template
    placed, pooled = global_fit(one, data, weights)
    if prior is None:
        leaves = take_apart(placed).leaves
        shares = [leaf.floor(s, floor) for leaf, s in zip(leaves, pooled, strict=True)]
        floors = [if_seen(s, pool.count) for s, pool in zip(shares, pooled, strict=True)]
        prior = Prior(floors, [leaf.origin for leaf in leaves])
    fresh = lambda start: _start(placed, pooled, data, weights, start)
    models = template if given else jax.vmap(fresh)(starts)
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models), prior


class Advanced(NamedTuple):
    """Restarts after a block of steps: their states, traces, codes and what the host asks."""

    state: State
    history: History
    code: Any
    entropy: Any


@Quick
def advanced(
    states, data, weights, prior, solver, max_steps, tol, stopping, assignment
) -> Advanced:
    """All restarts a block of steps further."""
    limits = Limits(max_steps, tol, stopping)
    rows = num_rows(data)

    def one(state):
        state, history = loop(
            state, data, weights, prior, solver, limits,
            block=BLOCK, assignment=assignment, chunk_size=rows, residual=True,
        )  # fmt: skip
        code = result_of(state, prior, limits)._value
        return Advanced(state, history, code, _entropy_of(state.model, state))

    return jax.vmap(one)(states)


def _entropy_of(model: PyTree, state: State) -> Any:
    """Entropy of the responsibilities: the log-likelihood less Q of its own statistics, in nats.

    None where base measures or latent variables inside components have a part in either.
    """
    leaves = take_apart(model).leaves
    known = [id(getattr(model, name, None)) for name in ("mixing", "components")]
    plain = isinstance(model, MixtureSameFamily) and [id(leaf) for leaf in leaves] == known
    kind = type(leaves[1]) if plain else Refittable
    if not issubclass(kind, ExponentialFamily) or kind.log_base is not ExponentialFamily.log_base:
        return None
    expected = state.expected
    total = expected.log_likelihood.value
    for leaf, stats in zip(leaves, expected.stats, strict=True):
        total -= jnp.sum(leaf.expected_log_prob(stats, leaf.origin))
    return total


# ---- the host --------------------------------------------------------------------------------


def suits(template: PyTree, data: PyTree, weights: Any, options: Options, many: int = 1) -> bool:
    """Whether fits are small enough that compiling them would cost more than running them."""
    arrays = [a for a in jax.tree.leaves((template, data, weights)) if isinstance(a, jax.Array)]
    if options.checkpoint is not None or any(len(a.devices()) > 1 for a in arrays):
        return False
    restarts = 1 if options.init == "given" else options.num_restarts
    items = max([1, *(np.prod(c, dtype=int) for c in _capacities(data))])
    each = max(1, densities(template))
    return num_rows(data) * items * each * restarts * many <= ELEMENTS


def _capacities(data: PyTree) -> list[tuple[int, ...]]:
    """Items for which the sequences of a row have room, those of a sequence in a sequence too."""
    is_sequence = lambda node: isinstance(node, SequenceEvent)
    found = []

    def note(tree, axes):
        for node in jax.tree.leaves(tree, is_leaf=is_sequence):
            if is_sequence(node):
                inner = (*axes, jax.tree.leaves(node.items)[0].shape[1 + len(axes)])
                found.append(inner)
                note(node.items, inner)

    note(data, ())
    return found


_spent: dict[Any, float] = {}  # seconds that steps of these shapes have run, compiled quickly


def fit_small(key: Any, template: PyTree, data: PyTree, weights: Any, options: Options) -> Fit:
    """`jm.fit` of few rows."""
    return fits([key], [template], data, weights, options)[0]


def fits(
    keys: list[Any], templates: list[PyTree], data: PyTree, weights: Any, options: Options
) -> list[Fit]:
    """Fits of several models to the same few rows in one launch.

    The models are alike but for their number of components, in which they can be widened.
    """
    wide = can_widen(templates[0]) and options.prior is None and isinstance(options.solver, PlainEM)
    sizes = [t.mixing.size if wide else 0 for t in templates]
    top = bucket_of_components(max(sizes)) if wide else 0
    given, many = options.init == "given", options.num_restarts
    templates = [in_numpy(t) for t in templates]
    data = in_numpy(data)
    weights = None if weights is None else np.asarray(weights)
    dtype = float_of(templates[0])
    padded, case = padded_rows(data, weights, dtype)
    widest = templates[int(np.argmax(sizes))]
    widest = widened(widest, top) if wide else widest
    starts = None
    if given:
        many, widest = 1, alone(widest)
    else:
        each = [
            _drawn(key, t, widest, data, weights, many, size, top, len(case))
            for key, t, size in zip(keys, templates, sizes, strict=True)
        ]
        lanes = len(keys) * many
        spare = bucket_of_lanes(lanes) - lanes
        join = lambda *a: np.concatenate([*a, np.repeat(a[-1][-1:], spare, 0)])
        starts = jax.tree.map(join, *each)
    number = lambda value: np.asarray(value, dtype)
    floor, tol = number(options.floor), number(-np.inf if options.tol is None else options.tol)
    max_steps = np.asarray(options.max_steps, jax.dtypes.canonicalize_dtype(int))
    with Progress(options.max_steps, options.progress) as bar:
        states, prior = started(widest, padded, case, starts, floor, options.prior, options.solver)
        shapes = jax.tree.map(jnp.shape, (states, padded))
        kind = (jax.tree.structure(shapes), *jax.tree.leaves(shapes))
        out: Any = None

        def block(states, traces):
            nonlocal out
            going, steps = np.asarray(states.running), np.asarray(states.num_steps)
            if traces and not np.any(going & (steps < options.max_steps)):
                return None
            # What has run for as long as it would take to compile well is compiled well.
            known, began = kind in _spent, time.process_time()
            step = advanced.full if _spent.get(kind, 0.0) > PATIENCE else advanced
            out = step(
                states, padded, case, prior, options.solver, max_steps, tol,
                options.stopping, options.assignment,
            )  # fmt: skip
            states = jax.block_until_ready(out.state)
            _spent[kind] = known * (_spent.get(kind, 0.0) + time.process_time() - began)
            return states, [in_numpy(out.history)]

        states, traces = drive(block, states, [], bar)
    held = None
    if options.validation is not None:
        held = _validation(states.model, options.validation, dtype)
    last = in_numpy(out._replace(history=None))
    found = []
    for i, size in enumerate(sizes):
        lanes = slice(i * many, (i + 1) * many)
        validated = None if held is None else held[lanes]
        cut = (lambda m, size=size: narrowed(m, size)) if wide else (lambda m: m)
        found.append(
            _answer(
                take(last, lanes),
                take(traces, lanes),
                validated,
                cut,
                (data, weights),
                (padded, case),
                options,
                bar.interrupted,
            )
        )
    return found


def alike(templates: list[PyTree]) -> list[list[int]]:
    """Positions of the models that one launch can fit: those that differ in components alone."""
    found: dict[Any, list[int]] = {}
    for i, template in enumerate(templates):
        kind: Any = i
        if can_widen(template):
            one = narrowed(in_numpy(template), 1)
            leaves, structure = jax.tree.flatten(one)
            kind = (structure, *(getattr(a, "shape", a) for a in leaves))
        found.setdefault(kind, []).append(i)
    return list(found.values())


def rows_under(model: PyTree, data: PyTree) -> np.ndarray:
    """Log-density of each row under a model, in nats, by a program of bucketed shapes."""
    model, rows = in_numpy(model), num_rows(data)
    if can_widen(model):
        model = widened(model, bucket_of_components(model.mixing.size))
    padded, _ = padded_rows(in_numpy(data), None, float_of(model))
    return np.asarray(_row_log_probs(model, padded))[:rows]


def _log_probs(model, data):
    return jax.lax.map(model.log_prob, data, batch_size=4096)


_row_log_probs = Quick(_log_probs, is_brief)


def _drawn(key, template, widest, data, weights, many, size, top, rows) -> Start:
    """Starts of one model, padded to the rows and components of the launch."""
    dtype = float_of(template)
    drawn = seeds(key, data, size or components(template, data), many, weights)
    share = drawn.share
    room = [(0, 0)] * share.ndim
    if drawn.rows is None:
        room[1] = (0, rows - share.shape[1])
    if top:
        room[2] = (0, top - size)
    share = np.pad(share, room).astype(dtype)
    alive = np.broadcast_to(np.arange(top) < size, (many, top)) if top else None
    random = generator(key).spawn(1)[0]  # the seeds have used the generator itself
    parts = take_apart(widest)
    bits = None
    if not _is_flat(widest):
        draw = lambda leaf: random.integers(0, 1 << 32, (many, *leaf.stack_shape, 2), np.uint32)
        bits = [draw(leaf) for leaf in parts.leaves]
    noise = [
        (NUDGE * random.standard_normal((many, *a.shape))).astype(a.dtype) for a in parts.loose
    ]
    return Start(share, drawn.rows, alive, bits, noise)


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


def _validation(models: PyTree, data: PyTree, dtype: Any) -> np.ndarray:
    data, case = padded_rows(in_numpy(data), None, dtype)
    return np.asarray(_totals(models, data, case))


@Quick
def _entropy(model, data, weights):
    def of_one(x, w):
        joint = model.joint_log_probs(x)
        log_r = joint - logsumexp(joint)
        gone = jnp.isneginf(joint)
        return -w * jnp.sum(jnp.where(gone, jnp.zeros_like(joint), jnp.exp(log_r) * log_r))

    values = jax.vmap(of_one)(data, weights)
    return jnp.sum(jnp.where(weights > 0, values, jnp.zeros_like(values)))


def _answer(last, traces, validated, cut, rows, padded, options, interrupted) -> Fit:
    """The best of some restarts, and what became of each."""
    state = last.state
    scores = np.asarray(state.expected.log_likelihood.high + state.expected.log_likelihood.low)
    codes = [NAMES[int(code)] for code in last.code]
    if not np.isfinite(scores[0]) and state.num_steps[0] == 0:
        check_support(cut(take(state.model, 0)), *rows)
    best = best_of(scores if validated is None else validated, codes)
    one = take(state, best)
    model, steps = one.model, int(one.num_steps)
    result = RESULTS.interrupted if interrupted else RESULTS._name_to_item[codes[best]]
    if options.throw and name(result) != "successful":
        raise RuntimeError(message(result))
    small = jax.tree.map(lambda a: jax.device_put(a) if eqx.is_array(a) else a, cut(model))
    spare = densities(model) - densities(small)
    entropy = 0.0
    if callable(getattr(model, "joint_log_probs", None)):
        entropy = last.entropy[best] if last.entropy is not None else _entropy(model, *padded)
    data, weights = rows
    return Fit(
        small, jax.device_put(scores[best]), trimmed(of_lane(traces, best), steps), steps,
        max(0, int(one.num_emptied) - spare), result,
        Restarts(scores, validated, np.asarray(state.num_steps), codes), num_parameters(small),
        float(num_rows(data) if weights is None else np.sum(weights)), float(entropy),
        None if validated is None else float(validated[best]),
    )  # fmt: skip
