"""Dates and times as numbers, days since the first, whatever they were written as."""

import re
import warnings
from typing import Any

import numpy as np

from .amounts import Reading

CLOCK = r"([ T]\d{1,2}:\d{2}.*)?$"
DATE = re.compile(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}" + CLOCK)
MONTH = re.compile(r"^(1[5-9]|2[0-2])\d\d[-/](0[1-9]|1[0-2])$")
DAY_OR_MONTH = re.compile(r"^(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})" + CLOCK)
WORDED = re.compile(
    r"^(\d{1,2}[ .-]+)?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ .-]+(\d{1,2},? )?"
    r"\d{4}" + CLOCK,
    re.I,
)
FORMS = (DATE, MONTH, DAY_OR_MONTH, WORDED)
FEW = 5  # numbers from which eight digits that are all dates are no accident


def are_dates(levels: list[str]) -> bool:
    return len(levels) >= 2 and any(all(form.match(v) for v in levels) for form in FORMS)


def numbers_are_dates(column: Any) -> bool:
    """Whether whole numbers are dates such as 20240131."""
    x = column.dropna().to_numpy()
    if x.dtype.kind not in "iuf" or len(x) < FEW or not ((x >= 17000101) & (x < 22000101)).all():
        return False
    month, day = x // 100 % 100, x % 100
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (x == np.floor(x))
    return bool(valid.all()) and len(np.unique(x)) >= FEW


def day_first(levels: list[str], mark: str) -> bool:
    """Whether 1/2/2024 is in February: by a number above 12, else by the marks of the place."""
    found = [one for v in levels if (one := DAY_OR_MONTH.match(v))]
    if any(int(one[1]) > 12 for one in found):
        return True
    return (
        bool(found)
        and not any(int(one[3]) > 12 for one in found)
        and (mark == ";" or found[0][2] == ".")
    )


def days(column: Any, origin: str = "", day_first: bool = False) -> tuple[Any, Reading]:
    """Days since the first date."""
    import pandas as pd

    options: dict[str, Any] = {}
    if column.dtype.kind in "iuf":
        column = column.astype("Int64").astype("string")
        options = {"format": "%Y%m%d"}
    elif column.dtype.kind != "M":
        options = {"format": "mixed", "dayfirst": day_first}
    with warnings.catch_warnings():  # of a day first where it may only be first
        warnings.simplefilter("ignore", UserWarning)
        times = pd.to_datetime(column, errors="coerce", utc=True, **options)
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    first = pd.Timestamp(origin) if origin else times.min()
    since = (times - first) / pd.Timedelta(days=1)
    return since.astype(float), Reading("date", origin=str(first), day_first=day_first)


def said_of(name: str, column: Any, since: Any, reading: Reading) -> list[str]:
    said = ", the day before the month" if reading.day_first else ""
    lines = [f"{name}: dates{said}, read as days since {reading.origin}."]
    lost = column[column.notna() & since.isna()]
    if len(lost):
        lines.append(f"{name}: {lost.iloc[0]!r} is no date, as {len(lost)} rows have: missing.")
    return lines


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
