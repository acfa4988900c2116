"""Upper bounds of an expectation over a whole region of parameters, from one set of draws."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import PyTree

from ..._arguments import function, named, real, takes
from ..._progress import Bar
from ..amis import Rounds
from ..draws import Draws
from ..values import unflatten
from .cells import Region
from .coordinates import Coordinates, check_inside, proposal_rows
from .max_weight import log_weights_over
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
    with Bar(progress, desc="certify", unit="draw", unit_scale=True) as bar:
        pool = Pool.of(grid, draws, bound, bounded=method == "betting")
        look = functools.partial(Hits, f, pool.coordinates, boxes=pool.boxes, seen=seen)
        hits = look(draws.events, show=bar.at)
        early: Any = None if pilot is None else look(pilot.events)
        level = -np.log(delta / len(pool.region.rows) if simultaneous else delta)
        columns, weighted = [], []
        for index in range(hits.values.shape[1]):
            bar.note(f"value {index + 1} of {hits.values.shape[1]}")
            sample = pool.weighted(*hits.column(index), pool.caps)
            mean = sample.moments[0] / hits.count
            if method == "normal":
                found = _normal(sample, hits.count, np.exp(-level))
            else:
                bets = pool.bets(early, index, pilot, hits.count, level)
                found = sample.limits(hits.count, bets, level), bets
            columns.append((mean, *found))
            weighted.append(sample)
        return _assembled(pool, columns, weighted, hits, draws, delta, method, level, simultaneous)


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


class Pool(NamedTuple):
    """A region, and the draws' mixture: the proposals' rows, the logarithms of their shares.

    And the declared support, and the largest weight of each vertex on it.
    """

    region: Region
    proposals: np.ndarray
    logs: np.ndarray
    boxes: list[Any]
    caps: np.ndarray

    @staticmethod
    def of(grid: PyTree, draws: Draws, bound: Any, bounded: bool = True) -> "Pool":
        """Of a region and draws; the largest weights may have to be `bounded`."""
        boxes, region = boxes_of(bound, draws.events), Region(grid)
        check_inside(region.rows, "Vertex")
        mixture = proposal_rows(region.coordinates, draws)
        caps = np.exp(log_weights_over(region.coordinates, region.rows, *mixture, boxes))
        bad = ~np.isfinite(caps)
        if bounded and bad.any():
            raise ValueError(
                f"The weight of vertex {int(np.argmax(bad))} over the proposals has no upper bound "
                f"({int(bad.sum())} of {bad.size} vertices): put proposals a little outside of the "
                "region, so that it lies within their hull in natural parameters."
            )
        return Pool(region, *mixture, boxes, caps)

    @property
    def coordinates(self) -> Coordinates:
        return self.region.coordinates

    def weighted(self, values, features, caps: Any = np.inf, tilt: Any = None) -> Weighted:
        """The terms of draws at the vertices."""
        rows = self.region.rows
        return Weighted(values, features, rows, self.proposals, self.logs, caps, tilt)

    def bets(self, early: Hits, index: int, pilot: Any, count: int, level: float):
        """The bets by a pilot: near the best for its variance, at most 1 / the largest weight."""
        values, features = early.column(index)
        variance = self._variance(values, features, pilot, early.count) if len(values) else 0.0
        with np.errstate(divide="ignore"):
            wanted = np.sqrt(2 * level / (count * np.broadcast_to(variance, len(self.caps))))
        return not_above(np.minimum(wanted, 1 / self.caps), features.dtype).astype(np.float64)

    def _variance(self, values, features, pilot: Draws, count: int) -> np.ndarray:
        """Variance of one term under the draws' mixture, a vertex each, by the pilot's draws."""
        given, own = (self.proposals, self.logs), proposal_rows(self.coordinates, pilot)
        tilts: list[Any] = [None]
        if any(
            a.shape != b.shape or not np.allclose(a, b) for a, b in zip(given, own, strict=True)
        ):
            cast = lambda rows: [jnp.asarray(a, features.dtype) for a in (features, *rows)]
            ratio = np.asarray(pooled_logs(*cast(given)) - pooled_logs(*cast(own)))
            tilts = [ratio, 0.5 * ratio]
        sums = [self.weighted(values, features, tilt=tilt).moments for tilt in tilts]
        mean = sums[0][0] / count
        return np.maximum(sums[-1][1] / count - mean * mean, 0)


def _normal(sample: Weighted, count: int, delta: float):
    mean, square = (total / count for total in sample.moments)
    error = np.sqrt(np.maximum(square - mean * mean, 0) / count)
    return mean + float(ndtri(jnp.asarray(1 - delta))) * error, np.full_like(mean, np.nan)


def _assembled(pool: Pool, columns, weighted, hits, draws, delta, method, level, simultaneous):
    values, limits_, bets = (np.stack(each) for each in zip(*columns, strict=True))
    region, gaps = pool.region, pool.region.gaps()
    upper = np.minimum(np.stack([region.bounds(limit, gaps) for limit in limits_]), 1.0)
    cells, vertices = region.cell_shape, region.vertex_shape
    shaped = lambda flat, shape: unflatten(flat, hits.like, 0, shape)
    return Certificate(
        upper=shaped(upper, cells),
        vertex_upper=shaped(limits_, vertices),
        value=shaped(values, vertices),
        gap=gaps.reshape(cells),
        max_weight=pool.caps[region.corners].max(1).reshape(cells),
        bet=shaped(bets, vertices),
        delta=float(delta),
        num_draws=draws.num_draws,
        method=method,
        simultaneous=simultaneous,
        again=lambda certificate, cells, splits: refine(
            certificate, region, weighted, hits.count, level, cells, splits
        ),
    )
