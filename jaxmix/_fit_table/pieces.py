"""Files as pieces of pandas tables: text, Parquet and Feather, JSON lines."""

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..data.sources import pieces as batches
from .delimited import opened
from .long import piece_rows

COLUMNAR = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather"}
LINES = (".jsonl", ".ndjson")


class Pieces(NamedTuple):
    """A long table: `read` gives its pieces anew, `mark` is that between the cells of a text, `out`
    holds lines that were no rows, once it has been read.
    """

    read: Callable[[], Iterator[Any]]
    mark: str = ","
    out: list[str] | None = None


def pieces_of(files: list[Path], kind: str, notes: list[str]) -> Pieces:
    """How the pieces of files of one kind are read; what was guessed goes to `notes`."""
    if kind in COLUMNAR:
        return Pieces(functools.partial(_columnar, files, COLUMNAR[kind]))
    if kind in LINES:
        size = piece_rows(16)
        return Pieces(functools.partial(read_json, files[0], lines=True, chunksize=size))
    text = opened(files[0], notes)
    return Pieces(lambda: text.read(chunksize=piece_rows(text.width)), text.mark, text.out)


def read_json(path: Path, **options: Any) -> Any:
    import pandas as pd

    with warnings.catch_warnings():  # a pandas to come leaves dates alone by itself
        warnings.simplefilter("ignore")
        return pd.read_json(path, convert_dates=False, **options)


def dataset_of(files: list[Path], kind: str = "parquet") -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset([str(file) for file in files], format=kind)


def _columnar(files: list[Path], kind: str) -> Iterator[Any]:
    data = dataset_of(files, kind)
    for batch in batches(data, piece_rows(len(data.schema.names))):
        yield batch.to_pandas()
