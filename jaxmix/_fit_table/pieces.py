"""Files as pieces of pandas tables: text, Parquet and Feather, JSON lines."""

import csv
import functools
import json
import sys
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
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
    """A file: `read` gives it anew, in pieces; `mark` is that between the cells of a text, and
    `out` holds lines that were no rows, once it has been read.
    """

    read: Callable[[], Iterator[Any]]
    mark: str = ","
    out: Many[str] = ()


def pieces_of(files: list[Path], kind: str, notes: list[str]) -> Pieces:
    """How files of one kind are read, none for standard input; what was guessed goes to `notes`."""
    if kind in COLUMNAR:
        data = functools.cache(lambda: dataset_of(files, COLUMNAR[kind]))
        size = lambda: piece_rows(len(data().schema.names))
        return Pieces(lambda: (batch.to_pandas() for batch in batches(data(), size())))
    if kind in (*LINES, ".json"):
        return Pieces(functools.partial(read_json, files[0], kind != ".json"))
    source = sheet(files[0], notes) if kind in SHEETS else files[0] if files else None
    text = opened(sys.stdin.buffer.read() if source is None else source, notes)
    rows = piece_rows(len(text.options["names"]))
    return Pieces(functools.partial(text.read, rows), text.mark, text.out)


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


def read_json(path: Path, lines: bool) -> Iterator[Any]:
    """A file of JSON, or of lines of it, of which a bad one is told by its number."""
    import pandas as pd

    rows, size = [], piece_rows(16)
    with unpacked(path) as file:
        if not lines:
            found = json.load(file)
            columns = isinstance(found, dict) and all(
                isinstance(v, list | dict) for v in found.values()
            )
            if not columns and not isinstance(found, list):
                raise ValueError("it is neither a list of rows nor a dict of columns")
            yield pd.DataFrame(found)
        for number, line in enumerate(file, 1):
            try:
                rows += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if len(rows) == size:
                yield pd.DataFrame(rows)
                rows = []
    if rows:
        yield pd.DataFrame(rows)


def dataset_of(files: list[Path], kind: str = "parquet") -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset([str(file) for file in files], format=kind)
