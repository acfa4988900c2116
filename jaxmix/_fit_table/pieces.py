"""Files as pieces of pandas tables: text, Parquet and Feather, JSON lines."""

import csv
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..data.sources import pieces as batches
from .delimited import opened
from .long import piece_rows

COLUMNAR = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather"}
LINES = (".jsonl", ".ndjson")
SHEETS = (".xlsx", ".xls", ".ods")


class Pieces(NamedTuple):
    """A file: `read` gives it anew, whole as one piece or in pieces; `mark` is that between the
    cells of a text, and `out` holds lines that were no rows, once it has been read.
    """

    read: Callable[[bool], Iterator[Any]]
    mark: str = ","
    out: list[str] | None = None


def pieces_of(files: list[Path], kind: str, notes: list[str]) -> Pieces:
    """How files of one kind are read; what was guessed goes to `notes`.

    Args:
        files: them; none for standard input.
        kind: what the first one's name says that it is.
        notes: grow.
    """
    if kind in COLUMNAR:
        data = functools.cache(lambda: dataset_of(files, COLUMNAR[kind]))
        size = lambda: piece_rows(len(data().schema.names))
        split = lambda: (batch.to_pandas() for batch in batches(data(), size()))
        return Pieces(lambda whole: iter([data().to_table().to_pandas()]) if whole else split())
    if kind in (*LINES, ".json"):
        read = functools.partial(read_json, files[0], lines=kind != ".json")
        rows = piece_rows(16)
        return Pieces(lambda whole: iter([read()]) if whole else read(chunksize=rows))
    source = sheet(files[0], notes) if kind in SHEETS else files[0] if files else None
    text = opened(sys.stdin.buffer.read() if source is None else source, notes)
    rows = piece_rows(text.width)
    read = lambda whole: iter([text.read()]) if whole else text.read(chunksize=rows)
    return Pieces(read, text.mark, text.out)


def sheet(path: Path, notes: list[str]) -> bytes:
    """The first sheet as text, whose titles, units and second headers are looked for alike."""
    import pandas as pd

    with pd.ExcelFile(path) as book:
        first, *others = book.sheet_names
        cells = pd.read_excel(book, sheet_name=first, header=None, dtype=object).dropna(how="all")
    if others:
        notes.append(f"The sheet {first!r} was read, and not {', '.join(map(repr, others))}.")
    line = lambda value: " ".join(value.split()) if isinstance(value, str) else value
    text = cells.map(line).to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC)
    return text.encode()


def read_json(path: Path, **options: Any) -> Any:
    import pandas as pd

    with warnings.catch_warnings():  # a pandas to come leaves dates alone by itself
        warnings.simplefilter("ignore")
        return pd.read_json(path, convert_dates=False, **options)


def dataset_of(files: list[Path], kind: str = "parquet") -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset([str(file) for file in files], format=kind)
