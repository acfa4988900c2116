"""Columns of text that are numbers, money, percentages or dates, read by the column as a whole."""

import re
import warnings
from typing import Any, NamedTuple

import numpy as np

ABSENT = {"", "?", "-", "--", ".", "na", "n/a", "n.a.", "nan", "<na>", "none", "null", "missing",
          "unknown", "#n/a", "nd", "n.d."}  # fmt: skip
SYMBOL = (
    r"(?:(?:US|CA|AU|NZ|HK|A|C|R|S)?[$€£¥₹₩₽₺₫₪฿]|USD|EUR|GBP|CHF|JPY|CAD|AUD|CNY|INR|SEK|NOK|DKK|"
    r"PLN|CZK|HUF|BRL|MXN|ZAR|Fr\.|zł|Kč|kr\.?|Ft|lei)"
)
MONEY = re.compile(rf"^([+-]?)\s*{SYMBOL}\s*|\s*{SYMBOL}$")
GROUPED = {
    mark: re.compile(
        rf"^[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}$"
    )
    for mark in ",."
}  # by threes, or by twos before the last three as in India
NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
CLOCK = r"([ T]\d{1,2}:\d{2}.*)?$"
DATE = re.compile(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}" + CLOCK)
DAY_OR_MONTH = re.compile(r"^(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})" + CLOCK)
WORDED = re.compile(
    r"^(\d{1,2}[ .-]+)?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ .-]+(\d{1,2},? )?"
    r"\d{4}" + CLOCK,
    re.I,
)
UNIT = re.compile(r"(?<=\d)\s?([A-Za-zµ°²³/]{1,8})$")
SHOWN = 3


class Reading(NamedTuple):
    """How a column was read: its kind, its marks, its missing texts, its first date, its unit."""

    kind: str = "as it is"
    decimal: str = "."
    thousands: str = ""
    na: tuple[str, ...] = ()
    origin: str = ""
    unit: str = ""
    day_first: bool = False


def read_columns(
    frame: Any,
    mark: str,
    na: set[str],
    decimal: str | None,
    thousands: str | None,
    readings: dict[str, Reading] | None,
) -> tuple[Any, dict[str, Reading], list[str]]:
    """Columns of text as numbers where they are, with how each was read and what to say of it."""
    texts = frame.attrs.pop("texts", {})
    given = {} if readings is None else readings
    found, said, labels = {}, [], []
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if given.get(name) is not None:
            columns[name], found[name] = _as_before(column, given[name]), given[name]
            continue
        if column.dtype.kind == "M":
            columns[name], found[name] = _days(column)
            said.append(_dates_said(name, found[name]))
            continue
        if column.dtype.kind in "iufb":
            cells = [c.strip() for c in texts.get(name, ()) if c.strip()]
            if decimal == "," or thousands == "." or (not decimal and _in_thousands(cells, mark)):
                reading = Reading("number", ",", ".")
                columns[name] = _grown(column, cells)
                found[name] = reading
                said.append(
                    f"{name}: {cells[0]!r} was read as {columns[name].iloc[0]:g}, the points as marks "
                    "of thousands; --decimal . reads them as decimals."
                )
                continue
            if cells and all(GROUPED["."].match(c) for c in cells) and len(cells) >= 10:
                said.append(f"{name}: {cells[0]!r} has decimals; --thousands . reads it otherwise.")
            columns[name], found[name] = _without(column, na), Reading(na=tuple(sorted(na)))
            continue
        if not _is_text(column):
            columns[name], found[name] = column, Reading()
            continue
        levels = [str(v).strip() for v in column.dropna().unique()]
        reading = _number_reading(levels, mark, na, decimal, thousands)
        if reading is not None:
            columns[name], found[name] = _parsed(column, reading), reading
            said += _number_said(name, levels, reading)
        elif _are_dates(there := [v for v in levels if v.lower() not in ABSENT and v not in na]):
            columns[name], found[name] = _days(column, day_first=_day_first(there, mark))
            said.append(_dates_said(name, found[name]))
        else:
            labels.append(name)
    # What marks a missing number in this file marks a missing label too.
    file_na = na | {token for reading in found.values() for token in reading.na}
    for name in labels:
        levels = {str(v).strip() for v in frame[name].dropna().unique()}
        here = sorted(levels & file_na)
        columns[name] = _without(frame[name], set(here))
        found[name] = Reading("label", na=tuple(here))
        kept = sorted(v for v in levels - set(here) if v.lower() in ABSENT)
        if kept:
            said.append(f"{name}: {kept[0]!r} is a label here; --na {kept[0]} takes it for a gap.")
        if here:
            said.append(f"{name}: {', '.join(map(repr, here))} was read as missing.")
    import pandas as pd

    return pd.DataFrame({name: columns[name] for name in frame.columns}), found, said


def _is_text(column: Any) -> bool:
    if column.dtype.kind == "O" or str(column.dtype).startswith(("str", "string")):
        there = column.dropna()
        return len(there) > 0 and all(isinstance(value, str) for value in there.iloc[:100])
    return False


def are_codes(cells: list[str]) -> bool:
    """Whether digits are all of one width with zeros before some: codes, such as postal ones."""
    cells = [cell for cell in cells if cell]
    widths = set(map(len, cells))
    zeros = len(widths) == 1 and widths.pop() >= 3 and any(cell[0] == "0" for cell in cells)
    return zeros and all(map(str.isdecimal, cells)) and any(cell.strip("0") for cell in cells)


def _plain(text: str, unit: str = "") -> str:
    """A number's text without its unit, money, percent, spaces and brackets."""
    text = text.strip().removesuffix(unit)
    text = MONEY.sub(r"\1", text.strip().replace("\u2212", "-")).removesuffix("%").strip()
    if text.startswith("(") and text.endswith(")"):
        text = "-" + MONEY.sub(r"\1", text[1:-1])
    return re.sub(r"(?<=\d)[\s\u00a0\u202f'\u2019](?=\d{3})", "", text)


def _number_reading(levels, mark, na, decimal, thousands) -> Reading | None:
    """The marks under which every text of a column is a number, missing ones apart; or None."""
    gone = tuple(sorted(v for v in levels if v.lower() in ABSENT or v in na))
    texts = [v for v in levels if v not in gone]
    units = {found[1] if (found := UNIT.search(v)) else "" for v in texts}
    unit = units.pop() if len(units) == 1 and not any(MONEY.search(v) for v in texts) else ""
    cells = [_plain(v, unit) for v in texts]
    if not cells or are_codes(texts) or not all(any(c.isdigit() for c in cell) for cell in cells):
        return None
    if decimal or thousands:
        point = decimal or ("," if thousands == "." else ".")
        group = thousands or ("," if point == "." else ".")
        pairs = [(point, group)]
    else:
        pairs = [_marks(cells, mark)]
    for point, group in pairs:
        if all(_value(cell, point, group) is not None for cell in cells):
            money = any(MONEY.search(v) for v in levels)
            percent = all(v.endswith("%") for v in levels if v not in gone)
            kind = "percentage" if percent else "money" if money else "number"
            return Reading(kind, point, group, gone, unit=unit)
    return None


def _marks(cells: list[str], mark: str) -> tuple[str, str]:
    """The decimal mark and that of thousands, as the whole column has them."""
    both = [c for c in cells if "," in c and "." in c]
    if both:
        return (",", ".") if all(c.rfind(",") > c.rfind(".") for c in both) else (".", ",")
    for one, other in ((",", "."), (".", ",")):
        marked = [c for c in cells if one in c]
        if not marked:
            continue
        if any(c.count(one) > 1 for c in marked):
            return other, one
        # Three digits after each: by the marks of the place where such separators are used.
        if all(GROUPED[one].match(c) for c in marked):
            abroad = mark == ";"
            return (other, one) if (one == ".") == abroad else (one, other)
        return one, other
    return ".", ","


def _in_thousands(cells: list[str], mark: str) -> bool:
    """Numbers with points before each three digits, in a file of the places where they are."""
    marked = [c for c in cells if "." in c]
    rest = [c for c in cells if "." not in c]
    if mark != ";" or len(marked) < max(2, 0.5 * len(cells)):
        return False
    return all(GROUPED["."].match(c) for c in marked) and all(
        re.match(r"^[+-]?\d{1,3}$", c) for c in rest
    )


def _value(cell: str, point: str, group: str) -> float | None:
    body = cell
    if group and group in cell.split(point)[0]:
        whole = cell.split(point)[0]
        if not GROUPED[group].match(whole):
            return None
        body = whole.replace(group, "") + cell[len(whole) :]
    body = body.replace(point, ".") if point != "." else body
    return float(body) if NUMBER.match(body) else None


def _parsed(column: Any, reading: Reading) -> Any:
    def value(text):
        text = str(text).strip()
        if text in reading.na or text.lower() in ABSENT:
            return np.nan
        number = _value(_plain(text, reading.unit), reading.decimal, reading.thousands)
        if number is None:
            raise ValueError(f"{column.name}: {text!r} is no {reading.kind}.")
        return number

    levels = {level: value(level) for level in column.dropna().unique()}
    return column.map(levels).astype(float)


def _number_said(name: str, levels: list[str], reading: Reading) -> list[str]:
    there = [v for v in levels if v not in reading.na]
    shown = next((v for v in there if _plain(v, reading.unit) != v), None)
    shown = shown or next((v for v in levels if "," in v or v.count(".") > 1), None)
    said = []
    if shown is not None:
        value = _value(_plain(shown, reading.unit), reading.decimal, reading.thousands)
        kind = "an amount of money" if reading.kind == "money" else f"a {reading.kind}"
        kind += f" of {reading.unit}" if reading.unit else ""
        said.append(
            f"{name}: {kind}; {shown!r} was read as {value:.12g}, with {reading.decimal!r} "
            f"before decimals and {reading.thousands!r} between thousands."
        )
    if reading.na:
        said.append(f"{name}: {', '.join(map(repr, reading.na[:SHOWN]))} was read as missing.")
    return said


def _grown(column: Any, cells: list[str]) -> Any:
    """Numbers whose points were marks of thousands, from what pandas made of them."""
    return (column.astype(float) * 1000).round()


def _without(column: Any, na: set[str]) -> Any:
    """A column with some of its values missing."""
    if not na:
        return column
    gone = column.map(lambda v: str(v).strip() in na or (isinstance(v, float) and f"{v:g}" in na))
    return column.where(~gone.astype(bool))


def _are_dates(levels: list[str]) -> bool:
    if len(levels) < 2:
        return False
    return any(all(form.match(v) for v in levels) for form in (DATE, DAY_OR_MONTH, WORDED))


def _day_first(levels: list[str], mark: str) -> bool:
    """Whether 1/2/2024 is in February: by a number above 12, else by the marks of the place."""
    found = [one for v in levels if (one := DAY_OR_MONTH.match(v))]
    if any(int(one[1]) > 12 for one in found):
        return True
    return (
        bool(found)
        and not any(int(one[3]) > 12 for one in found)
        and (mark == ";" or found[0][2] == ".")
    )


def _days(column: Any, origin: str = "", day_first: bool = False) -> tuple[Any, Reading]:
    """Days since the first date."""
    import pandas as pd

    options = {"format": "mixed", "dayfirst": day_first} if _is_text(column) else {}
    with warnings.catch_warnings():  # of a day first where it may only be first
        warnings.simplefilter("ignore", UserWarning)
        times = pd.to_datetime(column, errors="coerce", utc=True, **options)
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    first = pd.Timestamp(origin) if origin else times.min()
    days = (times - first) / pd.Timedelta(days=1)
    return days.astype(float), Reading("date", origin=str(first), day_first=day_first)


def _dates_said(name: str, reading: Reading) -> str:
    said = ", the day before the month" if reading.day_first else ""
    return f"{name}: dates{said}, read as days since {reading.origin}."


def _as_before(column: Any, reading: Reading) -> Any:
    """A column of new rows, read as that of the fitted table was."""
    if reading.kind == "date":
        return _days(column, reading.origin, reading.day_first)[0]
    if reading.kind in ("number", "money", "percentage"):
        if not _is_text(column):
            grouped = reading.thousands == "." and column.dtype.kind == "f"
            return _grown(column, []) if grouped else column
        return _parsed(column, reading)
    return _without(column, set(reading.na))


def with_parts(frame: Any, readings: dict[str, Reading]) -> Any:
    """The table with the month, the day of the week and the hour of each of its dates."""
    import pandas as pd

    for name, reading in readings.items():
        if reading.kind == "date":
            times = pd.Timestamp(reading.origin) + pd.to_timedelta(frame[name], unit="D")
            for part in ("month", "weekday", "hour"):
                values = getattr(times.dt, part)
                if values.nunique() > 1:
                    frame[f"{name} {part}"] = values
    return frame
