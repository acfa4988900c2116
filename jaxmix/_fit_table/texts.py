"""Columns of text that are numbers, dates or labels, each read as a whole."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from . import dates
from .amounts import ABSENT, Reading, is_absent, numbers_of, reading_of, said_of
from .asked import Asked
from .work import at_work

NUMBERS = ("number", "money", "percentage", "share", "time of a clock")
UNREAD = Reading().kind


class Levels(NamedTuple):
    """A column's different texts, stripped, and the place of each row's among them; -1 for none."""

    codes: np.ndarray
    texts: Any

    def spread(self, values: Any) -> np.ndarray:
        """What is said of the texts, said of the rows."""
        values = np.asarray(values)
        missing = np.array([np.nan], float if values.dtype.kind in "fiu" else object)
        return np.append(values, missing)[self.codes]

    def labels(self, na: Collection[str]) -> np.ndarray:
        """The rows' texts, but for those that stand for a missing one."""
        texts = self.texts.astype(object)
        return self.spread(texts.where(~texts.isin(list(na)), np.nan))


def levels_of(column: Any) -> Levels | None:
    """The texts of a column of texts; None for another one."""
    import pandas as pd

    text = column.dtype.kind == "O" or str(column.dtype).startswith(("str", "string"))
    if not text or pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        return None
    codes, levels = pd.factorize(column)
    texts = pd.Series(levels, dtype=column.dtype).str.strip()
    there = (texts != "").to_numpy()
    places = np.append(np.where(there, np.cumsum(there) - 1, -1), -1)
    return Levels(places[codes], texts[there].reset_index(drop=True))


def read_columns(
    frame: Any, mark: str, asked: Asked, readings: dict[str, Reading] | None
) -> tuple[Any, dict[str, Reading], list[str]]:
    """Columns of text as numbers where they are, with how each was read and what to say of it."""
    import pandas as pd

    na = set(asked.na)
    given = {n: reading for n, reading in (readings or {}).items() if reading.kind != UNREAD}
    columns, found, said, labels = {}, {}, [], {}
    for name in frame.columns:
        at_work("Reading columns", name)
        read = _read(frame[name], name, mark, asked, given.get(name))
        if isinstance(read, Levels):
            labels[name] = read
        else:
            columns[name], found[name], words = read
            said += words
    # What marks a missing number in this file marks a missing label too.
    tokens = {v for reading in found.values() for v in reading.na if v.lower() in ABSENT}
    for name, levels in labels.items():
        columns[name], found[name], words = _labels(name, levels, na | tokens)
        said += words
    whole = pd.DataFrame({name: columns[name] for name in frame.columns}, index=frame.index)
    for name in whole.columns:
        endless = np.isinf(whole[name]) if whole[name].dtype.kind == "f" else np.zeros(1, bool)
        if endless.any():
            whole[name] = whole[name].where(~endless)
            said.append(f"{name}: numbers without end were read as missing: {endless.sum()}.")
    return whole, found, said


def _read(
    column: Any, name: str, mark: str, asked: Asked, given: Reading | None
) -> tuple[Any, Reading, list[str]] | Levels:
    """A column's values, how they were read, and what to say of it; or labels, read at the end."""
    import pandas as pd

    levels, na, said = levels_of(column), set(asked.na), []
    held = pd.api.types.infer_dtype(column, skipna=True) if column.dtype == object else ""
    if held in ("integer", "decimal"):
        column = column.astype(float)  # with more digits than a number of the machine's
    elif held == "time":
        column = pd.to_timedelta(column.astype("string")) / pd.Timedelta(hours=1)
        said.append(f"{name}: times of a clock, read as hours.")
    if column.dtype.kind == "m":
        column = column / pd.Timedelta(days=1)
        said.append(f"{name}: spans of time, read as days.")
    if given is not None:
        return _as_before(column, levels, given), given, said
    if column.dtype.kind == "M" or dates.numbers_are_dates(column):
        return dates.read(name, column, said)
    if levels is None:
        numbers = column.dtype.kind in "iufb"
        reading = Reading(na=tuple(sorted(na))) if numbers else Reading()
        return _without(column, reading.na), reading, said
    texts = levels.texts
    reading = reading_of(texts, column.count(), mark, asked)
    if reading is not None:
        values = pd.Series(_numbers(levels, reading, name), column.index)
        rows = lambda gone: int(np.isin(levels.codes, np.flatnonzero(texts.isin(gone))).sum())
        said += said_of(name, texts, reading, rows)
        as_dates = dates.numbers_are_dates(values)
        return dates.read(name, values, said) if as_dates else (values.to_numpy(), reading, said)
    there = texts[~is_absent(texts, na)]
    if dates.are_dates(there):
        since, reading, said = dates.read(name, there, said, dates.day_first(there, mark))
        return levels.spread(since.reindex(texts.index)), reading, said
    return levels


def _numbers(levels: Levels, reading: Reading, name: str) -> np.ndarray:
    """A column of numbers, whole ones as such where none is missing."""
    texts = levels.texts
    if len(texts) and not (levels.codes < 0).any() and texts.str.match(r"^[+-]?\d{1,18}$").all():
        if not is_absent(texts, reading.na).any():
            return texts.astype("int64").to_numpy()[levels.codes]
    gone = is_absent(texts, reading.na)
    values = numbers_of(texts, reading).where(~gone)
    bad = np.flatnonzero(values.isna() & ~gone)
    if bad.size:
        row = int(np.argmax(levels.codes == bad[0]))
        raise ValueError(f"Row {row}, {name}: {texts.iloc[bad[0]]!r} is no {reading.kind}.")
    return levels.spread(values)


def _labels(name: str, levels: Levels, na: set[str]) -> tuple[Any, Reading, list[str]]:
    texts = levels.texts
    here = sorted(set(texts[texts.isin(list(na))]))
    kept = sorted(set(texts[is_absent(texts, ())]) - set(here))
    said = []
    if kept:
        said.append(f"{name}: {kept[0]!r} is a label here; --na {kept[0]} takes it for a gap.")
    if here:
        said.append(f"{name}: {', '.join(map(repr, here))} was read as missing.")
    reading = Reading("label", na=tuple(here))
    return levels.labels(here), reading, said


def _without(column: Any, na: Any) -> Any:
    """A column with some of its values missing."""
    if not na:
        return column
    gone = column.map(lambda v: str(v).strip() in na or (isinstance(v, float) and f"{v:g}" in na))
    return column.where(~gone.astype(bool))


def _as_before(column: Any, levels: Levels | None, reading: Reading) -> Any:
    """A column of new rows, read as that of the fitted table was."""
    if reading.kind == "date":
        return dates.days(column, reading.origin, reading.day_first)[0]
    if levels is None:
        return column if reading.kind in NUMBERS else _without(column, set(reading.na))
    if reading.kind in NUMBERS:
        return _numbers(levels, reading, str(column.name))
    return levels.labels(reading.na)
