"""Thresholds whose rejection probability is proved over a whole region."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from ..._arguments import function, made_by, numbers, optional, real, takes, whole
from ..._progress import Bar
from ..._refuse import checked_key, on_host
from ..draws import Draws, draw
from ..family import family_size
from .certify import Pool, check_draws
from .coordinates import proposal_rows
from .sweep import BLOCK, Hits, log_weights

FINE = 2e-4  # relative number of draws by which the threshold may be off, on the safe side


class Threshold(eqx.Module):
    """A threshold above which a statistic may reject, with its proof.

    Attributes:
        value: reject where statistic > value; inf for never.
        by_vertex: in expectation, the threshold that each vertex asks for; with probability 1 -
            delta, the bound at each vertex at `value`.
        level: the bound reached at `value`, at most alpha; in expectation, alpha.
        alpha: the rejection probability to keep.
        delta: error probability; None in expectation.
        num_draws: how many draws.
    """

    value: float = eqx.field(static=True)
    by_vertex: np.ndarray
    level: float = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    delta: float | None = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)

    def __str__(self) -> str:
        rule = (
            "never rejects"
            if self.value == np.inf
            else f"rejects where it exceeds {self.value:.6g}"
        )
        how = (
            f"in the mean over repetitions of its {self.num_draws:,} draws"
            if self.delta is None
            else f"with probability {1 - self.delta:.6g} over its {self.num_draws:,} draws"
        )
        return (
            f"The statistic {rule}: then it rejects with probability at most {self.alpha:.6g} for "
            f"every parameter in the hulls of the {self.by_vertex.size} vertices' cells, {how}."
        )


@on_host("draw outside: counts are shapes.")
@takes(num_draws=whole(1), shares=optional(numbers(1)))
def draw_labelled(
    key: Key[Array, ""], proposals: PyTree, num_draws: int, shares: Float[Array, " k"] | None = None
) -> Draws:
    """Independent draws from the mixture of the proposals: their labels are drawn at random.

    `draw` makes fixed counts, which vary less; `calibrate` in expectation needs exchangeable
    draws, which these are.

    Args:
        key: a typed random key.
        proposals: as in `draw`.
        num_draws: how many draws from all proposals together.
        shares: probabilities of the proposals; None for equal ones.

    Raises:
        ValueError: if the shares do not fit the proposals or do not add up to 1.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Normal)(jnp.zeros(2), jnp.ones(2))
        >>> draws = jm.importance.draw_labelled(jax.random.key(0), family, 100)
        >>> draws.num_draws, draws.shares.tolist()
        (100, [0.5, 0.5])
    """
    size = family_size(proposals)
    shares = jnp.full(size, 1 / size) if shares is None else jnp.asarray(shares)
    given = np.asarray(shares, np.float64)
    if given.shape != (size,) or (given < 0).any() or not abs(given.sum() - 1) < 1e-4:
        raise ValueError(
            f"{size} probabilities that add up to 1 were expected; shares are {given}."
        )
    k_labels, k_draws = jax.random.split(checked_key(key, "draw_labelled"))
    labels = jax.random.choice(k_labels, size, (num_draws,), p=shares)
    counts = np.bincount(np.asarray(labels), minlength=size)
    drawn = draw(k_draws, proposals, counts)
    return eqx.tree_at(lambda d: d.shares, drawn, shares, is_leaf=lambda x: x is None)


@on_host("calibrate outside.")
@takes(
    statistic=function,
    alpha=real(0, 1),
    delta=optional(real(0, 1)),
    draws=made_by(Draws, "jm.importance.draw"),
)
def calibrate(
    statistic: Callable,
    grid: PyTree,
    draws: Draws,
    *,
    alpha: float,
    delta: float | None = None,
    pilot: Draws | None = None,
    bound: Any = None,
    seen: Callable | None = None,
    progress: bool | None = None,
) -> Threshold:
    """The least threshold above which a statistic may reject, at most alpha over the region.

    With `delta`, P_t(statistic > value) <= alpha for all t of the region with probability 1 - delta:
    the bound of `certify` at each threshold, bets that no threshold changes, and the least
    threshold that keeps it; no union is paid, as the probability is monotone in the threshold.
    Without, in expectation over the draws too: at each vertex the least c with (sum of p_v / q over
    draws with statistic > c, + M) / (n + 1) <= alpha exp(-gap), the order statistic of conformal
    risk control with known weights (Angelopoulos et al. 2022, arXiv 2208.02814).

    Args:
        statistic: function of one event, a number; large values reject. Of a design that stops, a
            statistic of the final analysis (a threshold at an interim may not be monotone).
        grid: as in `certify`.
        draws: as in `certify`; in expectation, from `draw_labelled` (or from one proposal).
        alpha: the rejection probability to keep, in (0, 1).
        delta: error probability; None for the guarantee in expectation.
        pilot: as in `certify`, for bets, with `delta`.
        bound: as in `certify`: no draw above the threshold may lie outside.
        seen: as in `certify`.
        progress: as in `certify`.

    Raises:
        ValueError: as `certify`; or if labels were not drawn at random, in expectation.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = lambda means: jax.vmap(jm.Normal, (0, None))(means, 1.0)
        >>> draws = jm.importance.draw_labelled(
        ...     jax.random.key(0), family(jnp.array([-1.2, 0.2, 2.2])), 20_000
        ... )
        >>> threshold = jm.importance.calibrate(
        ...     lambda x: x, family(jnp.linspace(-1, 0, 5)), draws, alpha=0.025
        ... )
        >>> bool(1.9 < threshold.value < 2.05)
        True
    """
    exact = delta is None
    if exact and draws.shares is None and draws.num_proposals > 1:
        raise ValueError(
            "Calibration in expectation needs exchangeable draws, and `draw` fixes how many each "
            "proposal gives: draw with jm.importance.draw_labelled, or give delta."
        )
    check_draws(draws, pilot, "normal" if exact else "betting")
    with Bar(progress, desc="calibrate", unit="draw", unit_scale=True) as bar:
        pool = Pool.of(grid, draws, bound)
        look = functools.partial(Hits, statistic, pool.coordinates, seen=seen, unit=False)
        hits = look(draws.events, boxes=pool.boxes, show=bar.at)
        order, scores = _ordered(hits)
        features = hits.features[order]
        if exact:
            gaps = pool.region.vertex_gaps()
            room = (hits.count + 1) * alpha * np.exp(-gaps) - pool.caps
            by_vertex = _crossings(pool, features, scores, room)
            value, level = float(by_vertex.max()), alpha
        else:
            assert pilot is not None  # refused above
            early = look(pilot.events)
            early.values = _exceeding(pool, early, pilot, alpha)
            level = -np.log(delta)
            bets = pool.bets(early, 0, pilot, hits.count, level)
            value, by_vertex, level = _least(pool, features, scores, hits.count, bets, level, alpha)
        wrong = np.flatnonzero((scores > value) & ~hits.inside[order])
        if wrong.size:
            raise ValueError(
                f"Draw {hits.places[order][wrong[0]]} lies above the threshold but outside the "
                "declared support: the promise in bound is not kept."
            )
    by_vertex = by_vertex.reshape(pool.region.vertex_shape)
    return Threshold(value, by_vertex, level, float(alpha), delta, hits.count)


def _ordered(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    if hits.values.shape[1] != 1:
        raise ValueError(f"A statistic is one number an event; it was {hits.values.shape[1]}.")
    scores = hits.values[:, 0]
    if np.isnan(scores).any():
        raise ValueError(f"The statistic is NaN at draw {int(np.argmax(np.isnan(scores)))}.")
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]


def _crossings(pool: Pool, features, scores, room) -> np.ndarray:
    """Each vertex's threshold: where the weights, summed from the largest statistic, fill the room."""
    sample = pool.weighted(np.ones(len(scores), features.dtype), features)
    given = sample.rows, sample.proposals, sample.logs, sample.sizes
    found = np.where(room < 0, np.inf, -np.inf)
    total, open_ = np.zeros(len(room)), room >= 0
    size = max(1, BLOCK // 8)
    for start in range(0, len(scores), size):
        if not open_.any():
            break
        block = sample.features[start : start + size]
        w = np.exp(np.asarray(_weights(block, *given), np.float64))
        sums = total + np.cumsum(w, 0)
        crossed = open_ & (sums[-1] > room)
        first = np.argmax(sums > room, 0)
        # What is rejected is strictly above the first draw for which there is no room.
        found = np.where(crossed, scores[np.minimum(start + first, len(scores) - 1)], found)
        open_ &= ~crossed
        total = sums[-1]
    return found


_weights = jax.jit(log_weights)


def _least(pool: Pool, features, scores, count: int, bets, level, alpha):
    """The least threshold whose bound is at most alpha, that bound at each vertex, and over all."""
    region, gaps = pool.region, pool.region.gaps()
    seen: dict[int, np.ndarray] = {}

    def bound(top: int) -> float:
        """Of rejecting the `top` draws of the largest statistics."""
        sample = pool.weighted(np.ones(top, features.dtype), features[:top], pool.caps)
        seen[top] = sample.limits(count, bets, level)
        return float(region.bounds(seen[top], gaps).max())

    low, at_low = 0, bound(0)
    if at_low > alpha:
        return np.inf, seen[0], at_low
    high, at_high = len(scores), bound(len(scores))
    if at_high <= alpha:
        return -np.inf, seen[high], at_high
    side = 0
    while high - low > max(1, FINE * low):
        share = (alpha - at_low) / max(at_high - at_low, 1e-300)
        middle = int(low + (high - low) * min(max(share, 0.02), 0.98))
        middle = min(max(middle, low + 1), high - 1)
        if side > 1:  # one end has not moved for long
            middle, side = (low + high) // 2, 0
        value = bound(middle)
        if value <= alpha:
            side = side + 1 if value < alpha - 1e-3 * alpha else 0
            low, at_low = middle, value
        else:
            side += 1
            high, at_high = middle, value
    # Ties with the first draw that is not rejected are not rejected either.
    return float(scores[low]), seen[low], at_low


def _exceeding(pool: Pool, early: Hits, pilot: Draws, alpha: float) -> np.ndarray:
    """Where the pilot's statistic exceeds the threshold that the pilot would choose."""
    order, scores = _ordered(early)
    own = Pool(pool.region, *proposal_rows(pool.coordinates, pilot), pool.boxes, pool.caps)
    room = np.full(len(pool.region.rows), alpha * early.count)
    found = _crossings(own, early.features[order], scores, room)
    return (early.values > found.max()).astype(early.values.dtype)
