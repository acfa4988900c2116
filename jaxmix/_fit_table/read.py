"""What the command line is given: files of every usual kind, and a range of numbers."""

import csv
import sys
import warnings
from collections.abc import Collection
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from .amounts import Reading
from .delimited import PACKED, read_text
from .texts import read_columns

TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
COLUMNAR = (".parquet", ".pq")
SHEETS = (".xlsx", ".xls", ".ods")
OTHERS = (".jsonl", ".ndjson", ".json", ".feather", ".arrow", *SHEETS)


class Table(NamedTuple):
    """A table of numbers and labels, how each column was read, and what is to be said of it."""

    name: str
    frame: Any
    readings: dict[str, Reading]
    notes: list[str]


def read_table(
    path: str | Path,
    *,
    na: Collection[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    readings: dict[str, Reading] | None = None,
) -> Table:
    """A file as a pandas table: text, Parquet (a folder, a pattern), JSON lines, Feather, Excel.

    Args:
        path: the file, a folder or a pattern of Parquet files, or `-` for standard input.
        na: texts that stand for a missing value in every column.
        decimal: the mark before decimals, where it is not told by the columns themselves.
        thousands: the mark between thousands.
        readings: how the columns of an earlier table were read, to read these alike.

    Raises:
        ValueError: for another kind of file, or one that can't be read as what it is called.
        OSError: for a file that is absent.
        ModuleNotFoundError: without the extra `tables`.
    """
    pd = _pandas()
    path, notes = Path(path), []
    name = "standard input" if str(path) == "-" else path.name
    mark = ","
    try:
        if str(path) == "-":
            frame, mark = read_text(sys.stdin.buffer.read(), notes)
        elif path.is_dir() or any(sign in str(path) for sign in "*?["):
            frame = _many(path)
        else:
            kind = _kind(path)
            if not path.is_file():
                raise FileNotFoundError(f"There is no file {path}.")
            if kind in TEXT:
                frame, mark = read_text(path, notes)
            elif kind in SHEETS:
                frame, mark = read_text(_sheet(pd, path, notes), notes)
            else:
                frame = _columnar(pd, path, kind)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        if str(error).startswith("TABLE must"):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        reason = reason.removeprefix("Error tokenizing data. C error: ")
        raise ValueError(
            f"{name} can't be read as {path.suffix[1:] or 'text'}: {reason}."
        ) from error
    except ImportError as missing:
        raise ModuleNotFoundError(f"{name}: {missing}") from missing
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows.")
    frame.columns = [str(column).strip() for column in frame.columns]
    twice = [column for column in frame.columns if list(frame.columns).count(column) > 1]
    if twice:
        raise ValueError(f"{name} has two columns called {twice[0]!r}.")
    frame, found, said = read_columns(frame, mark, set(na), decimal, thousands, readings)
    return Table(name, frame, found, notes + said)


def _pandas() -> Any:
    try:
        import pandas as pd
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Tables need pandas and pyarrow, which the extra `tables` installs: "
            "pip install 'jaxmix[tables]'."
        ) from missing
    return pd


def _kind(path: Path) -> str:
    """What a file's name says that it is; a packed one by the name inside its own."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        return suffixes[-2] if len(suffixes) > 1 and suffixes[-2] in (*TEXT, *OTHERS) else ".csv"
    if suffixes and suffixes[-1] in (*TEXT, *COLUMNAR, *OTHERS):
        return suffixes[-1]
    raise ValueError(
        f"TABLE must be a {', '.join((*TEXT, *COLUMNAR, *OTHERS))} file, a packed one "
        f"({', '.join(PACKED)}), a folder or a pattern of Parquet files, or -; it was {path.name}."
    )


def _many(path: Path) -> Any:
    """All Parquet files of a folder or a pattern, as one table."""
    import pyarrow.dataset

    if path.is_dir():
        files = sorted(str(file) for kind in COLUMNAR for file in path.rglob(f"*{kind}"))
    else:
        files = sorted(glob(str(path)))
    if not files:
        raise FileNotFoundError(f"There is no Parquet file at {path}.")
    return pyarrow.dataset.dataset(files, format="parquet").to_table().to_pandas()


def _columnar(pd: Any, path: Path, kind: str) -> Any:
    if kind in COLUMNAR:
        return pd.read_parquet(path)
    if kind in (".feather", ".arrow"):
        return pd.read_feather(path)
    with warnings.catch_warnings():  # a pandas to come leaves dates alone by itself
        warnings.simplefilter("ignore")
        return pd.read_json(path, lines=kind != ".json", convert_dates=False)


def _sheet(pd: Any, path: Path, notes: list[str]) -> bytes:
    """The first sheet as text, whose titles, units and second headers are looked for alike."""
    with pd.ExcelFile(path) as book:
        first, *others = book.sheet_names
        cells = pd.read_excel(book, sheet_name=first, header=None, dtype=object).dropna(how="all")
    if others:
        notes.append(f"The sheet {first!r} was read, and not {', '.join(map(repr, others))}.")
    line = lambda value: " ".join(value.split()) if isinstance(value, str) else value
    text = cells.map(line).to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC)
    return text.encode()


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
