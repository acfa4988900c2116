"""Data larger than memory, as batches that can be read again and again.

A source is any object with `batches()`, which gives an iterator over batches: pytrees of arrays
with one leading axis of rows. Where it also has `num_rows` and `take(index)`, starts are drawn
from rows spread over the whole of it without reading the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

BATCH_ROWS = 65_536


def _checked_size(batch_size: int) -> int:
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive whole number; it was {batch_size!r}.")
    return batch_size


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
        self.data = jax.tree.map(np.asarray, data)
        self.batch_size = _checked_size(batch_size)
        self.num_rows = len(jax.tree.leaves(self.data)[0])

    def batches(self) -> Iterator[PyTree]:
        """Slices of the arrays."""
        for start in range(0, self.num_rows, self.batch_size):
            yield jax.tree.map(lambda a, s=start: a[s : s + self.batch_size], self.data)

    def take(self, index: np.ndarray) -> PyTree:
        """Rows by number."""
        return jax.tree.map(lambda a: a[index], self.data)


class NpyFile:
    """One `.npy` file, rows along its first axis, read piece by piece.

    Only the batches in flight are in memory: pieces are read into fresh buffers, since the pages
    of a memory map that has been walked count as the process's own.

    Args:
        path: the file.
        batch_size: rows of a batch.

    Raises:
        ValueError: for a file that is no `.npy` array of numbers with rows.

    Example:
        >>> import jaxmix as jm, numpy as np, tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "x.npy"
        ...     np.save(path, np.zeros((5, 2), np.float32))
        ...     [b.shape for b in jm.data.NpyFile(path, batch_size=3).batches()]
        [(3, 2), (2, 2)]
    """

    def __init__(self, path: str | Path, batch_size: int = BATCH_ROWS):
        self.path = Path(path)
        self.batch_size = _checked_size(batch_size)
        try:
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{self.path} is no readable .npy file: {error}") from error
        if not isinstance(mapped, np.memmap) or mapped.ndim == 0:
            raise ValueError(f"{self.path} must hold one array with a leading axis of rows.")
        if mapped.dtype.kind not in "biuf":
            raise ValueError(f"{self.path} must hold numbers; its dtype is {mapped.dtype}.")
        if mapped.ndim > 1 and not mapped.flags.c_contiguous:
            raise ValueError(
                f"{self.path} is stored column by column (Fortran order), so that a batch of rows "
                "is scattered over the file: save it again with np.ascontiguousarray."
            )
        self.shape, self.dtype = mapped.shape, mapped.dtype
        self.num_rows = mapped.shape[0]
        self._offset = mapped.offset

    def batches(self) -> Iterator[np.ndarray]:
        """The rows in order, `batch_size` at a time."""
        each = int(np.prod(self.shape[1:], dtype=int))
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            for start in range(0, self.num_rows, self.batch_size):
                rows = min(self.batch_size, self.num_rows - start)
                piece = np.fromfile(file, self.dtype, rows * each)
                if piece.size != rows * each:
                    raise ValueError(
                        f"{self.path} ends before row {start + rows}: was it cut short?"
                    )
                yield piece.reshape(rows, *self.shape[1:])

    def take(self, index: np.ndarray) -> np.ndarray:
        """Rows by number."""
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[index])


class NpyFolder:
    """The `.npy` files of a folder, in the order of their names, as one source.

    Args:
        folder: the folder.
        batch_size: rows of a batch.
        pattern: which files of it.
        part: `(i, n)` for the i-th of n shares of the files: one process's own.

    Raises:
        ValueError: if there are no such files, or their rows differ in shape or dtype.
    """

    def __init__(
        self,
        folder: str | Path,
        batch_size: int = BATCH_ROWS,
        pattern: str = "*.npy",
        part: tuple[int, int] = (0, 1),
    ):
        index, count = part
        paths = sorted(Path(folder).glob(pattern))[index::count]
        if not paths:
            raise ValueError(
                f"Folder {folder} holds no files {pattern} (share {index} of {count})."
            )
        self.files = [NpyFile(path, batch_size) for path in paths]
        first = self.files[0]
        for file in self.files[1:]:
            if (file.shape[1:], file.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"{file.path} holds rows of shape {file.shape[1:]}, {file.dtype}, where "
                    f"{first.path} holds {first.shape[1:]}, {first.dtype}."
                )
        self.num_rows = sum(file.num_rows for file in self.files)

    def batches(self) -> Iterator[np.ndarray]:
        """The rows of one file after another."""
        for file in self.files:
            yield from file.batches()

    def take(self, index: np.ndarray) -> np.ndarray:
        """Rows by number, counted over all files."""
        ends = np.cumsum([file.num_rows for file in self.files])
        which = np.searchsorted(ends, index, side="right")
        first = self.files[0]
        out = np.empty((len(index), *first.shape[1:]), first.dtype)
        for k, file in enumerate(self.files):
            here = which == k
            if np.any(here):
                out[here] = file.take(index[here] - (ends[k] - file.num_rows))
        return out


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
        self.batch_size = _checked_size(batch_size)
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
        options = {"columns": self.columns, "batch_size": self.batch_size, "batch_readahead": 2}
        for piece in self.dataset.to_batches(**options):
            if piece.num_rows:
                yield self._event(piece)

    def take(self, index: np.ndarray) -> PyTree:
        """Rows by number."""
        return self._event(
            self.dataset.take(index, columns=self.columns).combine_chunks().to_batches()[0]
        )
