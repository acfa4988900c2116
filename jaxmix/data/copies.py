"""Columns that say again what another one says: copies, recodings, other units."""

from collections.abc import Collection
from typing import Any

import numpy as np

NEAR = 0.9998  # correlation beyond which one column of numbers is another with a little rounding
SMOOTH = 0.02  # of what neighbours differ by, what a function's values are off the line of these
EXACT = 1e-9  # share of a column's variance that a sum of others leaves
TERMS = 5  # of a sum that is told
ALIKE = 0.98  # rows in which a recoding holds
MANY = 50  # labels
MOST = 4096  # rows looked at for the correlations


def copies_among(columns: dict[Any, Any], wanted: Collection = ()) -> dict[Any, str]:
    """The columns that copy an earlier one, and a sentence of which."""
    found: dict[Any, str] = {}
    seen: dict[bytes, Any] = {}
    labels: dict[Any, np.ndarray] = {}
    numbers: dict[Any, np.ndarray] = {}
    flags: dict[Any, np.ndarray] = {}
    for name, values in columns.items():
        codes = _codes(values)
        if codes is None:
            continue
        many = codes.max(initial=0) + 1
        if 1 < many <= len(codes) // 2 and len(codes) >= 10:
            first = seen.setdefault(codes.tobytes(), name)
            if first == name and many <= MANY:
                first = next((one for one in labels if _recodes(labels[one], codes)), name)
                labels[name] = codes
            if first != name and name not in wanted:
                same = _equal(columns[first], values)
                found[name] = f"it {'copies' if same else 'recodes'} {first}"
                continue
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and many > 10:
            numbers[name] = np.asarray(values, float)
        elif isinstance(values, np.ndarray) and values.dtype.kind in "iufb" and many == 2:
            flags[name] = np.asarray(values, float)
    found |= _near(numbers, wanted) | _sums(flags, wanted)  # of flags one of which is always up
    return found | _sums({n: x for n, x in numbers.items() if n not in found}, wanted)


def _codes(values: Any) -> np.ndarray | None:
    """The place of each value among the distinct ones, in order of appearance."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        _, first, codes = np.unique(values, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[codes]
    places: dict[Any, int] = {}
    try:
        key = lambda v: None if v is None or v != v else v
        return np.fromiter((places.setdefault(key(v), len(places)) for v in values), np.int64)
    except (TypeError, ValueError):  # lists, sets: no labels
        return None


def _recodes(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether each label of either goes with one of the other, in all rows but a few."""
    width = other.max() + 1
    table = np.bincount(one * width + other)
    counts = table[table > 0]
    firsts, seconds, kept = set(), set(), 0
    for place in np.argsort(-table, kind="stable")[: len(counts)].tolist():
        (a, b), count = divmod(place, width), table[place]
        if a not in firsts and b not in seconds:
            firsts.add(a)
            seconds.add(b)
            kept += count
    off = len(one) - kept
    few = off <= (1 - ALIKE) * (len(one) - counts.max())  # of those that are no label of most rows
    return few and len(firsts) >= min(one.max(), other.max()) + 1


def _equal(a: Any, b: Any) -> bool:
    alike = lambda x, y: x == y or (x != x and y != y)
    return all(alike(x, y) for x, y in zip(a, b, strict=True))


def _near(numbers: dict[Any, np.ndarray], wanted: Collection) -> dict[Any, str]:
    """Columns of numbers that are another one in another unit."""
    if len(numbers) < 2:
        return {}
    names = list(numbers)
    rows = len(numbers[names[0]])
    few = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    x = np.stack([numbers[name][few] for name in names])
    there = np.isfinite(x)
    x = np.where(there, x, 0)
    mean = x.sum(1) / np.maximum(there.sum(1), 1)
    x = np.where(there, x - mean[:, None], 0)
    for size in (lambda x: np.abs(x).max(1), lambda x: np.sqrt((x * x).sum(1))):
        norm = size(x)  # of numbers up to 1, whose squares do not overflow
        x = x / np.where(norm > 0, norm, 1)[:, None]
    close = np.abs(x @ x.T)
    rank = np.argsort(np.argsort(x, 1), 1) - 0.5 * (len(few) - 1)
    alike = np.abs(rank @ rank.T) / np.maximum((rank * rank).sum(1), 1)[:, None] > NEAR
    found: dict[Any, str] = {}
    for j in range(1, len(names)):
        if names[j] in wanted or there[j].sum() < 10:
            continue
        for i in np.flatnonzero((close[j, :j] > NEAR) | alike[j, :j]):
            if names[i] in found or not np.array_equal(there[i], there[j]):
                continue
            if close[j, i] > NEAR:
                close_to = f"correlation {float(close[j, i]):.5f}"
                found[names[j]] = f"it is {names[i]} in another unit ({close_to})"
                break
            if _is_function(x[j, there[j]], x[i, there[i]]):
                found[names[j]] = f"it is a function of {names[i]}"
                break
    return found


def _is_function(y: np.ndarray, x: np.ndarray) -> bool:
    """Whether values lie on a smooth curve over x, not only in its order."""
    order = np.argsort(x)
    x, y = x[order], y[order]
    use = np.append(True, np.diff(x) > 0)
    if np.any(~use & np.append(False, np.diff(y) != 0)):
        return False  # two values at one place
    x, y = x[use], y[use]
    if len(x) < 30:
        return False
    step = x[2:] - x[:-2]
    line = (y[:-2] * (x[2:] - x[1:-1]) + y[2:] * (x[1:-1] - x[:-2])) / step
    apart = np.abs(y[2:] - y[:-2])
    return bool(np.median(np.abs(y[1:-1] - line)) < SMOOTH * np.median(apart))


def _sums(numbers: dict[Any, np.ndarray], wanted: Collection) -> dict[Any, str]:
    """Columns of numbers that are a weighted sum of others."""
    names = list(numbers)
    if len(names) < 3:
        return {}
    x = np.stack([numbers[name] for name in names], 1)
    x = x[np.all(np.isfinite(x), 1)][:MOST]
    if len(x) < 3 * len(names):
        return {}
    x = x - x.mean(0)
    x = x / np.maximum(x.std(0), 1e-300)
    found: dict[Any, str] = {}
    kept: list[int] = []
    basis = np.zeros((len(x), 0))
    for j, name in enumerate(names):
        left = x[:, j] - basis @ (basis.T @ x[:, j])
        left = left - basis @ (basis.T @ left)
        size = float(left @ left)
        if size > EXACT * len(x):
            kept.append(j)
            basis = np.append(basis, (left / size**0.5)[:, None], 1)
            continue
        terms = np.linalg.lstsq(x[:, kept], x[:, j], rcond=None)[0]
        used = [names[kept[i]] for i in np.flatnonzero(np.abs(terms) > 1e-6)]
        if name not in wanted and len(used) <= TERMS:
            found[name] = f"it is a sum of {', '.join(map(str, used))}"
    return found
