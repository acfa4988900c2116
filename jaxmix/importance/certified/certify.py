"""Upper bounds of an expectation over a whole region of parameters, from one set of draws."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import PyTree

from ..._arguments import function, named, real, takes
from ..._progress import Bar
from ..amis import Rounds
from ..draws import Draws
from ..result import unflatten
from .betting import limits
from .cells import Region
from .coordinates import check_inside, proposal_rows
from .max_weight import log_weights_over, shares_of
from .refine import refine
from .result import Certificate
from .support import boxes_of
from .sweep import Hits, Weighted, not_above, pooled_logs

REFUSED = {
    "weights": "weights of one's own: the draws' counts alone make the bound valid (the pooled "
    "mixture); drop weights and draw in the proportions that are wanted",
    "self_normalised": "self-normalised weights: no finite-sample bound of theirs is known",
    "smooth": "smoothed weights: no finite-sample bound of theirs is known",
    "control_variates": "control variates: their fitted coefficients have no finite-sample bound",
}


@takes("certify outside: sentences and tables are made of values.", f=function, delta=real(0, 1))
def certify(
    f: Callable,
    grid: PyTree,
    draws: Draws,
    *,
    delta: float,
    pilot: Draws | None = None,
    bound: Any = None,
    method: Literal["betting", "normal"] = "betting",
    simultaneous: bool = False,
    seen: Callable | None = None,
    progress: bool | None = None,
    **refused: Any,
) -> Certificate:
    """Bound E f for every parameter of a region, with probability 1 - delta, by a proof.

    A(t) + log E_t f is convex in the natural parameter t (A the log-normaliser), so bounds at the
    corners of a cell bound its inside: E_t f <= exp(gap) sum_v l_v u_v for t = sum_v l_v t_v, gap
    the Jensen gap of A. Each u_v is the root of sum_i log{1 + bet_v (u_v - X_i)} = log(1/delta), X_i
    = f(x_i) p_v(x_i) / q(x_i), q the pooled mixture of the proposals. As u is increasing,
    homogeneous and convex in (X, 1/bet), the largest bound over all cells holds at the plain
    delta, whatever the number of draws, vertices and cells.

    A lower bound of E f is 1 less the bound of 1 - f (a test's power).

    Args:
        f: function of one event, between 0 and 1 (an indicator, a proportion), or a pytree of such.
            For an adaptive design the event is the whole history that it could have seen, and f
            must not look ahead.
        grid: the region: a stack of members of an exponential family (a `Composite` or a `Repeated`
            of them too) with d axes, whose neighbours span cells; or simplices, as a list of
            stacks or as `jm.importance.Simplices`. Cells are hulls in NATURAL parameters. f must
            not change its meaning inside: one call for each configuration of true nulls.
        draws: from `jm.importance.draw` (fixed counts) or `draw_labelled`; the proposals are
            members of the family or mixtures of them, best a little outside of the region.
        delta: error probability.
        pilot: other draws, with a key of their own: what is bet is fixed by them alone.
        bound: declared support, a `jm.importance.Box` or a list of them: f is 0 outside, which
            is checked at every draw. It makes rare events easy.
        method: "betting" is proved for every number of draws; "normal" is the asymptotic interval.
        simultaneous: whether all cells' bounds are to hold at once (delta is shared out).
        seen: function of one event that says which observations of it a design that stops has
            seen (truth values, one an observation, laid out like the event): weights are then
            those of the data seen, of less variance. f must be a function of these alone.
        progress: whether to show a bar; None for passes that last.
        refused: what `imp_est` takes and no certificate can: each is refused by a sentence.

    Raises:
        ValueError: by a sentence, wherever no such bound is known.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = lambda means: jax.vmap(jm.Normal, (0, None))(means, 1.0)
        >>> proposals = family(jnp.array([-1.2, 0.2, 2.2]))
        >>> pilot, draws = [
        ...     jm.importance.draw(key, proposals, n)
        ...     for key, n in zip(jax.random.split(jax.random.key(0)), (500, 20_000))
        ... ]
        >>> certificate = jm.importance.certify(
        ...     lambda x: x > 1.96, family(jnp.linspace(-1, 0, 5)), draws, delta=0.01, pilot=pilot
        ... )
        >>> bool(0.025 < certificate.supremum < 0.027)
        True
    """
    for name in refused:
        reason = REFUSED.get(name, f"the unknown argument {name!r}")
        raise ValueError(f"certify does not take {reason}.")
    check_draws(draws, pilot, method)
    boxes = boxes_of(bound)
    with Bar(progress, desc="certify", unit="draw", unit_scale=True) as bar:
        region, proposals, logs = prepared(grid, draws)
        largest = log_weights_over(region.coordinates, region.rows, proposals, logs, bound)
        if method == "betting":
            refuse_unbounded(largest)
        hits = Hits(f, region.coordinates, draws.events, boxes=boxes, seen=seen, show=bar.at)
        early: Any = None
        if pilot is not None:
            early = Hits(f, region.coordinates, pilot.events, boxes=boxes, seen=seen)
        level = -np.log(delta / len(region.rows) if simultaneous else delta)
        columns, weighted = [], []
        for index in range(hits.values.shape[1]):
            bar.note(f"value {index + 1} of {hits.values.shape[1]}")
            sample = Weighted(*hits.column(index), region.rows, proposals, logs, np.exp(largest))
            sums = sample.moments()
            if method == "normal":
                found = _normal(sums, hits.count, delta if not simultaneous else np.exp(-level))
            else:
                square = pilot_variance(early, index, pilot, region, proposals, logs)
                bets = bets_of(square, hits.count, level, np.exp(largest), sample.dtype)
                found = vertex_limits(sample, hits.count, bets, level, sums[0] / hits.count), bets
            columns.append((sums[0] / hits.count, *found))
            weighted.append(sample)
        return _assembled(
            region, columns, weighted, largest, hits, draws, delta, method, level, simultaneous
        )


def check_draws(draws, pilot, method) -> None:
    """Sentences on what no bound can be made of."""
    if isinstance(draws, Rounds) or isinstance(pilot, Rounds):
        raise ValueError(
            "Pooled weights over adapted rounds have no finite-sample bound, for later proposals "
            "depend on earlier draws: draw anew from the last round's proposals."
        )
    for role, given in (("draws", draws), ("pilot", pilot)):
        if not isinstance(given, Draws) and not (role == "pilot" and given is None):
            raise ValueError(
                f"{role} must come from jm.importance.draw; it is a {type(given).__name__}."
            )
    named("betting", "normal")(method, "method")
    if pilot is None:
        if method == "betting":
            raise ValueError(
                "Betting needs a pilot, other draws that fix the bets: draw some thousands with a "
                "key of their own."
            )
        return
    mine, theirs = ([np.asarray(a[:8]) for a in jax.tree.leaves(d.events)] for d in (draws, pilot))
    size = min(len(mine[0]), len(theirs[0]))
    if size and all(np.array_equal(a[:size], b[:size]) for a, b in zip(mine, theirs, strict=True)):
        continuous = any(np.issubdtype(a.dtype, np.inexact) for a in mine)
        if continuous or draws is pilot:
            raise ValueError(
                "The pilot's draws are the draws themselves (or begin with the same key): what is "
                "bet must not depend on the draws it is bet on."
            )


def prepared(grid, draws):
    """The region, and the proposals' rows with the logarithms of their shares."""
    region = Region(grid)
    check_inside(region.rows, "Vertex")
    proposals, logs = proposal_rows(region.coordinates, draws.proposals, shares_of(draws))
    check_inside(proposals, "Proposal")
    return region, proposals, logs


def refuse_unbounded(largest: np.ndarray) -> None:
    bad = ~np.isfinite(largest)
    if bad.any():
        raise ValueError(
            f"The weight of vertex {int(np.argmax(bad))} over the proposals has no upper bound "
            f"({int(bad.sum())} of {bad.size} vertices): put proposals a little outside of the "
            "region, so that it lies within their hull in natural parameters."
        )


def pilot_variance(early: Hits, index, pilot, region, proposals, logs) -> np.ndarray:
    """Variance of one term under the draws' mixture, a vertex each, by the pilot's draws."""
    own, own_logs = proposal_rows(region.coordinates, pilot.proposals, shares_of(pilot))
    values, features = early.column(index)
    if not len(values):
        return np.zeros(len(region.rows))
    infinite = np.full(len(region.rows), np.inf)
    build = lambda tilt: Weighted(values, features, region.rows, proposals, logs, infinite, tilt)
    if own.shape == proposals.shape and np.allclose(own, proposals) and np.allclose(own_logs, logs):
        first, second = build(None).moments()
    else:
        cast = lambda a: jnp.asarray(a, features.dtype)
        ratio = np.asarray(
            pooled_logs(cast(features), cast(proposals), cast(logs))
            - pooled_logs(cast(features), cast(own), cast(own_logs))
        )
        first, second = build(ratio).moments()[0], build(0.5 * ratio).moments()[1]
    mean = first / early.count
    return np.maximum(second / early.count - mean * mean, 0)


def bets_of(variance, count: int, level: float, largest: np.ndarray, dtype) -> np.ndarray:
    """The bets: near the best for this variance, at most 1 / the largest weight."""
    with np.errstate(divide="ignore"):
        wanted = np.sqrt(2 * level / (count * variance))
    return not_above(np.minimum(wanted, 1 / largest), np.dtype(dtype)).astype(np.float64)


def vertex_limits(sample: Weighted, count: int, bets, level, mean) -> np.ndarray:
    """The limit at each vertex."""
    misses = count - sample.hits
    if not sample.hits:
        return np.expm1(level / count) / bets
    spread = np.sqrt(2 * level / count)
    start = mean + level / (count * bets) + spread * np.sqrt(mean / np.maximum(bets * count, 1))
    return limits(lambda m: sample.log_sums(m, bets), misses, bets, level, start)


def _normal(sums, count, delta):
    mean = sums[0] / count
    error = np.sqrt(np.maximum(sums[1] / count - mean * mean, 0) / count)
    return mean + float(ndtri(jnp.asarray(1 - delta))) * error, np.full_like(mean, np.nan)


def _assembled(region, columns, weighted, largest, hits, draws, delta, method, level, simultaneous):
    values, limits_, bets = (np.stack(each) for each in zip(*columns, strict=True))
    gaps = region.gaps()
    uppers = []
    for limit in limits_:
        flat = np.exp(gaps) * limit[region.corners].max(1)
        uppers.append(np.minimum(region.inside(limit)[0], flat))
    upper = np.minimum(np.stack(uppers), 1.0)
    top, cells, vertices = np.argmax(upper, 1), region.cell_shape, region.vertex_shape
    index = np.stack(np.unravel_index(top, cells), 1) if cells else top[:, None][:, :0]
    shaped = lambda flat, shape: unflatten(flat, hits.like, 0, shape)
    return Certificate(
        supremum=shaped(upper.max(1), ()),
        where=shaped(index, index.shape[1:]),
        upper=shaped(upper, cells),
        vertex_upper=shaped(limits_, vertices),
        value=shaped(values, vertices),
        gap=gaps.reshape(cells),
        max_weight=np.exp(largest)[region.corners].max(1).reshape(cells),
        bet=shaped(bets, vertices),
        delta=float(delta),
        num_draws=draws.num_draws,
        method=method,
        simultaneous=simultaneous,
        again=lambda certificate, cells, splits: refine(
            certificate, region, weighted, hits.count, level, cells, splits
        ),
    )
