"""Where a family's events live, in words and as a test, for whoever checks data beforehand."""

import math
from typing import NamedTuple

import numpy as np


class Domain(NamedTuple):
    """A set of numbers or of vectors: `words` complete the sentence "... was expected"."""

    words: str
    whole: bool = False
    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    dim: int | None = None  # length of a vector; None for numbers
    total: float | None = None  # what a vector's entries add up to
    nan: bool = False  # whether NaN is a missing coordinate
    also: tuple[float, ...] = ()  # numbers that belong to it beside

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Whether each number (or each row) lies in the domain."""
        above = x > self.low if self.open else x >= self.low
        below = x < self.high if self.open else x <= self.high
        fine = above & below & np.isfinite(x)
        if self.whole:
            fine &= x == np.floor(x)
        if self.also:
            fine |= np.isin(x, self.also)
        if self.nan:
            fine |= np.isnan(x)
        if self.dim is None:
            return fine
        fine = fine.all(axis=-1)
        if self.total is not None:
            slack = 0 if self.whole else 1e-4 * self.total
            fine &= np.abs(x.sum(axis=-1) - self.total) <= slack
        return fine  # pyright: ignore[reportReturnType]


REAL = Domain("a number")
POSITIVE = Domain("a positive number", low=0, open=True)
NON_NEGATIVE = Domain("a number not below 0", low=0)
UNIT = Domain("a number between 0 and 1", low=0, high=1, open=True)
COUNT = Domain("a whole number from 0 up", whole=True, low=0)
TRIALS = Domain("a whole number from 1 up", whole=True, low=1)
TRUTH = Domain("0 or 1, or a truth value", whole=True, low=0, high=1)


def whole(low: int, high: int) -> Domain:
    """The whole numbers of a range, both ends included."""
    return Domain(f"a whole number from {low} to {high}", whole=True, low=low, high=high)
