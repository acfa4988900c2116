"""The lines of a text that are the table's own: titles, comments and totals around it are told."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

COMMENT = re.compile(r"^\s*(#|//|%)")
MARKS = ",;\t| "
ONE_COLUMN = "\x1f"  # a mark that nobody writes
LOOKED_AT = 60  # lines from which the separator is told
CHUNK = 1 << 24
AT_ONCE = 4096  # lines
DECIMAL = re.compile(r"^\s*[+-]?\d*,\d+\s*$")
NAMED = re.compile(r"[^\W\d]")


def separator(lines: Sequence[str]) -> tuple[str, int]:
    """The mark that cuts the lines alike, quotes respected, and into how many cells."""
    if lines and (told := re.fullmatch(r"sep=(.)", lines[0].strip().lower())):
        return told[1], max(_cells(line, told[1]) for line in lines[1:] or [""])
    lines = [line for line in lines if line.strip() and not COMMENT.match(line)] or list(lines)
    return _alike(lines, titled=False) or _alike(lines, titled=True) or (ONE_COLUMN, 1)


def _alike(lines: Sequence[str], titled: bool) -> tuple[str, int] | None:
    """The mark that cuts the lines alike, or those below a title that has no mark in it."""
    best, found = (0.0, 0), None
    if titled and re.search(r"[,;\t|]", lines[0] if lines else ","):
        return None
    for mark in MARKS[:-1] if titled else MARKS:
        # Quotes may hold ends of lines: cells are counted by the row, not by the line.
        if mark == "," and titled and all(DECIMAL.match(line) for line in lines[1:] if line):
            continue  # one column of numbers with commas before decimals
        rows = csv.reader(lines, delimiter=mark, skipinitialspace=mark == " ")
        widths = [len(row) for row in rows if row]
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
    numbers = all(is_number(cell) for cell in below)
    header = numbers and len(names) == len(below) and all(map(NAMED.search, names)) and width > 1
    return skipped, header


def rows_only(
    lines: Iterable[str], out: list[str], mark: str, width: int, begun: bool
) -> Iterator[str]:
    """The lines that are rows, header first; to `out` go comments, and a last line that is no row.

    Where the file has `begun` with comments, all lines with a # are.
    """
    short: list[str] = []  # a line without a mark, and empty ones after it: the last, or a row
    for number, line in enumerate(lines):
        if line.startswith("#") and (
            begun or _cells(line, mark) != width or re.match(r"#\s", line)
        ):
            out.append(line)
            continue
        if short and line.strip():
            yield from short
            short = []
        # A row cut short is none either, but the end of a quoted text is.
        if short or (width > 2 and number > 1 and line.strip() and not {mark, '"'} & set(line)):
            short.append(line)
        else:
            yield line
    out += [line for line in short if line.strip()]


def lines_of(source: Path | bytes, coding: str, errors: str) -> Iterator[str]:
    """All lines of a text, one after another."""
    raw = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    with io.TextIOWrapper(raw, coding, errors) as text:
        for number, line in enumerate(text):
            yield (line if number else line.lstrip("\ufeff")).rstrip("\n")


class Lines(io.TextIOBase):
    """Lines as a file that pandas reads, which takes as many as it is given at once."""

    def __init__(self, lines: Iterable[str]):
        self._lines = iter(lines)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> str:
        return "".join(f"{line}\n" for line in islice(self._lines, AT_ONCE))


def has_comments(source: Path, coding: str) -> bool:
    """Whether a line of a file begins with #, or its last has no mark in it: read in pieces."""
    end = b""
    with source.open("rb") as file:
        while piece := file.read(CHUNK):
            if b"\n#" in end + piece:
                return True
            end = (end + piece)[-4096:]
    lines = [line for line in end.decode(coding, "ignore").splitlines() if line.strip()]
    return bool(lines) and not re.search(r"[,;\t|]", lines[-1])


def _cells(line: str, mark: str) -> int:
    return len(next(csv.reader([line], delimiter=mark), []))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
