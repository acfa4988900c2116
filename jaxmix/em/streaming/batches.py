"""Batches of one shape from any source, read ahead by a thread while the device works."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..._hooks import TakesRows
from ..._trees import num_rows, take
from ...combinators._columns import Fold

AHEAD = 2  # pieces read beyond the one in use


class Piece(NamedTuple):
    """Rows padded to the common number, weights that are 0 on the padding, and where it began."""

    rows: PyTree
    weights: np.ndarray
    first: int
    count: int


def batches_of(source: Any) -> Iterator[PyTree]:
    """A source's batches that have rows: arrays with an axis of rows, built as the first are.

    Raises:
        ValueError: for one that holds anything else, naming it and its field.
    """
    first, paths, shapes = None, [], []
    sizes: list[tuple[int, ...]]
    for number, batch in enumerate(source.batches()):
        flat, structure = jax.tree_util.tree_flatten_with_path(batch)
        sizes = [getattr(leaf, "shape", ()) for _, leaf in flat]
        if not flat or not all(sizes):
            wrong = next((leaf for _, leaf in flat if not getattr(leaf, "shape", ())), batch)
            raise ValueError(
                f"Batch {number} must hold arrays with a leading axis of rows, such as "
                f"np.asarray(batch); it holds {wrong!r:.60}."
            )
        if first is None:
            first, shapes = structure, [size[1:] for size in sizes]
            paths = [jax.tree_util.keystr(path) or "rows" for path, _ in flat]
        if structure != first:
            raise ValueError(
                f"Batch {number} is built differently from the first: {structure}, not {first}."
            )
        for name, size, shape in zip(paths, sizes, shapes, strict=True):
            if size != (sizes[0][0], *shape):
                raise ValueError(
                    f"Batch {number}, {name}: a row has shape {size[1:]}, and there are {size[0]}; it "
                    f"is {shape} in the first batch, and {paths[0]} has {sizes[0][0]} rows."
                )
        if sizes[0][0]:
            yield batch


class Pieces:
    """A source's batches, cut and padded to the length of its first, in the dtypes of a sample.

    Args:
        source: an object with `batches()`, some of which have rows.
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
        self.capacity = num_rows(next(batches_of(source)))

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
        for batch in batches_of(self.source):
            rows = jax.tree_util.tree_map_with_path(_converted, batch, self.like)
            for start in range(0, num_rows(rows), self.capacity):
                count = min(self.capacity, num_rows(rows) - start)
                weights = np.zeros(self.capacity, self.float_type)
                weights[:count] = 1 if self.weights is None else self.weights[done : done + count]
                if (used := np.flatnonzero(weights)).size:
                    # For rows of weight 0 a valid one: 0 may be off the support, and NaN is nowhere.
                    at = np.where(weights > 0, np.arange(self.capacity), used[-1])
                    part = take(rows, slice(start, start + count))
                    part = part if len(used) == self.capacity else take(part, at)
                    yield Piece(self.fold.data(part), weights, done, count)
                done += count


def _converted(path: tuple, array: Any, like: Any) -> np.ndarray:
    """The rows in the dtype of a sample's, which must hold them."""
    host = np.asarray(array)
    if not np.can_cast(host.dtype, like.dtype, "same_kind"):
        raise ValueError(
            f"{jax.tree_util.keystr(path) or 'rows'} of a batch: {host.dtype} numbers, where a sample "
            f"of the source has {like.dtype}."
        )
    return host.astype(like.dtype, copy=False)


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


def sampled(source: Any, wanted: int) -> tuple[PyTree, np.ndarray, int]:
    """At most `wanted` rows spread evenly over a source, their numbers, and how many rows it has.

    A source that cannot take rows by number is read once, batch by batch; where the sample
    overflows, every other row of it goes.
    """
    if isinstance(source, TakesRows):
        rows = source.num_rows
        index = _spread(rows, wanted)
        kept = [(source.take(index), index)] if rows else []
    else:
        kept, rows, every = [], 0, 1
        for batch in batches_of(source):
            some, size = slice(-rows % every, None, every), num_rows(batch)
            # Copies: a view would keep the whole batch in memory.
            part = jax.tree.map(lambda a, s=some: np.array(a[s]), batch)
            kept.append((part, np.arange(rows, rows + size)[some]))
            rows += size
            while rows > 2 * wanted * every:
                every *= 2
                kept = [take(_joined(kept), slice(None, None, 2))]
    if rows == 0:
        raise ValueError("The data are empty: there are 0 rows to fit to.")
    sample = _joined(kept)
    held = num_rows(sample)
    return *(take(sample, _spread(held, wanted)) if held > wanted else sample), rows


def _spread(rows: int, wanted: int) -> np.ndarray:
    """The numbers of at most so many rows, evenly spread."""
    return np.round(np.linspace(0, rows - 1, min(rows, wanted))).astype(np.int64)


def _joined(parts: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
