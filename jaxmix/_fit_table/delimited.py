"""A table in text: its coding, its separator, its header, and what around it is no row."""

import codecs
import csv
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from .amounts import ABSENT
from .lines import (
    LOOKED_AT,
    Lines,
    has_comments,
    is_number,
    lines_of,
    preamble,
    rows_only,
    separator,
)

PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")
BEGIN = 1 << 18  # bytes in which the separator is looked for
ODD = "jaxmix-odd-bytes"
WINDOWS = "Some characters are no UTF-8; they were read as cp1252."
RULE = re.compile(r"\s*|\s*:?[-=]{2,}:?\s*")


class Header(NamedTuple):
    """Options for pandas, lines to skip below the header, and what is to be said."""

    options: dict[str, Any]
    below: int = 0
    note: str = ""


class Opened(NamedTuple):
    """How a text is to be read: from what, by which options of pandas, cells of how many columns."""

    source: Callable[[], Any]
    options: dict[str, Any]
    mark: str
    width: int
    out: list[str]  # lines that are no rows; it grows while the text is read

    def read(self, **options: Any) -> Any:
        """The table as texts, or with `chunksize` an iterator over pieces of it."""
        import pandas as pd

        options |= {"dtype": str, "keep_default_na": False, "na_values": [""], "low_memory": False}
        with warnings.catch_warnings():  # of the empty ends of lines, which are left out
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            return pd.read_csv(self.source(), **self.options, **options)


def skipped_said(out: list[str]) -> list[str]:
    lines = "line of comment was" if len(out) == 1 else "lines of comment were"
    return [f"{len(out)} {lines} skipped: {out[0][:60]!r}."] if out else []


def opened(source: Path | bytes, notes: list[str]) -> Opened:
    """How a text is to be read, from its beginning; `notes` grow by what is to be said."""
    packed = isinstance(source, Path) and source.suffix.lower() in PACKED
    begin = _begin(source)
    coding = _coding(begin)
    if coding not in ("utf-8", "utf-8-sig"):
        notes.append(f"The text is no UTF-8; it was read as {coding}.")
    codecs.register_error(ODD, functools.partial(_in_windows, notes))
    whole_lines = begin[: begin.rfind(b"\n") + 1] if len(begin) == BEGIN else begin
    lines = whole_lines.decode(coding, ODD).lstrip("\ufeff").splitlines()
    mark, width = separator(lines[:LOOKED_AT])
    skipped, commented = preamble(lines[:LOOKED_AT], mark, width)
    out = [line for line in lines[:skipped] if line.strip() and line[:4].lower() != "sep="]
    head = out.pop() if commented else None
    table, first = lines[skipped:], skipped
    whole: Callable[[], Any] = lambda: source if isinstance(source, Path) else io.BytesIO(source)
    own = functools.partial(rows_only, mark=mark, width=width, begun=bool(out))
    # Where most lines begin with #, that is data.
    few_marked = sum(line.startswith("#") for line in table) <= len(table) / 2
    if not packed and few_marked and (isinstance(source, bytes) or has_comments(source, coding)):
        before, first, table = list(out), 0, list(own(table, []))

        def rows_alone():
            out[:] = before
            return Lines(own(islice(lines_of(source, coding, ODD), skipped, None), out))

        whole = rows_alone

    spaces = mark == " "  # aligned by as many as it takes
    rows = csv.reader(table[:LOOKED_AT], delimiter=mark, skipinitialspace=spaces)
    options, below, note = header_of([row for row in rows if row], head, mark)
    notes += [note] if note else []
    options |= {"sep": mark, "skipinitialspace": spaces}
    options["skiprows"] = [*range(first), *range(first + 1, first + 1 + below)]
    options |= {"encoding": coding, "encoding_errors": ODD}
    return Opened(whole, options, mark, width, out)


def header_of(rows: list[list[str]], head: str | None, mark: str) -> Header:
    """What the cells of the first lines say of the columns' names; `head` is a comment that has them."""
    if head is not None:
        names = [name.strip() for name in next(csv.reader([head.lstrip("#%/ ")], delimiter=mark))]
        note = f"The names of the columns are those of {head[:60]!r}."
        return Header({"names": names, "header": None}, 0, note)
    if len(rows) < 2:
        return Header({})
    first, body = rows[0], rows[1:]
    if all(len(row) == len(first) + 1 for row in body):
        if all(not row[-1] for row in body):
            return Header({"index_col": False})
        note = "The first column has no name: it was taken for names of the rows."
        return Header({"index_col": 0}, 0, note)
    if all(map(RULE.fullmatch, body[0])) and any(body[0]):
        return Header({}, 1, "The line below the header is a rule: it was skipped.")
    if _is_row(first, body):
        names = [f"column {i + 1}" for i in range(len(first))]
        note = "The first line has numbers as the others have: there is no header, and the columns "
        return Header({"names": names, "header": None}, 0, note + "are named by their places.")
    if len(body) > 4 and _is_header(body[0], body[1:]):
        cells = [cell.strip() for cell in body[0]]
        note = f"The second line was read as part of the header: {', '.join(cells)[:60]!r}."
        names = [name.strip() for name in first]
        if not any(names[1:]):  # a title
            names = [""] * len(names)
        for i in range(1, len(names)):  # a name over several columns stands over the first of them
            names[i] = names[i] or (names[i - 1] if cells[i] else "")
        joined = [
            " ".join(filter(None, pair)) or f"column {i + 1}"
            for i, pair in enumerate(zip(names, cells, strict=True))
        ]
        if len(set(names)) < len(names) == len(set(joined)):
            return Header({"names": joined, "header": 0}, 1, note)
        return Header({}, 1, note)
    twice = next((name for name in first if name.strip() and first.count(name) > 1), None)
    if twice is not None:
        note = f"Several columns are called {twice!r}: here they are {twice!r}, '{twice}.1', ..."
        return Header({}, 0, note)
    return Header({})


def _is_row(first: list[str], body: list[list[str]]) -> bool:
    """Whether a first line is one of the numbers: it has some, and no rising whole ones as names."""
    cells = _over_numbers(first, body)
    if not cells or not all(cell.strip() and _number(cell) for cell in cells):
        return False
    values = list(map(float, cells))
    whole = all(value == int(value) for value in values if abs(value) < 1e15)
    rising = all(b > a for a, b in pairwise(values))
    return not whole or not (rising or len(values) == 1)


def _is_header(second: list[str], body: list[list[str]]) -> bool:
    """Whether a second line names units or parts of what numbers stand below."""
    cells = [cell.strip() for cell in _over_numbers(second, body)]
    named = [cell for cell in cells if cell.lower() not in ABSENT]
    return bool(named) and not any(map(_number, named))


def _over_numbers(cells: list[str], body: list[list[str]]) -> list[str]:
    """Those of a line's cells below which all are numbers; none where lines differ in length."""
    if any(len(row) != len(cells) for row in body):
        return []
    return [cell for i, cell in enumerate(cells) if all(_number(row[i]) for row in body)]


def _number(cell: str) -> bool:
    """A number, or nothing at all."""
    return not cell.strip() or (is_number(cell) and "nan" not in cell.lower())


def _begin(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        begin = source[:BEGIN]
    else:
        with unpacked(source) as file:
            begin = file.read(BEGIN)
    if b"\0" in begin and not _coding(begin).startswith("utf-16"):
        raise ValueError("it is no text")
    return begin


@contextmanager
def unpacked(path: Path) -> Iterator[Any]:
    """The bytes of a file, of what is in it where it is packed."""
    from pandas.io.common import get_handle

    handles: Any = get_handle(str(path), "rb", compression="infer", is_text=False)
    with handles:
        yield handles.handle


def _coding(begin: bytes) -> str:
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for end, coding in ((1, "utf-16-le"), (0, "utf-16-be")):  # every other byte of ASCII is 0
        if len(begin) > 8 and begin[end::2].count(0) > 0.9 * len(begin[end::2]):
            return coding
    for end in range(4):  # a character may be cut at the end
        try:
            begin[: len(begin) - end].decode("utf-8")
            return "utf-8-sig" if begin.startswith(b"\xef\xbb\xbf") else "utf-8"
        except UnicodeDecodeError:
            continue
    return "utf-8"


def _in_windows(notes: list[str], error: UnicodeError) -> tuple[str, int]:
    """What is no character of the coding, as Windows has it; that is told."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    if WINDOWS not in notes:
        notes.append(WINDOWS)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end
