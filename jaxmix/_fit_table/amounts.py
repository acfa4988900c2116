"""Numbers as people write them: money, percentages, thousands, units, limits, times of a clock.

All is said of a column's different texts, a pandas Series of stripped strings.
"""

import functools
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from .asked import Asked

ABSENT = {"", "?", "-", "--", ".", "na", "n/a", "n.a.", "nan", "<na>", "none", "null", "missing",
          "unknown", "#n/a", "nd", "n.d."}  # fmt: skip
S = r"[ \t\n\u00a0\u2009\u202f]"
APART = "[ \u00a0\u2009\u202f'\u2019_]"  # thousands whatever else marks them
SYMBOL = (
    r"(?:(?:US|CA|AU|NZ|HK|A|C|R|S)?[$€£¥₹₩₽₺₫₪฿]|USD|EUR|GBP|CHF|JPY|CAD|AUD|CNY|INR|SEK|NOK|DKK|"
    r"PLN|CZK|HUF|BRL|MXN|ZAR|Fr\.|zł|Kč|kr\.?|Ft|lei)"
)
# Digits of any script, which `float` reads as well.
AMOUNT = re.compile(
    rf"""(?P<limit>[<>≤≥]=?)? {S}* (?P<minus>[-\u2212(])? \+? {S}*
    (?P<before>{SYMBOL})? {S}* (?P<inner>[-\u2212])? \+?
    (?P<body>\d{{1,3}} (?:{APART}\d{{3}})+ (?:[.,]\d*)? | [\d.,]*\d[\d.,]* (?:[eE][+-]?\d+)?)
    (?P<late>-)? {S}* (?:(?P<after>{SYMBOL}) | (?P<percent>%) | (?P<unit>[A-Za-zµ°²³/]{{1,8}}))? \)?""",
    re.VERBOSE,
)
# By threes, or by twos before the last three as in India.
GROUPED = {mark: rf"[1-9]\d{{0,2}}(?:[{mark}]\d{{2,3}})*[{mark}]\d{{3}}" for mark in ",."}
NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
TIMES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "G": 1e9, "T": 1e12}
CLOCK = re.compile(r"(?i)(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))? *(?:([ap])\.?m\.?)?")
ELSEWHERE = str.maketrans("\u066b\u066c\uff0e\uff0c\uff05", ".,.,%")  # of Arabic, and full width
MANY = 10  # numbers in three decimals from which another reading of them is told
SHOWN = 3
SOME = 10  # different numbers beside which a few other texts are no labels
LABELS, ROWS_A_LABEL = 50, 10  # texts that are labels, numbers or not: so few, of so many rows
GLANCE = 200  # texts of which some are numbers, or the column is none


class Reading(NamedTuple):
    """How a column was read: its kind, its marks, its missing texts, its first date, its unit."""

    kind: str = "as it is"
    decimal: str = "."
    thousands: str = ""
    na: tuple[str, ...] = ()
    origin: str = ""
    unit: str = ""
    day_first: bool = False


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
    return gone | (_plainly(texts).isin(numbers.dropna()) if numbers.notna().any() else False)


def reading_of(levels: Any, rows: int, mark: str, asked: Asked) -> Reading | None:
    """The marks under which a column's different texts are numbers, missing ones apart; or None.

    A few texts that are none, beside many numbers that do not repeat like labels, are missing.
    """
    absent = is_absent(levels, asked.na)
    texts, gone = levels[~absent], levels[absent].tolist()
    glance = texts.iloc[:: -(-len(texts) // GLANCE) or 1].tolist()
    if glance and all(map(CLOCK.fullmatch, glance)) and all(map(CLOCK.fullmatch, texts)):
        return Reading("time of a clock", na=tuple(sorted(gone)))
    if not any(map(_amount, glance)):
        return None
    plain = _plainly(texts).notna().to_numpy()
    others = {text: _amount(text) for text in texts[~plain]}
    read = {text: amount for text, amount in others.items() if amount}
    labels = len(levels) <= LABELS and rows >= ROWS_A_LABEL * len(levels)
    limits = sum(bool(amount["limit"]) for amount in read.values())
    if limits and (labels or len(texts) - limits < SOME):
        return None
    units = {amount["unit"] or "" for amount in read.values()} | ({""} if plain.any() else set())
    unit = units.pop() if len(units) == 1 else ""
    if not units <= set(TIMES):
        read = {text: amount for text, amount in read.items() if not amount["unit"]}
    odd = len(others) - len(read)
    few = odd <= 0.1 * len(texts) and len(texts) - odd >= SOME and not labels
    numbers = [*texts[plain].tolist(), *read]
    if (odd and not few) or not numbers or are_codes(numbers):
        return None
    if asked.decimal or asked.thousands:
        point = asked.decimal or ("," if asked.thousands == "." else ".")
        group = asked.thousands or ("," if point == "." else ".")
    else:
        bodies = [amount["body"] for amount in read.values()]
        point, group = _marks([*texts[plain].tolist(), *bodies], mark)
    money = any(amount["before"] or amount["after"] for amount in read.values())
    percent = {text for text, amount in read.items() if amount["percent"]}
    kind = "percentage" if percent else "money" if money else "number"
    absent = tuple(sorted([*gone, *(text for text in others if text not in read)]))
    reading = Reading(kind, point, group, absent, unit=unit)
    values = numbers_of(type(texts)(numbers), reading).abs()
    if values.isna().any():
        return None
    ended = np.array([text in percent for text in numbers])
    if ended.any() and not ended.all():  # 0.12 beside 12%, or 12 beside 12%
        shares = values[~ended].max() <= 1 < values[ended].max()
        return reading._replace(kind="share") if shares else reading
    return reading


def numbers_of(texts: Any, reading: Reading) -> Any:
    """The numbers that texts are under a reading, NaN for those that are none."""
    one = _hours if reading.kind == "time of a clock" else functools.partial(_value, reading)
    plain = reading.decimal == "." and one is not _hours
    values = _plainly(texts) if plain else type(texts)(np.nan, texts.index)
    odd = values.isna().to_numpy()
    values[odd] = [one(text) for text in texts[odd]]
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
    bare = there[~there.str.contains("[%\uff05]")] if reading.kind == "percentage" else there[:0]
    if len(bare):
        said.append(f"{name}: {bare.iloc[0]!r} has no %, and was read as so many percent too.")
    symbols = sorted(set(there.str.extract(f"({SYMBOL})")[0].dropna()))
    if reading.kind == "money" and len(symbols) > 1:
        listed = ", ".join(symbols[:SHOWN])
        said.append(f"{name}: amounts in {listed} were taken as they are, at no rate of exchange.")
    limits = there[there.str.match("[<>≤≥]")]
    if len(limits) and limits.iloc[0] != shown:
        said.append(f"{name}: {limits.iloc[0]!r} was read as its limit, {told(limits.iloc[0])}.")
    if reading.na:
        rows = count(reading.na)
        listed = ", ".join(map(repr, reading.na[:SHOWN]))
        said.append(f"{name}: {listed} was read as missing, {rows} row{'s' * (rows != 1)}.")
    return said


def _plainly(texts: Any) -> Any:
    """The numbers that are written as programs write them, NaN for other texts."""
    import pandas as pd

    found: Any = pd.to_numeric(texts.where(texts.str.match(NUMBER)), errors="coerce")
    return found.astype(float)


def _amount(text: str) -> re.Match | None:
    return AMOUNT.fullmatch(text.translate(ELSEWHERE))


def _hours(text: str) -> float:
    if (found := CLOCK.fullmatch(text)) is None:
        return np.nan
    hours, minutes, seconds, half = found.groups()
    day = float(hours) if half is None else int(hours) % 12 + 12 * (half.lower() == "p")
    return day + int(minutes) / 60 + float(seconds or 0) / 3600


def _value(reading: Reading, text: str) -> float:
    found = _amount(text)
    if found is None:
        return np.nan
    body, point, group = re.sub(APART, "", found["body"]), reading.decimal, reading.thousands
    if not _valid(point, group).fullmatch(body):
        return np.nan
    value = float(body.replace(group, "").replace(point, "."))
    minus = found["minus"] or found["inner"] or found["late"]
    factor = 1.0 if reading.unit else TIMES.get(found["unit"] or "", np.nan)
    factor /= 100 if reading.kind == "share" and found["percent"] else 1
    return (-value if minus else value) * factor


@functools.cache
def _valid(point: str, group: str) -> re.Pattern:
    whole = rf"(?:\d*|{GROUPED[group]})" if group in GROUPED else r"\d*"
    return re.compile(rf"{whole}(?:[{point}]\d*)?(?:[eE][+-]?\d+)?")


def _marks(cells: list[str], mark: str) -> tuple[str, str]:
    """The decimal mark and that of thousands, as the whole column has them."""
    has = {one: [cell for cell in cells if one in cell] for one in ",."}
    both = [cell for cell in has[","] if "." in cell]
    if both:
        return (",", ".") if all(c.rfind(",") > c.rfind(".") for c in both) else (".", ",")
    for one, other in ((",", "."), (".", ",")):
        if not has[one]:
            continue
        if any(cell.count(one) > 1 for cell in has[one]):
            return other, one
        # Three digits after each: by the marks of the place where such separators are used.
        if all(re.fullmatch(rf"[+-]?{GROUPED[one]}", cell) for cell in has[one]):
            abroad = mark == ";"
            return (other, one) if (one == ".") == abroad else (one, other)
        return one, other
    return ".", ","
