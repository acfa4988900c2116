"""A table in text: its coding, its separator, its header, and the lines that are no rows."""

import codecs
import csv
import functools
import io
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from .amounts import ABSENT

PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")
BEGIN = 1 << 18  # bytes in which the separator is looked for
LOOKED_AT = 60  # lines of these
AT_ONCE = 4096  # lines
ODD = "jaxmix-odd-bytes"
WINDOWS = "Some characters are no UTF-8; they were read as cp1252."
COMMENT = re.compile(r"^\s*(#|//|%)")
MARKS = ",;\t| "
ONE_COLUMN = "\x1f"  # a mark that nobody writes
DECIMAL = re.compile(r"^\s*[+-]?\d*,\d+\s*$")
RULE = re.compile(r"\s*|\s*:?[-=]{2,}:?\s*")


class Header(NamedTuple):
    """Names of the columns, in how many rows, what is to be said; which column names the rows, if any."""

    names: list[str]
    rows: int = 1
    note: str = ""
    index: Any = None


class Opened(NamedTuple):
    """How a text is to be read: its lines, those that are no rows left empty, by which options."""

    lines: Callable[[], Iterator[str]]
    options: dict[str, Any]
    mark: str
    out: list[str]  # lines of comment; it grows while the text is read

    def read(self, rows: int) -> Iterator[Any]:
        """The table as texts, in pieces of so many rows."""
        import pandas as pd

        texts = {"dtype": str, "keep_default_na": False, "na_values": [""], "low_memory": False}
        with warnings.catch_warnings():  # of the empty ends of lines, which are left out
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            found: Any = pd.read_csv(Lines(self.lines()), chunksize=rows, **self.options, **texts)
            yield from found


class Lines(io.TextIOBase):
    """Lines as a file that pandas reads, which takes as many as it is given at once."""

    def __init__(self, lines: Iterator[str]):
        self._lines = lines

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> str:
        return "".join(f"{line}\n" for line in islice(self._lines, AT_ONCE))


def skipped_said(out: Sequence[str]) -> list[str]:
    lines = "line of comment was" if len(out) == 1 else "lines of comment were"
    return [f"{len(out)} {lines} skipped: {out[0][:60]!r}."] if out else []


def opened(source: Path | bytes, notes: list[str]) -> Opened:
    """How a text is to be read, from its beginning; `notes` grow by what is to be said."""
    with unpacked(source) as file:
        begin = file.read(BEGIN)
    coding = _coding(begin)
    if b"\0" in begin and not coding.startswith("utf-16"):
        raise ValueError("it is no text")
    if coding not in ("utf-8", "utf-8-sig"):
        notes.append(f"The text is no UTF-8; it was read as {coding}.")
    codecs.register_error(ODD, functools.partial(_in_windows, notes))
    lines = codecs.getincrementaldecoder(coding)(ODD).decode(begin).lstrip("\ufeff").splitlines()
    lines = (lines[:-1] if len(begin) == BEGIN else lines)[:LOOKED_AT]
    mark, width = separator(lines)
    skipped, commented = preamble(lines, mark, width)
    before = [line for line in lines[:skipped] if line.strip() and line[:4].lower() != "sep="]
    head = before.pop() if commented else None
    # Where most lines begin with #, that is data.
    marked = sum(line.startswith("#") for line in lines[skipped:]) > (len(lines) - skipped) / 2
    clean = functools.partial(rows_only, mark=mark, width=width, marked=marked, begun=bool(before))
    spaces = mark == " "  # aligned by as many as it takes
    table = (f"{line}\n" for line in clean(lines[skipped:], []))
    reader = csv.reader(table, delimiter=mark, skipinitialspace=spaces)
    rows = [(row, reader.line_num) for row in reader if row]
    header = header_of([row for row, _ in rows], head, mark)
    notes += [header.note] if header.note else []
    first = skipped + (rows[header.rows - 1][1] if rows and header.rows else 0)
    out = list(before)

    def body() -> Iterator[str]:
        out[:] = before
        every = lines_of(source, coding)
        yield from ("" for _ in islice(every, first))  # so that errors have the file's own numbers
        yield from clean(every, out)

    options = {"names": header.names, "header": None, "index_col": header.index}
    options |= {"sep": mark, "skipinitialspace": spaces}
    return Opened(body, options, mark, out)


def separator(lines: Sequence[str]) -> tuple[str, int]:
    """The mark that cuts the lines alike, quotes respected, and into how many cells."""
    if lines and (told := re.fullmatch(r"sep=(.)", lines[0].strip().lower())):
        return told[1], max(_cells(line, told[1]) for line in lines[1:] or [""])
    return _alike(lines, titled=False) or _alike(lines, titled=True) or (ONE_COLUMN, 1)


def _alike(lines: Sequence[str], titled: bool) -> tuple[str, int] | None:
    """The mark that cuts the lines alike, or those below a title that has no mark in it."""
    best, found = (0.0, 0), None
    for mark in MARKS[:-1] if titled else MARKS:
        # Quotes may hold ends of lines: cells are counted by the row, not by the line.
        every = csv.reader(map("{}\n".format, lines), delimiter=mark, skipinitialspace=mark == " ")
        rows = [row for row in every if any(row)]
        rows = [row for row in rows if not COMMENT.match(row[0])] or rows
        joined = [mark.join(row) for row in rows]
        if titled and (not rows or re.search(r"[,;\t|]", joined[0])):
            continue
        if mark == "," and titled and all(map(DECIMAL.match, joined[1:])):
            continue  # one column of numbers with commas before decimals
        widths = list(map(len, rows))
        body = widths[1:] or widths
        usual = max(set(body), key=body.count) if body else 1
        # A header is as long as the lines, or lacks the name of the rows' names.
        first = usual if titled else widths[0] if widths else 0
        if usual < 2 or not (first == usual or first == usual - 1 >= 2):
            continue
        score = (body.count(usual) / len(body), usual if mark != " " else 1)
        if score > best:
            best, found = score, (mark, usual)
    return found


def preamble(lines: Sequence[str], mark: str, width: int) -> tuple[int, bool]:
    """How many lines come before the header, and whether the header itself is a comment."""
    skipped, last = 0, None
    while skipped < len(lines):
        line = lines[skipped]
        if line.count('"') % 2:  # a name of several lines
            break
        short = 1 == _cells(line, mark) < width
        comment = bool(COMMENT.match(line)) and (
            line.lstrip().startswith("#") or short or width == 1
        )
        title = short and any(_cells(one, mark) == width for one in lines[skipped + 1 :])
        if line.strip() and not comment and not title and not line.lower().startswith("sep="):
            break
        last = line if comment else last if not line.strip() else None
        skipped += 1
    if last is None or skipped == len(lines):
        return skipped, False
    # `# a,b` over numbers alone is what NumPy writes for a header.
    names = next(csv.reader([COMMENT.sub("", last)], delimiter=mark))
    below = next(csv.reader([lines[skipped]], delimiter=mark))
    named = len(names) == len(below) and all(re.search(r"[^\W\d]", name) for name in names)
    return skipped, named and width > 1 and all(map(_number, below))


def rows_only(
    lines: Iterable[str], out: list[str], *, mark: str, width: int, marked: bool, begun: bool
) -> Iterator[str]:
    """The lines, empty where they are comments, and without a last line that is no row: `out`.

    Where the file has `begun` with comments, all lines with a # are; none where it is `marked` so
    all along.
    """
    short: list[str] = []  # a line without a mark, and empty ones after it: the last, or a row
    quoted = False  # a cell goes on from the line before
    for number, line in enumerate(lines):
        inside = quoted
        if inside or line.startswith('"') or f'{mark}"' in line:
            quoted ^= line.count('"') % 2 == 1
        if line.startswith("#") and not (marked or inside) and (
            begun or _cells(line, mark) != width or re.match(r"#\s", line)
        ):  # fmt: skip
            out.append(line)
            line = ""
        if short and line.strip():
            yield from short
            short = []
        # A row cut short is none either.
        if short or (width > 2 and number and not inside and line.strip() and mark not in line):
            short.append(line)
        else:
            yield line
    out += [line for line in short if line.strip()]


def header_of(rows: list[list[str]], head: str | None, mark: str) -> Header:
    """What the first rows say of the columns' names; `head` is a comment that has them."""
    if head is not None:
        names = next(csv.reader([head.lstrip("#%/ ")], delimiter=mark))
        note = f"The names of the columns are those of {head[:60]!r}."
        return Header(_distinct(names), 0, note)
    if not rows:
        return Header(["column 1"])
    first, body = rows[0], rows[1:]
    plain = Header(_distinct(first))
    if not body:
        return plain
    if all(len(row) == len(first) + 1 for row in body):
        if all(not row[-1] for row in body):
            return plain._replace(index=False)
        note = "The first column has no name: it was taken for names of the rows."
        return Header(_distinct(["names", *first]), 1, note, 0)
    if all(map(RULE.fullmatch, body[0])) and any(body[0]):
        return plain._replace(rows=2, note="The line below the header is a rule: it was skipped.")
    if _is_row(first, body):
        note = "The first line has numbers as the others have: there is no header, and the columns "
        return Header(_distinct([""] * len(first)), 0, note + "are named by their places.")
    if len(body) > 4 and _is_header(body[0], body[1:]):
        cells = [cell.strip() for cell in body[0]]
        note = f"The second line was read as part of the header: {', '.join(cells)[:60]!r}."
        names = [name.strip() for name in first]
        if not any(names[1:]):  # a title
            names = [""] * len(names)
        for i in range(1, len(names)):  # a name over several columns stands over the first of them
            names[i] = names[i] or (names[i - 1] if cells[i] else "")
        joined = [" ".join(filter(None, pair)) for pair in zip(names, cells, strict=True)]
        single = len(set(names)) == len(names) or len(set(joined)) < len(joined)
        return Header(_distinct(first if single else joined), 2, note)
    twice = next((name for name in first if name.strip() and first.count(name) > 1), None)
    if twice is not None:
        note = f"Several columns are called {twice!r}: here they are {twice!r}, '{twice}.1', ..."
        return plain._replace(note=note)
    return plain


def _distinct(names: Iterable[str]) -> list[str]:
    """Names of columns, those of their places where there are none, each another."""
    names = [name.strip() or f"column {i}" for i, name in enumerate(names, 1)]
    seen, out = Counter(), []
    for name in names:
        new = name
        while new in out or (new != name and new in names):
            seen[name] += 1
            new = f"{name}.{seen[name]}"
        out.append(new)
    return out


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
    try:
        return not cell.strip() or float(cell) == float(cell)
    except ValueError:
        return False


def _cells(line: str, mark: str) -> int:
    return len(next(csv.reader([line], delimiter=mark), []))


@contextmanager
def unpacked(source: Path | bytes) -> Iterator[Any]:
    """The bytes of a file, of what is in it where it is packed."""
    from pandas.io.common import get_handle

    if isinstance(source, Path) and source.suffix.lower() == ".zip":
        with zipfile.ZipFile(source) as packed:  # a Macintosh packs hidden files along with it
            names = [
                name for name in packed.namelist() if not re.search(r"/$|(^|/)(\.|__MAC)", name)
            ]
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} files, and one is read: {names[:3]}")
            with packed.open(names[0]) as file:
                yield file
        return
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with get_handle(file, "rb", compression="infer", is_text=False) as handles:
        yield handles.handle


def lines_of(source: Path | bytes, coding: str) -> Iterator[str]:
    """All lines of a text, one after another."""
    with unpacked(source) as raw, io.TextIOWrapper(raw, coding, ODD) as text:
        for number, line in enumerate(text):
            yield (line if number else line.lstrip("\ufeff")).rstrip("\n")


def _coding(begin: bytes) -> str:
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for end, coding in ((1, "utf-16-le"), (0, "utf-16-be")):  # every other byte of ASCII is 0
        if len(begin) > 8 and begin[end::2].count(0) > 0.9 * len(begin[end::2]):
            return coding
    return "utf-8-sig" if begin.startswith(b"\xef\xbb\xbf") else "utf-8"


def _in_windows(notes: list[str], error: UnicodeError) -> tuple[str, int]:
    """What is no character of the coding, as Windows has it; that is told."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    if WINDOWS not in notes:
        notes.append(WINDOWS)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end
