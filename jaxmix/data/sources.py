"""Data larger than memory, as batches that can be read again and again.

A source is any object with `batches()`, which gives an iterator over batches: pytrees of arrays
with one leading axis of rows. Where it also has `num_rows` and `take(index)`, starts are drawn
from rows spread over the whole of it without reading the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._arguments import rows, whole
from .._trees import num_rows, take

BATCH_ROWS = 65_536


class Batches:
    """Any re-iterable of batches: a list, or an object whose `iter` starts anew each time.

    Args:
        iterable: batches, pytrees of arrays with one leading axis of rows; or a function
            without arguments that gives a fresh iterator over them.

    Raises:
        ValueError: for a generator, which can be read only once.

    Example:
        >>> import jaxmix as jm, numpy as np
        >>> source = jm.data.Batches([np.zeros((3, 2)), np.ones((1, 2))])
        >>> [batch.shape for batch in source.batches()]
        [(3, 2), (1, 2)]
    """

    def __init__(self, iterable: Iterable[PyTree] | Callable[[], Iterator[PyTree]]):
        if not callable(iterable) and iter(iterable) is iterable:
            raise ValueError(
                f"A {type(iterable).__name__} can be read only once, and every step of a fit reads "
                "the data anew. Give a list, an object with __iter__, or a function that makes a "
                "fresh iterator."
            )
        self.iterable = iterable

    def batches(self) -> Iterator[PyTree]:
        """A fresh iterator over the batches."""
        return iter(self.iterable() if callable(self.iterable) else self.iterable)


class Arrays:
    """Arrays in memory as a source: for a streamed fit's checkpoints, and for tests.

    Args:
        data: a pytree of arrays with one leading axis of rows.
        batch_size: rows of a batch.

    Example:
        >>> import jaxmix as jm, numpy as np
        >>> [len(b) for b in jm.data.Arrays(np.zeros(5), batch_size=2).batches()]
        [2, 2, 1]
    """

    def __init__(self, data: PyTree, batch_size: int = BATCH_ROWS):
        self.data = jax.tree.map(np.asarray, rows(data, "The data of Arrays"))
        self.batch_size = whole(1)(batch_size, "batch_size")
        self.num_rows = num_rows(self.data)

    def batches(self) -> Iterator[PyTree]:
        """Slices of the arrays."""
        for start in range(0, self.num_rows, self.batch_size):
            yield jax.tree.map(lambda a, s=start: a[s : s + self.batch_size], self.data)

    def take(self, index: np.ndarray) -> PyTree:
        """Rows by number."""
        return take(self.data, index)


def pieces(dataset: Any, size: int, columns: list[str] | None = None) -> Iterator[Any]:
    """The batches of an Arrow data set, few of them in memory at a time."""
    import pyarrow.dataset as arrow

    options: dict[str, Any] = {"batch_readahead": 2, "fragment_readahead": 1}
    if isinstance(getattr(dataset, "format", None), arrow.ParquetFileFormat):
        # Else the columns of many row groups are read ahead: a gigabyte of a file of two.
        options["fragment_scan_options"] = arrow.ParquetFragmentScanOptions(pre_buffer=False)
    batches = dataset.to_batches(columns=columns, batch_size=size, **options)
    return (batch for batch in batches if batch.num_rows)


class Parquet:
    """A Parquet file, a folder of them, or any Arrow data set, read batch by batch.

    Args:
        path: a file or folder that `pyarrow.dataset` opens, or an open `pyarrow` data set.
        columns: which columns; None for all.
        batch_size: rows of a batch.
        as_vector: an event is the vector of the columns, not a dict of them.
        format: of the files, such as "parquet" or "arrow".

    A missing value is NaN in a floating column, and refused by a sentence in any other.
    """

    def __init__(
        self,
        path: Any,
        columns: list[str] | None = None,
        batch_size: int = BATCH_ROWS,
        as_vector: bool = False,
        format: str = "parquet",
    ):
        import pyarrow.dataset

        is_open = isinstance(path, pyarrow.dataset.Dataset)
        self.dataset: Any = path if is_open else pyarrow.dataset.dataset(path, format=format)
        self.columns = list(self.dataset.schema.names if columns is None else columns)
        unknown = sorted(set(self.columns) - set(self.dataset.schema.names))
        if unknown:
            raise ValueError(
                f"There is no column {unknown[0]!r}; there are {self.dataset.schema.names}."
            )
        self.batch_size = whole(1)(batch_size, "batch_size")
        self.as_vector = as_vector
        self.num_rows = self.dataset.count_rows()

    def _event(self, table: Any) -> PyTree:
        out = {}
        for name in self.columns:
            column = table.column(name)
            values = column.to_numpy(zero_copy_only=False)
            real = "float" in str(column.type) or "double" in str(column.type)
            if values.dtype.kind not in "biuf" or (column.null_count and not real):
                raise ValueError(
                    f"Column {name!r} must be numeric without missing values (missing floats are "
                    f"NaN); it is {column.type} with {column.null_count} missing."
                )
            out[name] = values
        if self.as_vector:
            return np.stack([out[name] for name in self.columns], axis=1)
        return out

    def batches(self) -> Iterator[PyTree]:
        """The rows in order; a batch never has more than `batch_size`."""
        for piece in pieces(self.dataset, self.batch_size, self.columns):
            yield self._event(piece)

    def take(self, index: np.ndarray) -> PyTree:
        """Rows by number."""
        return self._event(
            self.dataset.take(index, columns=self.columns).combine_chunks().to_batches()[0]
        )
