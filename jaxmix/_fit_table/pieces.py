"""Files as pieces of pandas tables: text, Parquet and Feather, JSON lines."""

import csv
import functools
import json
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..data.sources import pieces as batches
from .delimited import opened, unpacked
from .long import piece_rows

COLUMNAR = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather"}
LINES = (".jsonl", ".ndjson")
FEW = 2  # rows of a sheet that is a title page, where another has more
SHEETS = (".xlsx", ".xls", ".ods")


class Pieces(NamedTuple):
    """A file: `read` gives it anew, whole as one piece or in pieces; `mark` is that between the
    cells of a text, and `out` holds lines that were no rows, once it has been read.
    """

    read: Callable[[bool], Iterator[Any]]
    mark: str = ","
    out: list[str] | None = None


def pieces_of(files: list[Path], kind: str, notes: list[str]) -> Pieces:
    """How files of one kind are read, none for standard input; what was guessed goes to `notes`."""
    if kind in COLUMNAR:
        data = functools.cache(lambda: dataset_of(files, COLUMNAR[kind]))
        size = lambda: piece_rows(len(data().schema.names))
        split = lambda: (batch.to_pandas() for batch in batches(data(), size()))
        return Pieces(lambda whole: iter([data().to_table().to_pandas()]) if whole else split())
    if kind in (*LINES, ".json"):
        return Pieces(functools.partial(read_json, files[0], kind != ".json"))
    source = files[0] if files else None
    if source is not None and kind in SHEETS:
        source = sheet(source, notes)
    elif source is not None and source.suffix.lower() == ".zip":
        source = _member(source)
    text = opened(sys.stdin.buffer.read() if source is None else source, notes)
    rows = piece_rows(text.width)
    read = lambda whole: iter([text.read()]) if whole else text.read(chunksize=rows)
    return Pieces(read, text.mark, text.out)


def _member(path: Path) -> Path | bytes:
    """A packed text, or its bytes where a Macintosh packed what is hidden along with it."""
    with zipfile.ZipFile(path) as packed:
        names = [name for name in packed.namelist() if not name.endswith("/")]
        shown = [name for name in names if not re.search(r"(^|/)(\.|__MACOSX/)", name)]
        return packed.read(shown[0]) if len(shown) == 1 < len(names) else path


def sheet(path: Path, notes: list[str]) -> bytes:
    """The first sheet of some rows as text: titles, units, second headers are looked for alike."""
    import pandas as pd

    with pd.ExcelFile(path) as book:
        cells_of = lambda name: pd.read_excel(book, sheet_name=name, header=None, dtype=object)
        sheets = ((name, cells_of(name).dropna(how="all")) for name in book.sheet_names)
        found = next(((name, cells) for name, cells in sheets if len(cells) > FEW), None)
        first, cells = found or (book.sheet_names[0], cells_of(0).dropna(how="all"))
        others = [name for name in book.sheet_names if name != first]
    if others:
        notes.append(f"The sheet {first!r} was read, and not {', '.join(map(repr, others))}.")
    line = lambda value: " ".join(value.split()) if isinstance(value, str) else value
    text = cells.map(line).to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC)
    return text.encode()


def read_json(path: Path, lines: bool, whole: bool) -> Iterator[Any]:
    """A file of JSON, or of lines of it, of which a bad one is told by its number."""
    import pandas as pd

    size = None if whole else piece_rows(16)
    try:
        with warnings.catch_warnings():  # a pandas to come leaves dates alone by itself
            warnings.simplefilter("ignore")
            found: Any = pd.read_json(path, convert_dates=False, lines=lines, chunksize=size)
        yield from [found] if whole else found
    except ValueError:
        with unpacked(path) as file:
            for number, line in enumerate(file if lines else (), 1):
                try:
                    json.loads(line.strip() or "{}")
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
        raise


def dataset_of(files: list[Path], kind: str = "parquet") -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset([str(file) for file in files], format=kind)
