"""Columns of text that are numbers, dates or labels, each read as a whole."""

from typing import Any

import numpy as np

from . import dates
from .amounts import ABSENT, GROUPED, Reading, parsed, reading_of, said_of

NUMBERS = ("number", "money", "percentage", "time of a clock")
MANY = 10  # numbers in three decimals from which another reading of them is told


def read_columns(
    frame: Any,
    mark: str,
    na: set[str],
    decimal: str | None,
    thousands: str | None,
    readings: dict[str, Reading] | None,
) -> tuple[Any, dict[str, Reading], list[str]]:
    """Columns of text as numbers where they are, with how each was read and what to say of it."""
    import pandas as pd

    texts = frame.attrs.pop("texts", {})
    given = {} if readings is None else readings
    columns, found, said, labels = {}, {}, [], []
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "m":
            column = column / pd.Timedelta(days=1)
            said.append(f"{name}: spans of time, read as days.")
        if given.get(name) is not None:
            columns[name], found[name] = _as_before(column, given[name]), given[name]
        elif column.dtype.kind == "M" or dates.numbers_are_dates(column):
            columns[name], found[name] = dates.days(column)
            said += dates.said_of(name, column, columns[name], found[name])
        elif column.dtype.kind in "iufb":
            cells = [c.strip() for c in texts.get(name, ()) if c.strip()]
            columns[name], found[name] = _without(column, na), Reading(na=tuple(sorted(na)))
            if len(cells) >= MANY and all(GROUPED["."].match(c) for c in cells):
                said.append(f"{name}: {cells[0]!r} has decimals; --thousands . reads it otherwise.")
        elif not _is_text(column):
            columns[name], found[name] = column, Reading()
        else:
            levels = [str(v).strip() for v in column.dropna().unique()]
            there = [v for v in levels if v.lower() not in ABSENT and v not in na]
            reading = reading_of(levels, column.count(), mark, na, decimal, thousands)
            if reading is not None:
                columns[name], found[name] = parsed(column, reading), reading
                rows = lambda gone, c=column: int(c.str.strip().isin(gone).sum())
                said += said_of(name, levels, reading, rows)
            elif dates.are_dates(there):
                dayed = column.where(column.str.strip().isin(there))
                first = dates.day_first(there, mark)
                columns[name], found[name] = dates.days(dayed, day_first=first)
                said += dates.said_of(name, dayed, columns[name], found[name])
            else:
                labels.append(name)
    # What marks a missing number in this file marks a missing label too.
    tokens = {v for reading in found.values() for v in reading.na if v.lower() in ABSENT}
    for name in labels:
        columns[name], found[name], words = _labels(frame[name], na | tokens)
        said += words
    return pd.DataFrame({name: columns[name] for name in frame.columns}), found, said


def _labels(column: Any, na: set[str]) -> tuple[Any, Reading, list[str]]:
    levels = list(column.dropna().unique())
    if any(v != v.strip() for v in levels if isinstance(v, str)):
        column = column.map(lambda v: v.strip() if isinstance(v, str) else v)
    levels = {str(v).strip() for v in levels}
    here = sorted(levels & na)
    kept = sorted(v for v in levels - set(here) if v.lower() in ABSENT)
    said = []
    if kept:
        said.append(
            f"{column.name}: {kept[0]!r} is a label here; --na {kept[0]} takes it for a gap."
        )
    if here:
        said.append(f"{column.name}: {', '.join(map(repr, here))} was read as missing.")
    return _without(column, set(here)), Reading("label", na=tuple(here)), said


def _is_text(column: Any) -> bool:
    if column.dtype.kind == "O" or str(column.dtype).startswith(("str", "string")):
        there = column.dropna()
        return len(there) > 0 and all(isinstance(value, str) for value in there)
    return False


def _without(column: Any, na: set[str]) -> Any:
    """A column with some of its values missing."""
    if not na:
        return column
    gone = column.map(lambda v: str(v).strip() in na or (isinstance(v, float) and f"{v:g}" in na))
    return column.where(~gone.astype(bool))


def _as_before(column: Any, reading: Reading) -> Any:
    """A column of new rows, read as that of the fitted table was."""
    if reading.kind == "date":
        return dates.days(column, reading.origin, reading.day_first)[0]
    if reading.kind in NUMBERS:
        return parsed(column, reading) if _is_text(column) else column
    stripped = column
    if _is_text(column):
        stripped = column.str.strip().astype(object).where(column.notna(), np.nan)
    return _without(stripped, set(reading.na))
