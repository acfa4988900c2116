"""When a family is worth a trial for a column of numbers."""

import re

import numpy as np

from .column import Column

MAX_NUMBERS = 31  # of distinct numbers taken for labels: hours of a day, days of a month
ANGLES = re.compile("angle|direction|bearing|azimuth|heading|phase|aspect|dihed|wind_?dir", re.I)
HOURS = re.compile("hour|time|clock", re.I)
PERCENT = re.compile("%|percent|pct|share|rate|proportion|humidity|fraction", re.I)


def zeros(c: Column) -> bool:
    """More zeros than a Poisson law has."""
    return float(np.mean(c.sample == 0)) > np.exp(-c.sample.mean()) + 0.05


def spread(c: Column) -> float:
    return float(c.sample.var() / max(c.sample.mean(), 1e-12))


def tails(c: Column) -> bool:
    """Rows further out than eight standard deviations, told by the quartiles."""
    low, middle, high = np.quantile(c.rest, [0.25, 0.5, 0.75])
    return bool(np.mean(np.abs(c.rest - middle) > 6 * (high - low)) > 0.002)


def skewed(c: Column) -> bool:
    """Whether laws of positive numbers differ from a Normal."""
    if c.whole and c.heaped and c.labels[0] >= 0 and len(c.labels) <= MAX_NUMBERS:
        return False  # a few whole numbers: laws of counts, and labels
    x = c.rest
    skew = np.mean((x - x.mean()) ** 3) / max(x.std(), 1e-300) ** 3
    return bool(x.min() < 0.3 * x.mean() or skew > 0.8)


def turn(c: Column) -> float | None:
    """The unit of an angle or a time of day, in radians; None for what is no turn."""
    low, high = c.labels[0], c.labels[-1]
    # All around, a turn has values at both of its ends; a bell of width 1 has next to none.
    ends = lambda turn: min(
        np.mean(c.sample < low + turn / 20), np.mean(c.sample > high - turn / 20)
    )
    for turn, words in ((360.0, ANGLES), (2 * np.pi, ANGLES), (24.0, HOURS)):
        begin = 0.0 if low >= 0 else -turn / 2
        if low < begin * (1 + 1e-6) or high > (begin + turn) * (1 + 1e-6):
            continue
        width = (high - low) / turn
        if words.search(c.name) and width > (0.25 if turn != 2 * np.pi else 0.16):
            return turn / (2 * np.pi)
        if turn != 24.0 and (low != 0 or turn == 360.0) and width > 0.97 and ends(turn) > 0.01:
            return turn / (2 * np.pi)
    return None


def part(c: Column) -> float | None:
    """What a share is a share of: 1 or 100; None for what is no share."""
    low, high = c.rest.min(), c.rest.max()
    percent = PERCENT.search(c.name)
    if low <= 0 or (c.whole and not percent):
        return None
    if 0.3 < high < 1:
        return 1.0
    return 100.0 if 1 < high < 100 and percent else None
