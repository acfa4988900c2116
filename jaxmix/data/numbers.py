"""Numbers as a family's domain has them, and the words for what is not one of them."""

from datetime import date, time, timedelta
from itertools import compress
from typing import Any, NamedTuple

import jax
import numpy as np

from .._warn import warn
from ..families._support import Domain

LOST = 1e-3  # standard deviations of a field, from which its rounding to float32 is told


class Where(NamedTuple):
    """How to name a place in the data: a field's path, and the row that each value is of."""

    field: str
    rows: np.ndarray | None = None

    def inner(self, name: Any, rows: np.ndarray | None = None) -> "Where":
        path = f"{self.field}.{name}" if self.field else str(name)
        if rows is None:
            return Where(path, self.rows)
        return Where(path, rows if self.rows is None else self.rows[rows])

    def refuse(self, index: int, value: Any, expected: str) -> ValueError:
        row = index if self.rows is None else int(self.rows[index])
        field = f", field {self.field}" if self.field else ""
        shown = "a missing value" if is_missing(value) else repr(value)
        hint = ""
        if is_missing(value):
            hint = "; wrap the field's density in jm.Optional"
        elif is_date(value):
            hint = "; turn dates and times into numbers first, such as days since a first one"
        return ValueError(f"Row {row}{field}: {shown} was given, {expected} was expected{hint}.")


def is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def present_values(values: Any) -> np.ndarray:
    """Which values are not missing."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and values.ndim == 1:
        return ~np.isnan(values)
    if set(map(type, values)) <= {type(None), bool, int, float, str}:
        # A float that is not itself is NaN: the test that a million values can afford.
        there = (value is not None and value == value for value in values)
    else:
        there = (not is_missing(value) for value in values)
    return np.fromiter(there, bool, len(values))


def there(values: Any) -> Any:
    """The values that are not missing: an array of numbers, or a list of Python values."""
    present = present_values(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and values.ndim == 1:
        return values[present]
    return [in_python(value) for value in compress(values, present.tolist())]


def as_floats(values: Any) -> np.ndarray | None:
    """Values that are there, if they are numbers and no truth values."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values.astype(np.float64)
    real = lambda v: isinstance(v, int | float | np.number) and not isinstance(v, bool)
    return np.array(values, np.float64) if len(values) and all(map(real, values)) else None


def in_python(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def is_date(value: Any) -> bool:
    """Whether a value is a date, a time or a span of time."""
    return isinstance(
        value, date | time | timedelta | np.datetime64 | np.timedelta64
    ) and not is_missing(value)


def encode_numbers(domain: Domain, values: Any, where: Where) -> np.ndarray:
    shape = (len(values),) if domain.dim is None else (len(values), domain.dim)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.shape != shape:
        array = np.empty(shape)
        for i, value in enumerate(values):
            try:
                if isinstance(value, str | bytes) or is_date(value):
                    raise TypeError
                array[i] = value
                if np.shape(value) != shape[1:]:
                    raise TypeError
            except (TypeError, ValueError):
                raise where.refuse(i, value, domain.words) from None
    bad = np.flatnonzero(~domain.holds(array))
    if bad.size:
        raise where.refuse(bad[0], in_python(array[bad[0]]), domain.words)
    if not jax.config.read("jax_enable_x64"):
        _check_digits(domain, array, where)
    return array.astype(np.int64 if domain.whole else np.float64)


def _check_digits(domain: Domain, array: np.ndarray, where: Where) -> None:
    """Refuse what 32 bits don't hold, and tell of digits that they lose."""
    if not len(array):
        return
    if domain.whole:
        rows = np.abs(array.reshape(len(array), -1)).max(1, initial=0)
        bad = np.flatnonzero(rows >= 2.0**31)
        if bad.size:
            words = "a whole number below 2^31 (or more, with x64 enabled)"
            raise where.refuse(bad[0], in_python(array[bad[0]]), words)
    elif array.dtype.kind == "f" and np.isfinite(array).any():
        array = np.where(np.isfinite(array), array, np.nan)
        spread = np.nanstd(array)
        lost = np.nanmax(np.abs(array - array.astype(np.float32)))
        if lost > LOST * spread > 0:
            place = f"field {where.field}" if where.field else "the data"
            warn(
                f"{place}: float32 moves values by up to {lost / spread:.1e} standard deviations. "
                "Centre them first, or enable x64."
            )
