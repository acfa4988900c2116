"""What a column of numbers is like: its values, its last digit, its lumps."""

import re
from typing import NamedTuple

import numpy as np

ROWS = (256, 2048)  # values that a score is made from, drawn at random from a longer column
DIGITS = 9
HEAPED = 5.0  # rows a distinct value from which ties are no accident
PILED = 0.2  # of the rows at one value from which they are none either
NO_CHANCE = 7.0  # nats
LEAST = 10  # rows of an atom
LUMP = 0.02  # least share of the rows of an atom
SPARSE = 5.0  # places of a grid to a value, beyond which ties are no matter of its step
COUNTED = 5.0  # steps from the least to the middle value, below which numbers are counted
MANY, ROWS_A_KEY = 50, 10  # keys that are no labels: more of them, or of fewer rows each
TIMES = 8.0  # how much commoner than its neighbours an atom is
END = (5, 0.005, 5.0)  # the same three of an atom at an end of the range, where lumps are usual
MARKS = (9, 99, 999, 9999, 99999, 999999, 8, 88, 888, 8888, 99.9, 999.9, 9999.9, 99.99, 999.99)
GROUPS = re.compile(r"(^|[\s_.-])(ids?|uuid|guid|key)$", re.I)
KEYS = re.compile(r"(^|[\s_.-])(ids?|uuid|guid|key|code|index|nr|no|number|row|serial)$", re.I)
CAMEL = re.compile(r"[a-z](Id|ID|Key|Code|Nr|No)$")


class Column(NamedTuple):
    """A column of numbers, none of them missing, and what its values show at a glance.

    - `sample`: values in random order, at most as many as are scored.
    - `labels`, `counts`: the distinct values, and how often each occurs.
    - `step`: what all are multiples of, such as 0.1 for one decimal, or what they lie apart by;
      None for a continuum.
    - `atoms`: values that many rows share, where the others form a continuum.
    - `heaped`: whether a typical value, and no atom, is shared by several rows, or one by many.
    - `marks`: those of the atoms that stand apart as marks of missing values do.
    - `coarse`: whether ties show that `step` is not the last digit but what values lie apart by:
      prices, or an index of few values. By the last digit a component would gain on every tie.
    """

    name: str
    size: int
    sample: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    step: float | None
    atoms: tuple[float, ...]
    heaped: bool
    marks: tuple[float, ...] = ()
    coarse: bool = False

    @property
    def whole(self) -> bool:
        return _whole(self.labels)

    @property
    def counted(self) -> bool:
        """Whether whole numbers lie so near to their least, 0 or above, that nothing was rounded."""
        if not self.whole or self.labels[0] < 0 or not len(self.rest):
            return False
        return bool(np.median(self.rest) - self.labels[0] < COUNTED * (self.step or 1.0))

    @property
    def rest(self) -> np.ndarray:
        """The sample without its atoms."""
        return self.sample[~np.isin(self.sample, self.atoms)]


def column_of(x: np.ndarray, name: str = "") -> Column:
    labels, counts = np.unique(x, return_counts=True)
    order = np.random.default_rng(0).permutation(len(x))[: ROWS[-1]]
    marks = _marks(labels, counts)
    inner = ~np.isin(labels, marks)
    step = step_of(labels)
    atoms = (*_atoms(labels[inner], counts[inner], step), *marks)
    rest = ~np.isin(labels, atoms)
    rows, most = counts[rest].sum(), counts[rest].max(initial=0)
    heaped = bool(rows >= HEAPED * rest.sum() or most > max(2, PILED * rows))
    coarse = False
    if heaped and step is None:
        step = _apart(labels)
    if heaped and not atoms and len(labels) > 2:
        usual = float(np.median(np.repeat(cells(labels), counts)))
        if coarse := step is None or usual > SPARSE * step:
            step = float(f"{usual:.1g}")
    atoms = tuple(sorted(atoms))
    return Column(name, len(x), x[order], labels, counts, step, atoms, heaped, marks, coarse)


def cells(labels: np.ndarray) -> np.ndarray:
    """How much of the line is nearest to each of the values, in rising order."""
    middles = (labels[1:] + labels[:-1]) / 2
    return np.diff(np.r_[2 * labels[0] - middles[0], middles, 2 * labels[-1] - middles[-1]])


def step_of(labels: np.ndarray) -> float | None:
    """The largest number of which all differences from 0 are multiples, to a last digit."""
    size = np.abs(labels)
    largest = float(size.max(initial=0))
    # Numbers that were kept in 32 bits have seven digits.
    short = np.array_equal(labels, labels.astype(np.float32)) and not _whole(labels)
    for digits in range(-6, DIGITS):
        unit = 10.0**-digits
        if largest / unit > (1e6 if short else 1e12):
            return None
        whole = np.round(labels / unit)
        if np.all(np.abs(labels - whole * unit) <= (1.2e-7 if short else 1e-9) * size):
            shared = int(np.gcd.reduce(whole.astype(np.int64)))
            return float(f"{max(shared, 1) * unit:.12g}")
    return None


def _whole(labels: np.ndarray) -> bool:
    return bool(np.all(labels == np.floor(labels)))


def _apart(labels: np.ndarray) -> float | None:
    """What the values lie apart by, or a multiple of it, wherever they begin: scores in units of
    their own spread, thirds.
    """
    gaps = np.diff(labels)
    places = gaps / gaps.min()
    return float(gaps.min()) if np.all(np.abs(places - np.round(places)) < 1e-5) else None


def _marks(labels: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """Nines (or eights) further from all other values than these are from one another."""
    found = []
    while len(labels) > 5:
        low, high = labels[1] - labels[0], labels[-1] - labels[-2]
        at = 0 if low > high else -1
        rest = np.ptp(labels[1:] if at == 0 else labels[:-1])
        if abs(labels[at]) not in MARKS or max(low, high) <= rest or counts[at] < 2:
            break
        found.append(float(labels[at]))
        labels, counts = (a[1:] if at == 0 else a[:-1] for a in (labels, counts))
    return tuple(found)


def _atoms(labels: np.ndarray, counts: np.ndarray, step: float | None) -> tuple[float, ...]:
    """Values far commoner than those around them; where nearly all are, there are none."""
    if len(labels) < 10:
        return ()
    total = counts.sum()
    common = np.flatnonzero(counts >= np.minimum(max(LEAST, LUMP * total), counts.max()))
    common = {*common.tolist(), 0, len(labels) - 1}
    found = []
    for i in sorted(common, key=lambda i: -counts[i])[:4]:
        least, share, times = END if i in (0, len(labels) - 1) else (LEAST, LUMP, TIMES)
        near = [j for j in range(max(0, i - 8), min(len(labels), i + 9)) if j != i]
        near = [j for j in near if labels[j] not in found]
        # Per place of the grid: where values are rare, neighbours are as rare as their gaps.
        span = (labels[near].max() - labels[near].min()) / (step or np.inf) + 1 if step else 1
        around = counts[near].sum() / max(len(near), span)
        # Beside it none may be a third as common: people round to halves and tens all along.
        enough = counts[i] >= max(least, share * total)
        if enough and counts[i] >= max(times * max(around, 1.0), 3 * counts[near].max(initial=0)):
            found.append(labels[i])
    return tuple(sorted(float(value) for value in found))


def names_rows(column: Column, x: np.ndarray) -> str | None:
    """Why a column of whole numbers tells rows apart rather than measures them, or None."""
    labels = column.labels
    if len(x) < 10 or not column.whole:
        return None
    if len(labels) < len(x):
        many = len(labels) > MANY or ROWS_A_KEY * len(labels) > len(x)
        counts = column.counts
        if len(labels) > MANY and counts[0] > 1 and counts.min() == counts.max():
            return f"it names what rows are of: {counts[0]} rows for each value"
        named = GROUPS.search(column.name) or re.search(r"[a-z](Id|ID|Key)$", column.name)
        return "it names what rows are of: a key, by its name" if named and many else None
    gaps = np.diff(labels)
    if gaps.min() == gaps.max():
        apart = f", each {gaps[0]:g} after the last" if gaps[0] != 1 else ""
        return f"it numbers the rows{apart}"
    if KEYS.search(column.name) or CAMEL.search(column.name):
        return "it names the rows: no two are alike"
    # Of n independent measurements on R places some are alike, but for a chance below
    # exp(-n (n - 1) / 2 R), which evenly spread ones have.
    places = (labels[-1] - labels[0]) / (column.step or 1.0) + 1
    if len(x) * (len(x) - 1) > 2 * NO_CHANCE * places:
        return "it names the rows: no two are alike, which is no chance"
    steps = np.diff(x)
    if np.all(steps > 0) and np.ptp(steps) <= 0.5 * steps.mean():
        return "it numbers the rows: no two are alike, and they rise row by row"
    digits = np.floor(np.log10(np.maximum(np.abs(labels), 1)))
    if digits[-1] >= 4 and len(x) >= 30 and labels[0] >= 0:
        # All of one width, or of any up to it: nothing that is measured is even up to a 10^k.
        high = 10 ** (digits[-1] + 1)
        low = 10 ** digits[0] if digits[0] == digits[-1] else 0
        place = (labels - low) / (high - low)
        apart = np.abs(place - (np.arange(len(place)) + 0.5) / len(place)).max()
        if apart < 1.36 / np.sqrt(len(place)):  # Kolmogorov's test of evenness, at 5 %
            return f"codes of {'' if low else 'up to '}{digits[-1] + 1:.0f} digits, no two alike"
    return None
