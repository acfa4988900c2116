"""Files of every usual kind as tables of numbers and labels."""

import gzip
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from .._lazy import imported
from .amounts import Reading
from .asked import Asked
from .choose import MANY_ROWS
from .dates import with_parts
from .delimited import PACKED, skipped_said
from .long import Drawn, drawn, is_long
from .pieces import COLUMNAR, LINES, SHEETS, pieces_of
from .texts import read_columns
from .work import at_work

BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile)
TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
PARQUET = (".parquet", ".pq")
NOTHING = Asked()
KINDS = (*TEXT, *COLUMNAR, *LINES, ".json", *SHEETS)


class Table(NamedTuple):
    """A table of numbers and labels, how each column was read, and what is to be said of it.

    Of a long table `frame` is of some rows, of which `long` tells, and `pieces` gives all of them.
    """

    name: str
    frame: Any
    readings: dict[str, Reading]
    notes: list[str]
    long: Drawn | None = None
    pieces: Callable[[], Iterator[Any]] = lambda: iter(())

    @property
    def rows(self) -> int:
        return len(self.frame) if self.long is None else self.long.rows


def read_table(
    path: str | Path,
    asked: Asked = NOTHING,
    readings: dict[str, Reading] | None = None,
) -> Table:
    """A file as a pandas table: text, Parquet (a folder, a pattern), JSON lines, Feather, Excel."""
    pd = imported("pandas", "tables", "Tables need pandas and pyarrow")
    path, notes, long = Path(path), [], None
    name = "standard input" if str(path) == "-" else path.absolute().name
    files = [] if str(path) == "-" else _files(path)
    kind = _kind(files[0]) if files else ""
    sentences = lambda: _sentences(name, files[0].suffix[1:] if files else "text", pd)
    with sentences():
        found = pieces_of(files, kind, notes)
        if kind and kind not in (".json", *SHEETS) and is_long(files, asked.memory):
            print(
                f"{name} is read in pieces: it may need more memory than it is given.", flush=True
            )
            long = drawn(map(_named, found.read()), MANY_ROWS, asked.seed)
            frame = long.frame
        else:
            at_work(f"Reading {name}")
            every = list(map(_named, found.read()))
            frame = every[0] if len(every) == 1 else pd.concat(every, ignore_index=True)
        notes += skipped_said(found.out)
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows.")
    twice = [column for column in frame.columns if list(frame.columns).count(column) > 1]
    if twice:
        raise ValueError(f"{name} has two columns called {twice[0]!r}.")
    # Columns that have no name and hold nothing are the ends of lines.
    ends = [c for c in frame.columns if re.fullmatch(r"column \d+", c) and frame[c].isna().all()]
    read = lambda frame, known: read_columns(frame.drop(columns=ends), found.mark, asked, known)
    frame, known, said = read(frame, readings)
    parts = lambda frame: with_parts(frame, known) if asked.date_parts else frame
    if long is None:
        return Table(name, parts(frame), known, notes + said)

    def pieces():
        with sentences():
            for piece in found.read():
                yield parts(read(_named(piece), known)[0])

    return Table(name, parts(frame), known, notes + said, long._replace(frame=None), pieces)


def of_its_sample(read: Table, what: str) -> Table:
    """A long table as the rows that were drawn from it at random, and a note of what is of them."""
    if read.long is None:
        return read
    few = read.long.at_random
    read.notes.append(f"{what} is of {few:,} of the {read.rows:,} rows, drawn at random.")
    return read._replace(frame=read.frame[:few])


def note_reading(folder: Path, read: Table, blocks: list[list[str]], date_parts: bool) -> None:
    """How the columns were read, and which are one field of `joint.npz`, for tables to come."""
    columns = {name: reading._asdict() for name, reading in read.readings.items()}
    told = {"columns": columns, "blocks": blocks, "date parts": date_parts}
    text = json.dumps(told, ensure_ascii=False, indent=1)
    (folder / "reading.json").write_text(text, encoding="utf-8")


def _named(frame: Any) -> Any:
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


@contextmanager
def _sentences(name: str, kind: str, pd: Any) -> Iterator[None]:
    """Errors of those who read files, as sentences."""
    try:
        yield
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError, *BROKEN) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        reason = reason.removeprefix("Error tokenizing data. C error: ")
        raise ValueError(f"{name} can't be read as {kind}: {reason}.") from error
    except ImportError as missing:
        raise ModuleNotFoundError(f"{name}: {missing}") from missing


def _files(path: Path) -> list[Path]:
    """The file itself, or all Parquet files of a folder or a pattern."""
    if path.is_dir():
        files = sorted(file for kind in PARQUET for file in path.rglob(f"*{kind}"))
    elif any(sign in str(path) for sign in "*?["):
        files = sorted(map(Path, glob(str(path))))
        other = next((file for file in files if _kind(file) not in COLUMNAR), None)
        if other is not None and len(files) > 1:
            raise ValueError(f"Several files at once are to be Parquet; {other.name} is none.")
    else:
        _kind(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        return [path]
    if not files:
        raise FileNotFoundError(f"There is no Parquet file at {path}.")
    return files


def _kind(path: Path) -> str:
    """What a file's name says that it is; a packed one by the name inside its own."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        inner = suffixes[-2] if len(suffixes) > 1 else ""
        return inner if inner in (*TEXT, *LINES, ".json") else ".csv"
    if suffixes and suffixes[-1] in KINDS:
        return suffixes[-1]
    raise ValueError(
        f"TABLE must be a {', '.join(KINDS)} file, a packed one "
        f"({', '.join(PACKED)}), a folder or a pattern of Parquet files, or -; it was {path.name}."
    )
