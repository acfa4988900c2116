"""Numbers as people write them: money, percentages, thousands, units, limits, times of a clock.

All is said of a column's different texts, a pandas Series of stripped strings.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from .asked import Asked

ABSENT = {"", "?", "-", "--", ".", "na", "n/a", "n.a.", "nan", "<na>", "none", "null", "missing",
          "unknown", "#n/a", "nd", "n.d."}  # fmt: skip
S = "[ \t\n\u00a0\u2009\u202f]"  # Arrow's and Python's own classes of spaces differ
QUOTES = "'\u2019"
SYMBOL = (
    r"(?:(?:US|CA|AU|NZ|HK|A|C|R|S)?[$€£¥₹₩₽₺₫₪฿]|USD|EUR|GBP|CHF|JPY|CAD|AUD|CNY|INR|SEK|NOK|DKK|"
    r"PLN|CZK|HUF|BRL|MXN|ZAR|Fr\.|zł|Kč|kr\.?|Ft|lei)"
)
MONEY = rf"^([+-]?){S}*{SYMBOL}{S}*|{S}*{SYMBOL}$"
# By threes, or by twos before the last three as in India.
GROUPED = {mark: rf"[1-9]\d{{0,2}}(?:[{mark}]\d{{2,3}})*[{mark}]\d{{3}}" for mark in ",."}
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
MARKED = r"^[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?$"  # a number under some marks
UNIT = rf"(\d){S}?([A-Za-zµ°²³/]{{1,8}})$"
TIMES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "G": 1e9, "T": 1e12}
LIMIT = rf"^[<>≤≥]=?{S}*([\d.+-])"
CLOCK = r"(?i)^(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))? *(?:([ap])\.?m\.?)?$"
ODD_SPACE = rf"\d(?:{S}|[{QUOTES}])(?:\d{{1,2}}(?:\D|$)|\d{{4}})|\d{{4}}(?:{S}|[{QUOTES}])\d"
SPACE = rf"(\d)(?:{S}|[{QUOTES}])(\d{{3}})"
# Digits of Arabic, Persian, Devanagari and full width, and their marks.
DIGITS = (0x660, 0x6F0, 0x966, 0xFF10)
ELSEWHERE = str.maketrans(
    "".join(chr(first + i) for first in DIGITS for i in range(10))
    + "\u066b\u066c\uff0e\uff0c\uff05",
    "0123456789" * len(DIGITS) + ".,.,%",
)
LIKELY = rf"^\D{{0,8}}\d(?:[\d.,{QUOTES}]|{S})*\D{{0,9}}$|\d[eE][+-]?\d+$"  # at a glance
MANY = 10  # numbers in three decimals from which another reading of them is told
SHOWN = 3
SOME = 10  # different numbers beside which a few other texts are no labels
LABELS, ROWS_A_LABEL = 50, 10  # texts that are labels, numbers or not: so few, of so many rows
GLANCE = 200  # texts of which some are numbers, or the column is none


def in_ascii(texts: Any) -> Any:
    """Texts with the digits that other scripts have for 0 to 9."""
    there = texts.str.contains("[" + "".join(map(chr, ELSEWHERE)) + "]")
    return texts.str.translate(ELSEWHERE) if there.any() else texts


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


def is_absent(texts: Any, na: Collection[str]) -> Any:
    """Which texts stand for a missing value: those that do everywhere, and those or numbers named."""
    import pandas as pd

    gone = texts.str.lower().isin(ABSENT) | texts.isin(list(na))
    numbers: Any = pd.to_numeric(pd.Series(list(na), dtype=str), errors="coerce")
    if not numbers.notna().any():
        return gone
    found: Any = pd.to_numeric(texts, errors="coerce")
    return gone | found.isin(numbers.dropna())


def reading_of(levels: Any, rows: int, mark: str, asked: Asked) -> Reading | None:
    """The marks under which a column's different texts are numbers, missing ones apart; or None.

    A few texts that are none, beside many numbers that do not repeat like labels, are missing.
    """
    absent = is_absent(levels, asked.na)
    texts, gone = levels[~absent], levels[absent].tolist()
    if not len(texts):
        return None
    if texts.str.match(CLOCK).all():
        return Reading("time of a clock", na=tuple(sorted(gone)))
    glance = texts.iloc[:: -(-len(texts) // GLANCE)]
    if not glance.str.contains(LIKELY).any():
        return None
    labels = len(levels) <= LABELS and rows >= ROWS_A_LABEL * len(levels)
    limits = _has(texts, LIMIT)
    if limits.any() and (labels or (~limits).sum() < SOME):
        return None
    money = bool(_has(texts, MONEY).any())
    ended = _has(texts, UNIT)
    units = set(_unit(texts[ended])) | ({""} if not ended.all() else set())
    factors = len(units) > 1 and units <= set(TIMES)
    unit = units.pop() if len(units) == 1 and not money else ""
    cells = _plain(texts, unit, factors)
    odd = ~cells.str.match(MARKED)
    few = odd.sum() <= 0.1 * len(cells) and (~odd).sum() >= SOME and not labels
    if odd.all() or (odd.any() and not few) or are_codes(texts[~odd].tolist()):
        return None
    bodies = cells[~odd]
    if asked.decimal or asked.thousands:
        point = asked.decimal or ("," if asked.thousands == "." else ".")
        group = asked.thousands or ("," if point == "." else ".")
    else:
        point, group = _marks(bodies, mark)
    if _values(bodies, point, group).isna().any():
        return None
    percent = texts[~odd].str.endswith("%")
    kind = "percentage" if percent.any() else "money" if money else "number"
    if percent.any() and not percent.all():  # 0.12 beside 12%, or 12 beside 12%
        values = _values(bodies, point, group).abs()
        kind = "share" if values[~percent].max() <= 1 < values[percent].max() else kind
    absent = tuple(sorted([*gone, *texts[odd]]))
    return Reading(kind, point, group, absent, unit=unit, factors=factors)


def numbers_of(texts: Any, reading: Reading) -> Any:
    """The numbers that texts are under a reading, NaN for those that are none."""
    import pandas as pd

    if reading.kind == "time of a clock":
        found = texts.str.extract(CLOCK)
        parts: Any = [pd.to_numeric(found[i], errors="coerce") for i in range(3)]
        hours, minutes, seconds = parts
        hours = hours.where(found[3].isna(), hours % 12 + 12 * (found[3].str.lower() == "p"))
        return hours + minutes / 60 + seconds.fillna(0) / 3600
    values = _values(
        _plain(texts, reading.unit, reading.factors), reading.decimal, reading.thousands
    )
    if reading.kind == "share":
        values[texts.str.endswith("%")] /= 100
    if reading.factors:
        ended = _has(texts, UNIT)
        values[ended] *= np.array([TIMES.get(unit, np.nan) for unit in _unit(texts[ended])])
    return values


def said_of(name: str, levels: Any, reading: Reading, count: Callable) -> list[str]:
    """What is to be told of a column of texts that was read as numbers."""
    there = levels[~levels.isin(list(reading.na))]
    told = lambda text: f"{numbers_of(type(levels)([text]), reading).iloc[0]:.12g}"
    written = ~there.str.match(NUMBER)
    if reading.thousands == ".":
        written |= there.str.contains(".", regex=False)
    shown = there[written].iloc[0] if written.any() else None
    said = []
    if reading.kind == "time of a clock" and len(there):
        first = there.iloc[0]
        said.append(f"{name}: times of a clock; {first!r} was read as {told(first)} h.")
    elif shown is not None:
        kind = "an amount of money" if reading.kind == "money" else f"a {reading.kind}"
        kind += f" of {reading.unit}" if reading.unit else ""
        said.append(
            f"{name}: {kind}; {shown!r} was read as {told(shown)}, with "
            f"{reading.decimal!r} before decimals and {reading.thousands!r} between thousands."
        )
    if shown is None and len(there) >= MANY and there.str.match(rf"^[+-]?{GROUPED['.']}$").all():
        said.append(f"{name}: {there.iloc[0]!r} has decimals; --thousands . reads it otherwise.")
    bare = there[~there.str.endswith("%")] if reading.kind == "percentage" else there[:0]
    if len(bare):
        said.append(f"{name}: {bare.iloc[0]!r} has no %, and was read as so many percent too.")
    symbols = sorted(set(there.str.extract(f"({SYMBOL})")[0].dropna()))
    if reading.kind == "money" and len(symbols) > 1:
        listed = ", ".join(symbols[:SHOWN])
        said.append(f"{name}: amounts in {listed} were taken as they are, at no rate of exchange.")
    limits = there[_has(there, LIMIT)]
    if len(limits) and limits.iloc[0] != shown:
        said.append(f"{name}: {limits.iloc[0]!r} was read as its limit, {told(limits.iloc[0])}.")
    if reading.na:
        rows = count(reading.na)
        listed = ", ".join(map(repr, reading.na[:SHOWN]))
        said.append(f"{name}: {listed} was read as missing, {rows} row{'s' * (rows != 1)}.")
    return said


def _unit(texts: Any) -> list[str]:
    return texts.str.extract(UNIT)[1].tolist()


def _has(texts: Any, pattern: str) -> Any:
    return texts.str.contains(re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern))  # without groups


def _sub(texts: Any, pattern: str, by: str) -> Any:
    """Replaced where it is there, which Arrow finds many times faster than it replaces."""
    return texts.str.replace(pattern, by, regex=True) if _has(texts, pattern).any() else texts


def _plain(texts: Any, unit: str = "", factors: bool = False) -> Any:
    """Numbers' texts without their limits, units, money, percent, spaces and brackets."""
    texts = _sub(texts, LIMIT, r"\1").str.strip().str.removesuffix(unit).str.strip()
    texts = _sub(texts.str.replace("\u2212", "-", regex=False), MONEY, r"\1")
    texts = texts.str.removesuffix("%").str.strip()
    texts = _sub(texts, UNIT, r"\1") if factors else texts
    inside = _sub(texts, r"^\((.*)\)$", r"\1")
    negative = inside != texts
    if negative.any():
        texts = ("-" + _sub(inside, MONEY, r"\1")).where(negative, texts)
    texts = _sub(texts, r"^([\d.,]+)-$", r"-\1")
    odd = _has(texts, ODD_SPACE)  # groups that are no thousands: of a telephone number
    plain = texts
    for _ in range(2):  # what one pass takes as an end is the next one's beginning
        plain = _sub(plain, SPACE, r"\1\2")
    return texts.where(odd, plain)


def _marks(cells: Any, mark: str) -> tuple[str, str]:
    """The decimal mark and that of thousands, as the whole column has them."""
    has = {one: cells.str.contains(one, regex=False) for one in ",."}
    both = cells[has[","] & has["."]]
    if len(both):
        last = both.str.rfind(",") > both.str.rfind(".")
        return (",", ".") if last.all() else (".", ",")
    for one, other in ((",", "."), (".", ",")):
        marked = cells[has[one]]
        if not len(marked):
            continue
        if (marked.str.count(re.escape(one)) > 1).any():
            return other, one
        # Three digits after each: by the marks of the place where such separators are used.
        if marked.str.match(rf"^[+-]?{GROUPED[one]}$").all():
            abroad = mark == ";"
            return (other, one) if (one == ".") == abroad else (one, other)
        return one, other
    return ".", ","


def _values(cells: Any, point: str, group: str) -> Any:
    import pandas as pd

    whole = r"\d*" if group not in GROUPED else rf"(?:\d*|{GROUPED[group]})"
    valid = cells.str.match(rf"^[+-]?{whole}(?:[{point}]\d*)?(?:[eE][+-]?\d+)?$")
    valid &= cells.str.match(MARKED)
    for mark, by in ((group, ""), (point, ".")):
        cells = cells.str.replace(mark, by, regex=False) if mark not in ("", by) else cells
    found: Any = pd.to_numeric(cells.where(valid), errors="coerce")
    return found.astype(float)
