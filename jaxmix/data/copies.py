"""Columns that say again what another one says: copies, recodings, other units."""

from collections.abc import Collection
from typing import Any

import numpy as np

NEAR = 0.9998  # correlation beyond which one column of numbers is another with a little rounding
MOST = 4096  # rows looked at for the correlations


def copies_among(columns: dict[Any, Any], wanted: Collection = ()) -> dict[Any, str]:
    """The columns that copy an earlier one, and a sentence of which.

    Args:
        columns: values by name.
        wanted: columns that stay whatever they copy.
    """
    found: dict[Any, str] = {}
    seen: dict[bytes, Any] = {}
    numbers: dict[Any, np.ndarray] = {}
    for name, values in columns.items():
        codes = _codes(values)
        if codes is None:
            continue
        many = codes.max(initial=0) + 1
        if 1 < many <= len(codes) // 2 and len(codes) >= 10:
            first = seen.setdefault(codes.tobytes(), name)
            if first != name and name not in wanted:
                same = _equal(columns[first], values)
                found[name] = f"it {'copies' if same else 'recodes'} {first}"
                continue
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and many > 10:
            numbers[name] = np.asarray(values, float)
    return found | _near(numbers, wanted)


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
    norm = np.sqrt((x * x).sum(1))
    x = x / np.where(norm > 0, norm, 1)[:, None]
    close = np.abs(x @ x.T)
    found: dict[Any, str] = {}
    for j in range(1, len(names)):
        for i in np.flatnonzero(close[j, :j] > NEAR):
            if names[j] in wanted or names[i] in found or not np.array_equal(there[i], there[j]):
                continue
            if there[j].sum() >= 10:
                close_to = f"correlation {float(close[j, i]):.5f}"
                found[names[j]] = f"it is {names[i]} in another unit ({close_to})"
                break
    return found
