"""A table longer than memory: its rows in pieces, some of them drawn at random, all kept on disk."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..data import NpyFile
from ..data.encode import encoded
from ..data.sources import BATCH_ROWS
from .delimited import PACKED
from .work import at_work

CELLS = 1 << 21  # of a piece at most
SHOWN = 64  # different values of a column whose first rows are all kept
# Bytes in memory for one in the file: of text, of packed text, of columns as they are unpacked.
GROWN = {"text": 16, "packed": 60, "columns": 8}


class Drawn(NamedTuple):
    """Rows of a long table: `frame` begins with `at_random` ones, in the table's order, whose
    `numbers` are told; after them come rows that show what those lack. `rows` are all.
    """

    frame: Any
    at_random: int
    numbers: np.ndarray
    rows: int


def free_memory() -> float:
    """Bytes that programs may still take, by the system's own count; infinite where it has none."""
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024.0 * int(li.split()[1]) for li in lines if li.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")  # of a container
        most = (group / "memory.max").read_text().strip()
        if most != "max":
            free = min(free, int(most) - int((group / "memory.current").read_text()))
    except (OSError, StopIteration, ValueError):
        pass
    return free


def is_long(files: list[Path], memory: float | None) -> bool:
    """Whether a table may need more memory than it is given: so many GB, or half of what is free."""
    bound = free_memory() / 2 if memory is None else 1e9 * memory
    return sum(map(_needed, files)) > bound


def _needed(path: Path) -> float:
    size = path.stat().st_size
    if path.suffix.lower() in PACKED:
        return GROWN["packed"] * size
    if path.suffix.lower() in (".parquet", ".pq"):
        from pyarrow.parquet import read_metadata

        told = read_metadata(path)
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        return GROWN["columns"] * max(size, 8 * told.num_rows * told.num_columns)
    return GROWN["text"] * size


def piece_rows(columns: int) -> int:
    return max(1024, min(BATCH_ROWS, CELLS // max(columns, 1)))


def passing(
    pieces: Iterable[Any],
    words: str,
    rows: int | None = None,
    size: Callable[[Any], int] = len,
) -> Iterator[Any]:
    """The pieces of a pass, which tells how far it is."""
    done, whole = 0, f" of {rows:,}" if rows else ""
    for piece in pieces:
        yield piece
        done += size(piece)
        at_work(words, f"{done:,} rows{whole}")


def drawn(pieces: Iterable[Any], wanted: int, seed: int) -> Drawn:
    """So many rows at random, and the first to show a label, a gap, a text, an extreme number."""
    import pandas as pd

    # A stream of its own: a table simulated from this very seed is not drawn by its values.
    rng = np.random.default_rng([seed, *b"rows"])
    kept, tickets, shown = [], [], []

    def fewer() -> tuple[list, list, float]:
        every: Any = pd.concat(tickets)
        least = every.nsmallest(wanted)
        return [pd.concat(kept).loc[least.index]], [least], float(least.iloc[-1])

    last, rows = 1.0, 0  # every row draws a ticket; those below the last one stay
    seen: dict[str, _Seen] = {}
    for piece in passing(pieces, "Reading"):
        piece.index = pd.RangeIndex(rows, rows + len(piece))
        rows += len(piece)
        new = {at for c in piece for at in seen.setdefault(c, _Seen()).of(piece[c])}
        shown.append(piece.iloc[sorted(new)])
        ticket = pd.Series(rng.random(len(piece)), piece.index)
        kept.append(piece[ticket < last])
        tickets.append(ticket[ticket < last])
        if sum(map(len, tickets)) > 2 * wanted:
            kept, tickets, last = fewer()
    if rows == 0:
        raise ValueError("it has no rows")
    at_random = fewer()[0][0].sort_index()
    beside = pd.concat(shown)
    beside = beside[~beside.index.isin(at_random.index)]
    frame = pd.concat([at_random, beside])
    numbers = at_random.index.to_numpy()
    return Drawn(frame.reset_index(drop=True), len(at_random), numbers, rows)


class _Seen:
    """What a column has shown so far: a template that holds it holds the whole column."""

    def __init__(self):
        self.values, self.forms = set(), set()
        self.low, self.high, self.whole, self.gap = np.inf, -np.inf, True, False

    def of(self, column: Any) -> list[int]:
        """The rows of a piece that show something new."""
        import pandas as pd

        gone = column.isna().to_numpy()
        found = [] if self.gap or not gone.any() else [int(gone.argmax())]
        self.gap = self.gap or bool(found)
        if gone.all():
            return found
        many = isinstance(column.iloc[int(gone.argmin())], list | np.ndarray | set | dict)
        numbers = column.map(len, na_action="ignore") if many else column
        as_numbers: Any = pd.to_numeric(numbers, errors="coerce")
        numbers = as_numbers.to_numpy(float, na_value=np.nan)
        at = np.flatnonzero(np.isfinite(numbers))
        if len(at):
            low, high = at[numbers[at].argmin()], at[numbers[at].argmax()]
            broken = numbers[at] != np.floor(numbers[at])
            found += [int(low)] if numbers[low] < self.low else []
            found += [int(high)] if numbers[high] > self.high else []
            found += [int(at[broken.argmax()])] if self.whole and broken.any() else []
            self.low, self.high = min(self.low, numbers[low]), max(self.high, numbers[high])
            self.whole = self.whole and not broken.any()
        if many:
            return found
        # Of many numbers those will do; of few, and of texts, each value is shown, and each form
        # of text, its digits apart.
        is_text = ~gone & np.isnan(numbers)
        left = np.flatnonzero(~gone if len(self.values) <= SHOWN else is_text)
        first = left[~column.iloc[left].duplicated().to_numpy()]
        for row, value in zip(first.tolist(), column.iloc[first].tolist(), strict=True):
            form = re.sub(r"\d+", "0", value) if isinstance(value, str) else None
            for known, one in ((self.values, value), (self.forms, form)):
                if one is not None and one not in known and len(known) <= SHOWN:
                    known.add(one)
                    found.append(row)
        return found


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


def kept(
    folder: Path, frames: Iterable[Any], model: PyTree, rows: int, weights: Any = None
) -> Kept:
    """Encode a table of so many rows piece by piece into a folder, as events of a model.

    `weights` makes case weights of a piece and the number of its first row.
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
