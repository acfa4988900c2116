"""Labels: static, declared by the template, and where an unseen one goes."""

from collections.abc import Hashable, Iterable, Sized
from itertools import repeat

import numpy as np

# A label to declare in a template: values that are no other label are encoded as this one.
OTHER = "(other)"


def label_codes(
    values: Iterable, labels: tuple[Hashable, ...] | int
) -> tuple[np.ndarray, int | None]:
    """Positions of values among labels, and the first value's index that is none of them."""
    names = range(labels) if isinstance(labels, int) else labels
    codes = {label: code for code, label in enumerate(names)}
    fallback = codes.get(OTHER, -1)
    values = values if isinstance(values, Sized) else list(values)
    try:
        found = np.fromiter(map(codes.get, values, repeat(fallback)), dtype=np.int64)
    except TypeError:  # an unhashable one
        found = np.fromiter((_code(codes, v, fallback) for v in values), dtype=np.int64)
    bad = np.flatnonzero(found < 0)
    return found, int(bad[0]) if bad.size else None


def _code(codes, value, fallback):
    try:
        return codes.get(value, fallback)
    except TypeError:  # unhashable: no label
        return -1


def expected_labels(labels: tuple[Hashable, ...] | int) -> str:
    if isinstance(labels, int):
        return f"one of the labels 0 to {labels - 1}"
    shown = ", ".join(repr(label) for label in labels[:8])
    return f"one of the labels {shown}{', ...' if len(labels) > 8 else ''}"
