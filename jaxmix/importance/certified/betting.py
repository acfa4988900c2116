"""Finite-sample upper limits of a mean of bounded non-negative numbers, by one fixed bet."""

from collections.abc import Callable

import numpy as np

from ..._arguments import in_doubles, real, takes, whole
from ..._refuse import on_host

TIGHT = 2e-7  # relative distance of a limit from the root, above which it is looked for again
MOST_PASSES = 40


@on_host("a limit is found outside: its numbers are looked at.")
@takes(x=in_doubles, count=whole(1), bound=real(0), delta=real(0, 1), bet=real(0, 1, ends=True))
def mean_upper(x, count: int, bound: float, delta: float, bet: float) -> float:
    """Upper limit of a mean, right with probability 1 - delta, from numbers in [0, bound].

    The root m of sum_i log{1 + bet (m - x_i) / bound} = log(1 / delta), rounded up; valid for
    independent numbers whose own means average to the mean (fixed counts from several laws).
    It is increasing, homogeneous, and convex in (x, bound / bet) (one-sided betting: Waudby-Smith
    and Ramdas 2024, doi:10.1093/jrsssb/qkad009, with one bet for all).

    Args:
        x: the numbers, at least those that are not 0.
        count: how many numbers there are in all; the others are 0.
        bound: an upper bound of every number that could have come, known beforehand.
        delta: error probability, in (0, 1).
        bet: in (0, 1], chosen without these numbers.

    Returns:
        The limit; it is not cut off at `bound`.

    Raises:
        ValueError: if a number is outside [0, bound], or an argument outside its range.

    Example:
        >>> import jaxmix as jm, numpy as np
        >>> round(jm.importance.mean_upper(np.full(10, 0.5), 1000, 2.0, 0.01, 0.3), 8)
        0.03596624
    """
    x = np.asarray(x, np.float64).ravel()
    if not bet > 0:
        raise ValueError("A bet of 0 wins nothing: it is a number in (0, 1].")
    if x.size > count:
        raise ValueError(f"{x.size} numbers were given for a count of {count}.")
    bad = ~((x >= 0) & (x <= bound))
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"Number {i} is {x[i]}, outside [0, {bound}].")
    slope = np.array([bet / bound])
    x = x[x > 0]

    def hits(m):
        with np.errstate(invalid="ignore", divide="ignore"):
            z = slope * (m - x[:, None])
            total = np.where(z > -1, np.log1p(z), -np.inf).sum(0)
            return total, slope * (1 / (1 + z)).sum(0)

    start = np.array([x.sum() / count - np.log(delta) / (count * slope[0])])
    return float(limits(hits, count - x.size, slope, -np.log(delta), start)[0])


def limits(
    hits: Callable, misses: np.ndarray | int, bets: np.ndarray, level: float, start: np.ndarray
) -> np.ndarray:
    """Roots m of misses log(1 + bets m) + hits(m) = level, from above, a column each.

    `hits(m)` gives a lower bound of the sum over the draws that hit, and its slope. The sum is
    concave: where a tangent meets the level is below the root, and a chord meets it above.
    """
    low, high = np.zeros_like(start), np.full_like(start, np.inf)
    below, at_below = np.full_like(start, -np.inf), np.full_like(start, -np.inf)
    at = np.maximum(start, 1e-300)
    for _ in range(MOST_PASSES):
        total, slope = hits(at)
        total = total + misses * np.log1p(bets * at)
        slope = slope + misses * bets / (1 + bets * at)
        enough = total >= level
        with np.errstate(invalid="ignore", divide="ignore"):
            tangent = at + (level - total) / slope
        usable = np.isfinite(tangent)
        low = np.where(usable, np.maximum(low, tangent), low)
        # A chord from a point below, where one is known, is sharper than the point itself.
        with np.errstate(invalid="ignore", divide="ignore"):
            chord = at - (total - level) * (at - below) / (total - at_below)
        sharper = enough & np.isfinite(at_below) & np.isfinite(chord) & (total > at_below)
        reached = np.where(sharper, np.nextafter(np.minimum(at, chord), np.inf), at)
        high = np.where(enough, np.minimum(high, reached), high)
        worse = ~enough & (at > below) & np.isfinite(total)
        below, at_below = np.where(worse, at, below), np.where(worse, total, at_below)
        done = np.isfinite(high) & (high - low <= TIGHT * np.abs(high))
        if done.all():
            return high
        # A little beyond the tangent's root; where the sum has no value yet, well beyond.
        margin = np.maximum(0.25 * TIGHT * np.abs(low), 0.02 * np.abs(low - at))
        new = np.where(usable, low + margin, 2 * at)
        at = np.where(done, high, new)
    if not np.isfinite(high).all():
        raise ValueError("No limit was found: the numbers leave the range that was promised.")
    return high
