"""`.npy` files as sources: each batch a window on the file, mapped while it is in use."""

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .._arguments import whole
from .sources import BATCH_ROWS

TAKEN_ROWS = 1024  # rows by number through one map


class NpyFile:
    """One `.npy` file, rows along its first axis, read piece by piece.

    A batch is a read-only window on the file, mapped while the batch is in use: nothing is copied,
    and only the batches in flight count as memory. As with any memory map, a file that is cut
    short while a batch is in use ends the process.

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
        self.batch_size = whole(1)(batch_size, "batch_size")
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

    def _mapped(self) -> np.ndarray:
        """The file through a map of its own, which lasts as long as what is read through it."""
        try:
            return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))
        except ValueError as error:
            raise ValueError(f"{self.path} can't be read any more: was it cut short?") from error

    def batches(self) -> Iterator[np.ndarray]:
        """The rows in order, `batch_size` at a time."""
        for start in range(0, self.num_rows, self.batch_size):
            window = self._mapped()[start : start + self.batch_size]
            # All its pages are read here, and not where the device would wait.
            window.reshape(-1).view(np.uint8)[:: mmap.PAGESIZE].max(initial=0)
            yield window

    def take(self, index: np.ndarray) -> np.ndarray:
        """Rows by number, through a new map for each few: scattered rows touch many pages."""
        index = np.asarray(index)
        rows = [
            np.array(self._mapped()[part])
            for part in np.split(index, range(TAKEN_ROWS, len(index), TAKEN_ROWS))
        ]
        return np.concatenate(rows)


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
