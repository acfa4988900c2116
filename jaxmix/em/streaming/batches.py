"""Batches of one shape from any source, read ahead by a thread while the device works."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..._hooks import offers
from ..._trees import num_rows, take
from ...combinators._columns import Fold

AHEAD = 2  # pieces read beyond the one in use


class Piece(NamedTuple):
    """Rows padded to the common number, weights that are 0 on the padding, and where it began."""

    rows: PyTree
    weights: np.ndarray
    first: int
    count: int


def batches_of(source: Any) -> Iterator[tuple[int, PyTree]]:
    """A source's batches, numbered, each of arrays with an axis of rows.

    Raises:
        ValueError: for one that holds anything else.
    """
    for number, batch in enumerate(source.batches()):
        for leaf in jax.tree.leaves(batch):
            if not getattr(leaf, "shape", ()):
                raise ValueError(
                    f"Batch {number} must hold arrays with a leading axis of rows, such as "
                    f"np.asarray(batch); it holds {leaf!r:.60}."
                )
        yield number, batch


class Pieces:
    """A source's batches, cut and padded to the length of its first, in the dtypes of a sample.

    Args:
        source: an object with `batches()`.
        like: a few rows as the fit wants them: structure, trailing shapes, dtypes.
        float_type: the dtype of weights.
        weights: case weights of all rows, or None.
        fold: how like columns of the rows are stacked.
    """

    def __init__(
        self,
        source: Any,
        like: PyTree,
        float_type: Any,
        weights: np.ndarray | None = None,
        fold: Fold | None = None,
    ):
        self.source, self.like, self.fold = source, like, fold or Fold()
        self.float_type, self.weights = float_type, weights
        first = next(batches_of(source), None)
        if first is None:
            raise ValueError("The data are empty: the source has no batches.")
        self.capacity = num_rows(first[1])

    @property
    def shapes(self) -> tuple[PyTree, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a piece's rows and weights."""
        rows = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((self.capacity, *a.shape[1:]), a.dtype),
            self.fold.data(take(self.like, slice(1))),
        )
        return rows, jax.ShapeDtypeStruct((self.capacity,), self.float_type)

    def __iter__(self) -> Iterator[Piece]:
        done = 0
        for number, batch in batches_of(self.source):
            rows = self._converted(batch, number)
            total = num_rows(rows)
            for start in range(0, total, self.capacity):
                count = min(self.capacity, total - start)
                yield self._padded(rows, start, count, done)
                done += count
        if self.weights is not None and done != len(self.weights):
            raise ValueError(f"There are {len(self.weights)} weights for {done} rows.")

    def _converted(self, batch: PyTree, number: int) -> PyTree:
        if jax.tree.structure(batch) != jax.tree.structure(self.like):
            raise ValueError(
                f"Batch {number} is built differently from the first: {jax.tree.structure(batch)}, "
                f"not {jax.tree.structure(self.like)}."
            )

        def convert(path, array, like):
            host = np.asarray(array)
            if host.shape[1:] != like.shape[1:] or host.ndim == 0:
                name = jax.tree_util.keystr(path) or "rows"
                raise ValueError(
                    f"Batch {number}, {name}: a row has shape {host.shape[1:]}, where the first "
                    f"batch has {like.shape[1:]}."
                )
            return host if host.dtype == like.dtype else host.astype(like.dtype)

        return jax.tree_util.tree_map_with_path(convert, batch, self.like)

    def _padded(self, rows: PyTree, start: int, count: int, done: int) -> Piece:
        extra = self.capacity - count

        def cut(array):
            part = array[start : start + count]
            if not extra:
                return part
            # A valid row and not zeros: 0 may be off the support.
            return np.concatenate([part, np.repeat(part[-1:], extra, axis=0)])

        weights = np.zeros(self.capacity, self.float_type)
        weights[:count] = 1 if self.weights is None else self.weights[done : done + count]
        return Piece(self.fold.data(jax.tree.map(cut, rows)), weights, done, count)


def ahead(pieces: Any, depth: int = AHEAD) -> Iterator[Any]:
    """The same items, made by a thread that stays at most `depth` items in front.

    An error in the thread is raised here; a caller that stops early stops the thread.
    """
    left, end, reader = iter(pieces), object(), ThreadPoolExecutor(1, "jaxmix-reader")
    coming = deque(reader.submit(next, left, end) for _ in range(depth))
    try:
        while (piece := coming.popleft().result()) is not end:
            coming.append(reader.submit(next, left, end))
            yield piece
    finally:
        reader.shutdown(cancel_futures=True)


def sampled(source: Any, wanted: int) -> tuple[PyTree, int]:
    """At most `wanted` rows spread evenly over a source, and how many rows it has.

    A source that cannot take rows by number is read once, batch by batch; where the sample
    overflows, every other row of it goes.
    """
    if offers(source, "num_rows", "take"):
        rows = source.num_rows
        if rows == 0:
            raise ValueError("The data are empty: there are 0 rows to fit to.")
        return source.take(_spread(rows, wanted)), rows
    kept, every, rows = [], 1, 0
    held = 0
    for _, batch in batches_of(source):
        size = num_rows(batch)
        part = jax.tree.map(lambda a, o=-rows % every, e=every: np.asarray(a)[o::e], batch)
        rows += size
        kept.append(part)
        held += num_rows(part)
        if held > 2 * wanted:
            joined = _joined(kept)
            while held > 2 * wanted:
                every *= 2
                joined = take(joined, slice(None, None, 2))
                held = num_rows(joined)
            kept = [joined]
    if rows == 0:
        raise ValueError("The data are empty: there are 0 rows to fit to.")
    joined = _joined(kept)
    if held > wanted:
        joined = take(joined, _spread(held, wanted))
    return joined, rows


def _spread(rows: int, wanted: int) -> np.ndarray:
    """The numbers of at most so many rows, evenly spread."""
    return np.round(np.linspace(0, rows - 1, min(rows, wanted))).astype(np.int64)


def _joined(parts: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
