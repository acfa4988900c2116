"""What the command line is given: a file, and a range of numbers."""

import re
from pathlib import Path
from typing import Any

ABSENT = {"", "?", "-", "--", ".", "na", "n/a", "n.a.", "none", "null", "missing", "unknown"}


def read_table(path: Path) -> Any:
    """A CSV or Parquet file as a pandas table.

    The separator of a CSV is whichever of `,`, `;`, tab and `|` is commonest in its first line;
    after another than `,` numbers may have decimal commas. In a column of numbers what is spelled
    as in `ABSENT` is missing.

    Raises:
        ValueError: for another kind of file, or one that can't be read as what it is called.
        OSError: for a file that is absent.
        ModuleNotFoundError: without the extra `tables`.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ValueError(f"TABLE must be a .csv or a .parquet file; it was {path.name}.")
    try:
        import pandas as pd
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Tables need pandas and pyarrow, which the extra `tables` installs: "
            "pip install 'jaxmix[tables]'."
        ) from missing
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        frame = _read_csv(pd, path) if kind == ".csv" else pd.read_parquet(path)
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path.name} can't be read as {kind[1:]}: {reason}.") from error
    if len(frame) == 0:
        raise ValueError(f"{path.name} has no rows.")
    return frame


def _read_csv(pd: Any, path: Path) -> Any:
    with path.open("rb") as file:
        begin = file.read(1 << 16)
    first, _, rest = begin.partition(b"\n")
    if b"\0" in begin:
        raise ValueError("it is no text")
    counts = {mark: first.count(mark.encode()) for mark in ",;\t|"}
    mark = max(counts, key=lambda mark: counts[mark])
    commas = mark != "," and re.search(rb"\d,\d", rest) and not re.search(rb"\d\.\d", rest)
    try:
        frame = pd.read_csv(path, sep=mark, decimal="," if commas else ".", low_memory=False)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text ({error.reason}); save it as UTF-8") from error
    for name in frame.columns:
        if frame[name].dtype.kind == "O":
            frame[name] = _numbers(pd, frame[name])
    return frame


def _numbers(pd: Any, column: Any) -> Any:
    """A column whose texts are numbers or ways to say that one is missing, as numbers."""
    there = column.dropna()
    if there.empty or not all(isinstance(value, str) for value in there.iloc[:100]):
        return column
    levels = there.unique()
    kept = [level for level in levels if str(level).strip().lower() not in ABSENT]
    if not kept or len(kept) == len(levels):
        return column
    try:
        pd.to_numeric(pd.Series(kept))
    except (ValueError, TypeError):
        return column
    return pd.to_numeric(column, errors="coerce")


def components_of(text: str) -> range:
    """The numbers of components that `A:B` names, both ends included; `A` is that one alone.

    Raises:
        ValueError: for anything else.

    Example:
        >>> list(components_of("2:4"))
        [2, 3, 4]
    """
    first, _, last = text.partition(":")
    try:
        numbers = range(int(first), int(last or first) + 1)
    except ValueError:
        numbers = range(0)
    if not numbers or numbers[0] < 1:
        raise ValueError(f"--components must be A:B with 1 <= A <= B; it was {text!r}.")
    return numbers
