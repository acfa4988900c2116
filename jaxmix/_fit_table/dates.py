"""Dates and times as numbers, days since the first, whatever they were written as."""

import warnings
from typing import Any

import numpy as np

from .amounts import Reading

CLOCK = r"(?:[ T]\d{1,2}:\d{2}.*)?$"
DATE = r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}" + CLOCK
MONTH = r"^(?:1[5-9]|2[0-2])\d\d[-/](?:0[1-9]|1[0-2])$"
DAY_OR_MONTH = r"^(\d{1,2})([-/.])(\d{1,2})[-/.](?:\d{4}|\d{2})" + CLOCK
WORDED = (
    r"(?i:^(?:\d{1,2}[ .-]+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ .-]+"
    r"(?:\d{1,2},? )?\d{4})" + CLOCK
)
QUARTER = r"^(1[5-9]\d\d|2[0-2]\d\d)[- ]?[Qq]([1-4])$"
FORMS = (QUARTER, DATE, MONTH, DAY_OR_MONTH, WORDED)
FEW = 5  # numbers from which eight digits that are all dates are no accident


def are_dates(levels: Any) -> bool:
    """Whether different texts are dates, of any form."""
    return len(levels) >= 2 and levels.str.match("|".join(FORMS)).all()


def numbers_are_dates(column: Any) -> bool:
    """Whether whole numbers are dates such as 20240131."""
    x = column.dropna().to_numpy()
    x = x.astype(float) if x.dtype.kind == "f" else x  # half of one holds no such number
    if x.dtype.kind not in "iuf" or len(x) < FEW or not ((x >= 17000101) & (x < 22000101)).all():
        return False
    month, day = x // 100 % 100, x % 100
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (x == np.floor(x))
    return bool(valid.all()) and len(np.unique(x)) >= FEW


def day_first(levels: Any, mark: str) -> bool:
    """Whether 1/2/2024 is in February: by a number above 12, else by the marks of the place."""
    parts = levels.str.extract(DAY_OR_MONTH).dropna()
    if not len(parts) or (parts[0].astype(int) > 12).any():
        return len(parts) > 0
    return not (parts[2].astype(int) > 12).any() and (mark == ";" or parts[1].iloc[0] == ".")


def days(column: Any, origin: str = "", day_first: bool = False) -> tuple[Any, Reading]:
    """Days since the first date."""
    import pandas as pd

    options: dict[str, Any] = {}
    if column.dtype.kind in "iuf":
        column = column.astype("Int64").astype("string")
        options = {"format": "%Y%m%d"}
    elif column.dtype.kind != "M":
        texts = column.astype("string")
        if texts.str.contains("[Qq]").any():
            first_month = lambda found: f"{found[1]}-{3 * int(found[2]) - 2:02}"
            column = texts.str.replace(QUARTER, first_month, regex=True)
        options = {"format": "mixed", "dayfirst": day_first}
    with warnings.catch_warnings():  # of a day first where it may only be first
        warnings.simplefilter("ignore", UserWarning)
        times = pd.to_datetime(column, errors="coerce", utc=True, **options)
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    first = pd.Timestamp(origin) if origin else times.min()
    since = (times - first) / pd.Timedelta(days=1)
    return since.astype(float), Reading("date", origin=str(first), day_first=day_first)


def read(
    name: str, column: Any, before: list[str], day_first: bool = False
) -> tuple[Any, Reading, list[str]]:
    """As `days`, and what is to be said of them, after what has been said of the column."""
    since, reading = days(column, day_first=day_first)
    said = ", the day before the month" if reading.day_first else ""
    if column.dtype.kind not in "Miuf" and not said and column.str.match(DAY_OR_MONTH).any():
        late = column.str.match(r"^\d{1,2}[-/.](?:1[3-9]|[23]\d)[-/.]").any()
        said = f", the month before the day{'' if late else ', though either may be first'}"
    lines = [*before, f"{name}: dates{said}, read as days since {reading.origin}."]
    if reading.day_first and column.str.match(r"^\d{1,2}[-/.](?:1[3-9]|[23]\d)[-/.]").any():
        lines.append(f"{name}: some have the month first, since they can't have it second.")
    lost = column[column.notna() & since.isna()]
    if len(lost):
        lines.append(
            f"{name}: {lost.iloc[0]!r} is no date: missing, as {len(lost)} such values are."
        )
    return since, reading, lines


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
