"""Events of a long table on disk: read and encoded once, then passed over as often as a fit does."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..data import NpyFile
from ..data.encode import encoded
from .long import passing, piece_rows


class Kept:
    """A source of events whose arrays lie in `.npy` files, and the case weights of all rows."""

    def __init__(self, files: list[NpyFile], structure: Any, weights: np.ndarray | None):
        self._files, self._structure, self.weights = files, structure, weights
        self.num_rows = files[0].num_rows

    def batches(self) -> Iterator[PyTree]:
        """The events in the table's order."""
        columns = zip(*(file.batches() for file in self._files), strict=True)
        size = lambda arrays: len(arrays[0])
        for arrays in passing(columns, "A pass", self.num_rows, size):
            yield jax.tree.unflatten(self._structure, arrays)

    def take(self, index: np.ndarray) -> PyTree:
        """Events by number."""
        return jax.tree.unflatten(self._structure, [file.take(index) for file in self._files])


def keep(
    folder: Path, frames: Iterable[Any], model: PyTree, rows: int, weights: Any = None
) -> Kept:
    """Encode a table piece by piece into a folder.

    Args:
        folder: where the files go.
        frames: its pieces.
        model: whose events they are.
        rows: how many there are in all.
        weights: from a piece and the number of its first row to the case weights.

    Raises:
        ValueError: for a row that is no event of the model, by its number.
    """
    folder.mkdir()
    done, files, cases = 0, [], []
    structure, width = None, 1
    try:
        for frame in passing(frames, "Encoding", rows):
            leaves, structure = jax.tree.flatten(encoded(model, frame, done))
            width = len(frame.columns)
            if not files:
                files = [open(folder / f"{i}.npy", "wb") for i in range(len(leaves))]
                for file, leaf in zip(files, leaves, strict=True):
                    shape = (rows, *leaf.shape[1:])
                    told = {"descr": leaf.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, told)
            for file, leaf in zip(files, leaves, strict=True):
                np.ascontiguousarray(leaf).tofile(file)
            if weights is not None:
                cases.append(weights(frame, done))
            done += len(frame)
    finally:
        for file in files:
            file.close()
    read = [NpyFile(file.name, piece_rows(width)) for file in files]
    return Kept(read, structure, np.concatenate(cases) if cases else None)
