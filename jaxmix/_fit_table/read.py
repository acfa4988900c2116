"""What the command line is given: files of every usual kind, and a range of numbers."""

import csv
import io
import sys
from collections.abc import Collection
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from .lines import LOOKED_AT, has_comments, preamble, separator, within
from .texts import Reading, are_codes, read_columns

TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")
COLUMNAR = (".parquet", ".pq")
OTHERS = (".jsonl", ".ndjson", ".json", ".feather", ".arrow", ".xlsx", ".xls", ".ods")
BEGIN = 1 << 18  # bytes in which the separator is looked for


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
            frame, mark = _text(pd, sys.stdin.buffer.read(), notes)
        elif path.is_dir() or any(sign in str(path) for sign in "*?["):
            frame = _many(path)
        else:
            kind = _kind(path)
            if not path.is_file():
                raise FileNotFoundError(f"There is no file {path}.")
            if kind in TEXT:
                frame, mark = _text(pd, path, notes)
            else:
                frame = _columnar(pd, path, kind)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        if str(error).startswith("TABLE must"):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{name} can't be read as {path.suffix[1:] or 'text'}: {reason}."
        ) from error
    except ImportError as missing:
        raise ModuleNotFoundError(f"{name}: {missing}") from missing
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows.")
    frame.columns = [str(column) for column in frame.columns]
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
    if kind in (".jsonl", ".ndjson"):
        return pd.read_json(path, lines=True, convert_dates=False)
    return pd.read_json(path, convert_dates=False) if kind == ".json" else pd.read_excel(path)


def _text(pd: Any, source: Path | bytes, notes: list[str]) -> tuple[Any, str]:
    """A table in text: comments are skipped, the separator is that of like lines, told in notes."""
    whole: Any = source if isinstance(source, Path) else io.BytesIO(source)
    if isinstance(source, Path) and source.suffix.lower() in PACKED:
        from pandas.io.common import get_handle

        opened: Any = get_handle(str(source), "rb", compression="infer", is_text=False)
        with opened as handle:
            begin = handle.handle.read(BEGIN)
    elif isinstance(source, Path):
        with source.open("rb") as file:
            begin = file.read(BEGIN)
    else:
        begin = source[:BEGIN]
    if b"\0" in begin and not begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is no text")
    coding = _coding(begin)
    if coding not in ("utf-8", "utf-8-sig"):
        notes.append(f"The text is no UTF-8; it was read as {coding}.")
    lines = begin.decode(coding, "ignore").splitlines()
    if len(begin) == BEGIN:
        lines = lines[:-1]
    mark, width = separator(lines[:LOOKED_AT])
    skipped, commented = preamble(lines[:LOOKED_AT], mark, width)
    before = [line for line in lines[:skipped] if line.strip() and line[:4].lower() != "sep="]
    table = lines[skipped:]
    names: Any = None
    if commented:
        head = before.pop()
        names = [name.strip() for name in next(csv.reader([head.lstrip("#%/ ")], delimiter=mark))]
        notes.append(f"The names of the columns are those of {head[:60]!r}.")
    packed = isinstance(source, Path) and source.suffix.lower() in PACKED
    if not packed and (isinstance(source, bytes) or has_comments(source, coding)):
        text = (source if isinstance(source, bytes) else source.read_bytes()).decode(coding)
        whole_lines = text.lstrip("\ufeff").splitlines()[skipped:]
        out = set(within(whole_lines, mark, width, bool(before)))
        before += [whole_lines[i] for i in sorted(out)]
        if out:
            table = [line for i, line in enumerate(whole_lines) if i not in out]
            whole, skipped, coding = io.StringIO("\n".join(table)), 0, "utf-8"
    if before:
        lines_of = "line of comment was" if len(before) == 1 else "lines of comment were"
        notes.append(f"{len(before)} {lines_of} skipped: {before[0][:60]!r}.")
    rows = [row for row in csv.reader(table[:LOOKED_AT], delimiter=mark) if row]
    longer = len(rows) > 1 and all(len(row) == len(rows[0]) + 1 for row in rows[1:])
    trailing = longer and all(not row[-1] for row in rows[1:])
    options: dict[str, Any] = {"index_col": False} if trailing else {}
    if names:
        options = {"names": names, "header": None}
    if longer and not trailing:
        options = {"index_col": 0}
        notes.append("The first column has no name: it was taken for names of the rows.")
    # A number in three decimals may be one of thousands, and one with leading zeros a code: the
    # text tells.
    few = pd.read_csv(
        io.StringIO("\n".join(table)), sep=mark, dtype=str, keep_default_na=False,
        on_bad_lines="skip", **options,
    )  # fmt: skip
    texts = {str(column): few[column].tolist() for column in few.columns}
    codes = {column: str for column in few.columns if are_codes(texts[str(column)])}
    frame = pd.read_csv(
        whole, sep=mark, skiprows=skipped, keep_default_na=False, na_values=[""],
        low_memory=False, encoding=coding, skip_blank_lines=True, dtype=codes, **options,
    )  # fmt: skip
    frame.attrs["texts"] = texts
    return frame, mark


def _coding(begin: bytes) -> str:
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for end in range(4):  # a character may be cut at the end
        try:
            begin[: len(begin) - end].decode("utf-8")
            return "utf-8-sig" if begin.startswith(b"\xef\xbb\xbf") else "utf-8"
        except UnicodeDecodeError:
            continue
    return "cp1252"


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
