"""Files as pieces of pandas tables: text, Parquet and Feather, JSON lines."""

import functools
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..data.sources import pieces as batches
from .delimited import Grouped, opened
from .long import piece_rows

COLUMNAR = {".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather"}
LINES = (".jsonl", ".ndjson")


class Pieces(NamedTuple):
    """Ways to read a long table.

    - `first`: its pieces, text as it was written.
    - `typed`: rows of those as pandas types a whole table.
    - `again`: its pieces, typed each by itself but for the columns that are to stay texts.
    - `mark`: between cells; `out`: lines that were no rows, once it has been read.
    """

    first: Callable[[], Iterator[Any]]
    typed: Callable[[Any], Any]
    again: Callable[[Iterable[str]], Iterator[Any]]
    mark: str = ","
    out: list[str] | None = None


def pieces_of(files: list[Path], kind: str, notes: list[str], grouped: Grouped) -> Pieces:
    """How the pieces of files of one kind are read; what was guessed goes to `notes`."""
    import pandas as pd

    if kind in COLUMNAR:
        read = functools.partial(_columnar, files, COLUMNAR[kind])
        return Pieces(read, lambda frame: frame, lambda texts: read())
    if kind in LINES:
        read = functools.partial(read_json, files[0], lines=True, chunksize=piece_rows(16))
        return Pieces(read, lambda frame: frame, lambda texts: read())
    text = opened(files[0], notes, grouped)
    size = piece_rows(len(text.texts))

    def typed(frame):
        whole = io.StringIO(frame.to_csv(index=False))
        options: Any = {"keep_default_na": False, "na_values": [""], "low_memory": False}
        options["dtype"] = text.codes
        frame = pd.read_csv(whole, **options)
        frame.attrs["texts"] = text.texts
        return frame

    return Pieces(
        lambda: text.read(dtype=str, chunksize=size),
        typed,
        lambda texts: text.read(
            dtype={**dict.fromkeys(texts, str), **text.codes}, chunksize=size, na_values=[""],
            low_memory=False,
        ),
        text.mark,
        text.out,
    )  # fmt: skip


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
