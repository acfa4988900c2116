"""Numbers as people write them: money, percentages, thousands, units, limits, times of a clock."""

import re
from collections.abc import Callable
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
MARKED = re.compile(r"^[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?$")  # a number under some marks
UNIT = re.compile(r"(?<=\d)\s?([A-Za-zµ°²³/]{1,8})$")
TIMES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "G": 1e9, "T": 1e12}
LIMIT = re.compile(r"^\s*[<>≤≥]=?\s*(?=[\d.+-])")
CLOCK = re.compile(r"^(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?\s*([ap]\.?m\.?)?$", re.I)
SHOWN = 3
SOME = 10  # different numbers beside which a few other texts are no labels
LABELS, ROWS_A_LABEL = 50, 10  # texts that are labels, numbers or not: so few, of so many rows


class Reading(NamedTuple):
    """How a column was read: its kind, its marks, its missing texts, its first date, its unit."""

    kind: str = "as it is"
    decimal: str = "."
    thousands: str = ""
    na: tuple[str, ...] = ()
    origin: str = ""
    unit: str = ""
    day_first: bool = False
    factors: bool = False  # thousands and millions as letters


def are_codes(cells: list[str]) -> bool:
    """Whether digits are all of one width with zeros before some: codes, such as postal ones."""
    cells = [cell for cell in cells if cell]
    widths = set(map(len, cells))
    zeros = len(widths) == 1 and widths.pop() >= 3 and any(cell[0] == "0" for cell in cells)
    return zeros and all(map(str.isdecimal, cells)) and any(cell.strip("0") for cell in cells)


def reading_of(
    levels: list[str],
    rows: int,
    mark: str,
    na: set[str],
    decimal: str | None = None,
    thousands: str | None = None,
) -> Reading | None:
    """The marks under which a column's different texts are numbers, missing ones apart; or None.

    A few texts that are none, beside many numbers that do not repeat like labels, are missing.
    """
    gone = [v for v in levels if v.lower() in ABSENT or v in na]
    texts = [v for v in levels if v not in gone]
    if texts and all(map(CLOCK.match, texts)):
        return Reading("time of a clock", na=tuple(sorted(gone)))
    labels = len(levels) <= LABELS and rows >= ROWS_A_LABEL * len(levels)
    limits = [v for v in texts if LIMIT.match(v)]
    if limits and (labels or len(texts) - len(limits) < SOME):
        return None
    units = {found[1] if (found := UNIT.search(v)) else "" for v in texts}
    money = any(MONEY.search(v) for v in texts)
    factors = len(units) > 1 and units <= set(TIMES)
    unit = units.pop() if len(units) == 1 and not money else ""
    cells = {v: _plain(v, unit, factors) for v in texts}
    odd = [v for v, cell in cells.items() if not MARKED.match(cell)]
    few = len(odd) <= 0.1 * len(cells) and len(cells) - len(odd) >= SOME and not labels
    if odd and not few:
        return None
    bodies = [cells[v] for v in texts if v not in odd]
    if not bodies or are_codes([v for v in texts if v not in odd]):
        return None
    if decimal or thousands:
        point = decimal or ("," if thousands == "." else ".")
        group = thousands or ("," if point == "." else ".")
    else:
        point, group = _marks(bodies, mark)
    if not all(_value(cell, point, group) is not None for cell in bodies):
        return None
    percent = all(v.endswith("%") for v in texts if v not in odd)
    kind = "percentage" if percent else "money" if money else "number"
    return Reading(kind, point, group, tuple(sorted([*gone, *odd])), unit=unit, factors=factors)


def value_of(text: str, reading: Reading) -> float | None:
    """The number that a text is under a reading; None if it is none."""
    text = text.strip()
    if reading.kind == "time of a clock":
        found = CLOCK.match(text)
        if not found:
            return None
        hours, minutes, seconds, half = found.groups()
        noon = int(hours) % 12 + 12 * (half[0] in "pP") if half else int(hours)
        return noon + int(minutes) / 60 + float(seconds or 0) / 3600
    times = UNIT.search(text) if reading.factors else None
    cell = _plain(text, reading.unit, reading.factors)
    value = _value(cell, reading.decimal, reading.thousands)
    return value if value is None else value * TIMES[times[1] if times else ""]


def parsed(column, reading: Reading):
    """A column of texts as numbers, NaN where one is missing.

    Raises:
        ValueError: for a text that is no such number.
    """

    def value(text):
        text = str(text).strip()
        if text in reading.na or text.lower() in ABSENT:
            return float("nan")
        number = value_of(text, reading)
        if number is None:
            raise ValueError(f"{column.name}: {text!r} is no {reading.kind}.")
        return number

    import pandas as pd

    found: Any = pd.to_numeric(column, errors="coerce")
    numbers = found.astype(float)
    if reading.kind != "number" or reading.decimal != "." or reading.factors:
        numbers[:] = np.nan
    left = column[column.notna() & ~np.isfinite(numbers)]  # those that are not as Python has them
    levels = {level: value(level) for level in left.unique()}
    return numbers.where(~column.index.isin(left.index), column.map(levels)).astype(float)


def said_of(name: str, levels: list[str], reading: Reading, count: Callable) -> list[str]:
    """What is to be told of a column of texts that was read as numbers."""
    there = [v for v in levels if v not in reading.na]
    written = lambda v: NUMBER.match(v) is None or (reading.thousands == "." and "." in v)
    shown = next((v for v in there if written(v)), None)
    said = []
    if reading.kind == "time of a clock" and there:
        said.append(
            f"{name}: times of a clock; {there[0]!r} was read as {_told(there[0], reading)} h."
        )
    elif shown is not None:
        kind = "an amount of money" if reading.kind == "money" else f"a {reading.kind}"
        kind += f" of {reading.unit}" if reading.unit else ""
        said.append(
            f"{name}: {kind}; {shown!r} was read as {_told(shown, reading)}, with "
            f"{reading.decimal!r} before decimals and {reading.thousands!r} between thousands."
        )
    limit = next((v for v in there if LIMIT.match(v)), None)
    if limit is not None and limit != shown:
        said.append(f"{name}: {limit!r} was read as its limit, {_told(limit, reading)}.")
    if reading.na:
        rows = count(reading.na)
        listed = ", ".join(map(repr, reading.na[:SHOWN]))
        said.append(f"{name}: {listed} was read as missing, {rows} row{'s' * (rows != 1)}.")
    return said


def in_thousands(cells: list[str], mark: str) -> bool:
    """Numbers with points before each three digits, in a file of the places where they are."""
    cells = [c.strip() for c in cells if c.strip()]
    marked = [c for c in cells if "." in c]
    rest = [c for c in cells if "." not in c]
    if mark != ";" or len(marked) < max(2, 0.1 * len(cells)):
        return False
    return all(GROUPED["."].match(c) for c in marked) and all(
        re.match(r"^[+-]?\d{1,3}$", c) for c in rest
    )


def _told(text: str, reading: Reading) -> str:
    return f"{value_of(text, reading):.12g}"


def _plain(text: str, unit: str = "", factors: bool = False) -> str:
    """A number's text without its limit, unit, money, percent, spaces and brackets."""
    text = LIMIT.sub("", text).strip().removesuffix(unit)
    text = MONEY.sub(r"\1", text.strip().replace("\u2212", "-")).removesuffix("%").strip()
    text = UNIT.sub("", text) if factors else text
    if text.startswith("(") and text.endswith(")"):
        text = "-" + MONEY.sub(r"\1", text[1:-1])
    return re.sub(r"(?<=\d)[\s\u00a0\u202f'\u2019](?=\d{3})", "", text)


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


def _value(cell: str, point: str, group: str) -> float | None:
    body = cell
    if group and group in cell.split(point)[0]:
        whole = cell.split(point)[0]
        if not GROUPED[group].match(whole):
            return None
        body = whole.replace(group, "") + cell[len(whole) :]
    body = body.replace(point, ".") if point != "." else body
    return float(body) if NUMBER.match(body) else None
