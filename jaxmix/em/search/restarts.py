"""The starts of a fit, and which of them go on.

Lanes (the restarts of a fit) go on in rounds of a few steps. Between two rounds the host looks at
where each of them stands: those that have ended leave, and those that can't win are left standing.
The verdicts are functions of the lanes' states and traces alone, taken anew at every look: a lane
that was beaten by one that then collapsed goes on again, and a fit that goes on from a checkpoint
decides as it would have without.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._compile import Quick
from ..._platform import sizes
from ..._results import FAILED
from ..._trees import in_numpy, num_rows, take
from ..chunks import densities, width
from ..drive import Keeper, Progress, drive
from ..entry import Options, check_support
from ..parts import parameters
from ..priors import prior
from ..sharded import layout_of, over_rows
from ..solution import Restarts
from ..state import History, State
from .initialise import components, everywhere, global_fit, has_zeros, started, supported
from .seeds import generator, split, starts

GOES, DROPPED = -1, -2  # verdicts; that on a twin is the lane which it follows
SHORT = 50  # steps of a short run, after which only the best few go on where steps are dear
SEARCH_ROWS = 16_384  # of a sample at most, and a quarter of them at least:
ROWS_A_PARAMETER, ROWS_A_PAIR = 32, 256  # and of densities in the widest stack
# Rows x densities x restarts up to which ...
QUICK = 30_000  # ... steps cost less than looks, and lanes are judged after a short run only
CHEAP = 4_000_000  # ... every lane that may still win goes on
EARLY = 12  # gains, of which fewer foretell nothing
SLACK = 100.0  # a lane may gain so many times what its gains foretell: plateaus come before rises
CLOSE = 1e-4  # nats a datum between lanes at one optimum
ALIKE = 5e-3  # of the data, between the shares of components of lanes at one optimum
APART = 100.0  # nats of a sample by which no lane is behind that wins on all the data

floor_prior = jax.jit(prior.floor_prior)


class Searched(NamedTuple):
    """Lanes at the end of a phase: their states, stacked, traces, codes and verdicts."""

    state: State
    history: list[History]
    codes: list[str]
    fates: np.ndarray
    lanes: np.ndarray  # which restarts these are


class Standing(NamedTuple):
    """Where each lane stands between two rounds, on the host; levels in nats a datum.

    `hope` is the level that it may still reach, inf where that can't be told; `shares` are those
    of its densities in the data, sorted, so that lanes at one optimum have the same.
    """

    level: np.ndarray
    hope: np.ndarray
    num_steps: np.ndarray
    running: np.ndarray
    bad: np.ndarray
    shares: np.ndarray


# Run once, on few rows: the compiler's dearer passes cost more time than they give back. Where the
# user has asked for still less effort, there are no options.
@functools.partial(
    Quick,
    when=lambda *_: not jax.config.read("jax_disable_most_optimizations"),
    options={"xla_backend_optimization_level": 1},
)
def _started(template, data, weights, starts):
    few = (data, weights) if starts.rows is None else (take(data, starts.rows[0]), None)
    return started(*global_fit(template, *few), data, weights, starts)


@eqx.filter_jit
def _supported(models, template, data, weights, layout):
    whole = over_rows(lambda d, w, t: everywhere(t, d, w), layout, data, weights, template)
    return supported(models, whole)


def round_steps(work: int) -> int:
    """Steps between two looks, for so many rows x densities x restarts."""
    return SHORT if work <= QUICK else SHORT // 5


def lanes_wide(rows: int, each: int, many: int) -> int:
    """How many lanes go on side by side, of `each` densities: a power of two, or all of them."""
    most = max(1, sizes().lanes // max(1, rows * each))
    return min(many, 1 << (most.bit_length() - 1))


def groups(going: np.ndarray, wide: int, many: int) -> np.ndarray:
    """The lanes that go on, so many at a time; `many`, which is no lane, fills the last group."""
    full = np.concatenate([going, np.full(-len(going) % wide, many, int)])
    return full.reshape(-1, wide)


def round_history(lanes: np.ndarray, parts: list[History], many: int) -> list[History]:
    """The traces of a round, a row a lane, NaN for lanes that did not take part; none of none."""
    rows = lanes.ravel()
    there = rows < many
    if not there.any():
        return []
    traces = []
    for part in zip(*parts, strict=True):
        every = np.concatenate(part)
        whole = np.full((many, every.shape[1]), np.nan, every.dtype)
        whole[rows[there]] = every[there]
        traces.append(whole)
    return [History(*traces)]


def rounds(
    further: Callable[[State, np.ndarray, int], tuple[State, History, list[str]]],
    states: State,
    history: list[History],
    lanes: np.ndarray,
    *,
    steps: int,
    options: Options,
    bar: Progress,
    most: int,
    used: int | None = None,
    keeper: Keeper | None = None,
) -> Searched:
    """Rounds of so many `steps` until every lane has stopped, or can't win.

    `further` takes a group of lanes so many steps on: from the states of all to these, the traces
    of the group, and the codes of all. `lanes` are the groups of the first round; those past the
    first `used` are none; at most `most` go on after a short run.
    """
    many, ahead = len(states.running), steps
    codes, fates = [], np.full(many, GOES)

    def block(states, history):
        nonlocal lanes, ahead, codes, fates
        if not len(lanes):
            return None
        parts = []
        for group in lanes:
            states, part, codes = further(states, group, ahead)
            parts.append(in_numpy(part))
        fresh = round_history(lanes, parts, many)
        now = standing(states, history + fresh, codes, options.max_steps, used)
        # Looks come after the same steps, wherever a fit was stopped and goes on.
        since = int(now.num_steps[now.running].max(initial=0)) % steps
        judged = options.validation is None and not since
        fates = verdicts(now, most) if judged else np.full(many, GOES)
        going = np.flatnonzero(now.running & (fates == GOES))
        lanes, ahead = groups(going, lanes.shape[1], many), steps - since
        return states, fresh

    states, history = drive(block, states, history, bar, keeper)
    if used is not None:
        states, history = take((states, history), slice(used))
        codes, fates = codes[:used], fates[:used]
    return Searched(states, history, codes, fates, np.arange(len(codes)))


def standing(
    states: State, history: list[History], codes: list[str], max_steps: int, used: int | None = None
) -> Standing:
    """Where each lane stands, from its state, its trace and the code of its result.

    Those past the first `used` are none: they do not go on, and no lane is measured by them.
    """
    objective, many = states.expected.objective, len(codes)
    weight = np.asarray(states.expected.weight, float)
    total = np.asarray(objective.high, float) + np.asarray(objective.low, float)
    level = (total + np.asarray(states.penalty, float)) / weight
    level = np.where(np.isnan(level), -np.inf, level)
    # Of all rounds: a lane that was dropped early is measured by the last that it took part in.
    traces = [np.zeros((many, 0)), *(np.asarray(part.objective) for part in history)]
    more = list(map(_to_come, np.concatenate(traces, 1)))
    counts = [np.asarray(s.count, float).reshape(many, -1) for s in states.expected.stats]
    shares = np.concatenate([np.sort(c, 1) for c in counts] or [np.zeros((many, 0))], 1)
    steps = np.asarray(states.num_steps)  # -1 before the first pass
    there = np.arange(many) < (many if used is None else used)
    with np.errstate(invalid="ignore"):  # -inf may gain without end
        hope = level + np.array(more) / weight
    return Standing(
        level, hope, steps,
        np.asarray(states.running) & (steps < max_steps) & there,
        np.array([code in FAILED for code in codes]) | ~there,
        shares / weight[:, None],
    )  # fmt: skip


def _to_come(trace: np.ndarray) -> float:
    """The gain that a trace may still bring, were its gains to fall as they did; or infinity.

    Aitken's extrapolation (Böhning et al. 1994), with slack, from the greatest of four gains and of
    the four before them, since accelerated steps gain by turns. Gains that grow foretell nothing.
    """
    gains = np.diff(trace[~np.isnan(trace)].astype(float))
    if len(gains) < EARLY:
        return np.inf
    now, before = gains[-4:].max(), gains[-8:-4].max()
    if now <= 0:
        return 0.0
    rate = now / before if before > 0 else np.inf
    return np.inf if rate >= 1 else SLACK * 4 * now * rate / (1 - rate)


def verdicts(now: Standing, most: int) -> np.ndarray:
    """What becomes of each lane: `GOES` on or has ended, or `DROPPED`, or the lane it follows.

    - A twin follows another lane: it is on its way to where that one is, or will be, and behind it.
    - A lane is dropped that can't reach the best one's level; that is behind, where a quarter of
      all lanes (at least three) are where the best one is, or follow it; that is not among the best
      `most` after a short run; or that sits on its floor, where some have ended that don't.
    """
    ended, clean = ~now.running, ~now.bad
    best = np.max(now.level[clean], initial=-np.inf)
    order = [int(lane) for lane in _ranked(now)]
    twins = _twins(now)
    at_best = clean & ((ended & (now.level > best - CLOSE)) | twins[order[0]])
    settled = at_best.sum() >= max(3, len(ended) // 4)
    out = np.full(len(ended), GOES)
    better: list[int] = []
    for lane in order:
        if now.running[lane]:
            behind = now.hope[lane] < best or (settled and now.level[lane] < best)
            late = now.num_steps[lane] >= SHORT and len(better) >= most
            collapsed = now.bad[lane] and bool((ended & clean).any())
            twin = next((other for other in better if twins[lane, other]), DROPPED)
            if behind or late or collapsed or twin != DROPPED:
                out[lane] = twin
        if clean[lane]:
            better.append(lane)
    return out


def _ranked(now: Standing) -> np.ndarray:
    """Lanes from the best to the worst; those that collapsed come last."""
    return np.lexsort((-now.level, now.bad))


def _twins(now: Standing) -> np.ndarray:
    """Which two lanes are on their way to one optimum, as far as likelihood and shares tell."""
    apart = lambda a: np.abs(a[:, None] - a[None])
    with np.errstate(invalid="ignore"):  # of infinite ones, that are no twins
        foretold = now.level + (now.hope - now.level) / SLACK
        ends = np.where(now.running, foretold, now.level)
        near = apart(ends) < CLOSE
    return near & (apart(now.shares).max(-1, initial=0.0) < ALIKE)


def finalists(now: Standing, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """At most two lanes of a search on a sample that go on on all rows, and all lanes' verdicts."""
    now = now._replace(running=np.zeros_like(now.running))
    first, *others = map(int, _ranked(now))
    twins = _twins(now)
    chosen, out = [first], np.full(len(now.bad), DROPPED)
    for lane in others:
        twin = next((other for other in chosen if twins[lane, other]), DROPPED)
        near = (now.level[first] - now.level[lane]) * rows < APART
        if twin == DROPPED and near and len(chosen) < 2 and not now.bad[lane]:
            chosen.append(lane)
        out[lane] = twin
    out[chosen] = GOES
    return np.array(chosen), out


def search_rows(template: PyTree) -> int:
    """Rows of the sample on which the restarts of such a model are searched."""
    size = eqx.filter_eval_shape(lambda model: parameters(model)[0], template).size
    wanted = max(ROWS_A_PARAMETER * size, ROWS_A_PAIR * width(template) ** 2)
    return min(SEARCH_ROWS, max(SEARCH_ROWS // 4, wanted))


def search(key, template, data, weights, options, go) -> tuple[Searched, Restarts, Any]:
    """The lanes that went on to the end, the table of all restarts, and the prior."""
    rows, many, few = num_rows(data), options.num_restarts, search_rows(template)
    k_start, k_rows = split(key, 2)
    drawn = starts(k_start, template, data, components(template, data), many, weights)
    models = _started(template, data, weights, drawn)
    lift = lambda m: _supported(m, template, data, weights, layout_of(data)) if has_zeros(m) else m
    models = lift(models)

    def checked(found: Searched) -> Searched:
        if not np.isfinite(found.state.expected.log_likelihood.value).all():
            check_support(take(models, 0), data, weights)
        return found

    full = options.prior
    if full is None:
        full = floor_prior(template, data, weights, options.floor)
    if rows <= few:
        most = many if rows * densities(template) * many <= CHEAP else 4
        found = checked(go(models, data, weights, options.rules(full), most=most))
        return found, table_of(found), full
    index = np.sort(generator(k_rows).choice(rows, few, replace=False))
    part = take(data, index)
    part_weights = None if weights is None else weights[index]
    shorter = options._replace(max_steps=min(SHORT, options.max_steps)).rules(full)
    short = checked(go(models, part, part_weights, shorter, "search", most=many))
    now = standing(short.state, short.history, short.codes, 0)
    chosen, fates = finalists(now, few)
    pair = np.resize(chosen, min(2, many))
    best = lift(take(short.state.model, jnp.asarray(pair)))
    found = checked(go(best, data, weights, options.rules(full), most=many, used=len(chosen)))
    share = np.asarray(found.state.expected.weight)[0] / np.asarray(short.state.expected.weight)
    last = np.where(found.fates >= 0, chosen[found.fates], found.fates)
    table = continued(
        table_of(short._replace(fates=fates)), table_of(found._replace(fates=last)), chosen, share
    )
    return found._replace(lanes=chosen), table, full


def continued(table: Restarts, last: Restarts, lanes: Any, share: Any) -> Restarts:
    """The table of a search on a sample, once some lanes have gone on over all rows."""
    table = table._replace(log_likelihood=share * table.log_likelihood)
    for at, lane in enumerate(lanes):
        for name in ("log_likelihood", "num_steps", "result"):
            getattr(table, name)[lane] = getattr(last, name)[at]
    return table


def table_of(found: Searched) -> Restarts:
    """The lanes of one phase: what became of one that was not run to its end, else its code."""
    scores = np.array(found.state.expected.log_likelihood.value)
    steps = np.array(found.state.num_steps)
    left = lambda fate: "dropped" if fate == DROPPED else f"twin of {fate}"
    each = zip(found.fates, found.codes, strict=True)
    told = [code if fate == GOES else left(fate) for fate, code in each]
    return Restarts(scores, None, steps, told)
