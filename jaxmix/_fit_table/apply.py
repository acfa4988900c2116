"""`python -m jaxmix apply MODEL TABLE`: what a fitted mixture says of new rows."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._hooks import TellsPosterior
from .._page import door
from ..combinators import Composite, OptionalEvent
from ..data import Imputed, load
from ..data import imputed as data_imputed
from ..data.encode import encoded
from ..data.structure import structure
from ..plot._canvas import each
from .amounts import Reading
from .asked import Asked
from .joint import joined, together
from .long import passing
from .read import NOTHING, read_table
from .rows import rows_under
from .work import Place, said_while_it_lasts, stopped_by_ctrl_c
from .write import filled_up, imputed, posteriors

DRAWS = 4096
RATE = 0.01  # of flagged rows, were the model true
LEVEL = 0.95  # of the intervals of what is filled in
PATTERNS = 64  # of missing fields, beyond which the rarest have no tail probability


@said_while_it_lasts()
def apply(model_path: Path, path: Path, folder: Path, asked: Asked = NOTHING) -> None:
    """Posteriors, log-densities, outliers and imputed values of a table's rows under a model.

    A table that may need more memory than it is given is read, and answered, in pieces.
    """
    if not model_path.is_file():
        raise FileNotFoundError(f"There is no file {model_path}.")
    door(folder)
    with jax.enable_x64(True):
        model = load(model_path)
        # One that was fitted in 32 bits is as good with numbers that have more.
        wide = lambda a: a.astype(jnp.float64) if eqx.is_inexact_array(a) else a
        model = jax.tree.map(wide, model)
        record, kind = structure(model), type(model).__name__
        if not isinstance(model, TellsPosterior) or not isinstance(record, Composite):
            raise ValueError(
                f"{model_path.name} is a {kind} over events of {type(record).__name__}, and no "
                "mixture of records (jm.Composite), of which `apply` tells; `jm.load` reads it."
            )
        noted = model_path.with_name("reading.json")
        given = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        readings = {
            name: Reading(**one)._replace(na=tuple(one["na"]))
            for name, one in given.get("columns", {}).items()
        }
        asked = asked._replace(date_parts=given.get("date parts", False))
        read = read_table(path, asked, readings)
        names = [name for name, _ in record.items()]
        blocks = [block for block in given.get("blocks", []) if together(block) in names]
        place = Place(folder, asked.force)
        tails, total, level, flagged = Tails(model), 0, 0.0, 0
        with stopped_by_ctrl_c(place):
            many = read.long is not None
            for frame in passing(read.pieces(), "Rows", read.rows) if many else [read.frame]:
                events = encoded(model, joined(frame, blocks), total)
                told = rows_under(model, events)
                tail = tails.of(events, told.level)
                _add(place.part, model, frame, blocks, told, tail, events, first=total == 0)
                total, level = total + len(frame), level + float(told.level.sum())
                flagged += int((tail < RATE).sum())
            written = place.keep()
    known = {column for block in blocks for column in block} | set(names)
    more = [name for name in read.frame.columns if name not in known]
    print(*(f"{note}\n" for note in read.notes), sep="", end="")
    if more:
        print(f"Columns that the model is not of: {', '.join(more)}.")
    print(
        f"{total} rows, mean log-density {level / total:.4f} nats. {flagged} rows are less likely "
        f"than {1 - RATE:.0%} of what the model itself draws; {RATE * total:.0f} were expected.\n"
        f"Written to {place.folder.resolve()}: {', '.join(file.name for file in written)}"
    )


def _add(folder, model, frame, blocks, told, tail, events, first: bool) -> None:
    """Write what is said of some rows below what is there."""
    import pandas as pd

    posterior = told.posterior
    posteriors(folder, posterior, first)
    columns = {
        "component": posterior.argmax(1),
        "probability": posterior.max(1),
        "log density": told.level,
        "tail probability": tail,
        "outlier": (tail < RATE).astype(int),
    }
    whole = data_imputed(model, events, level=LEVEL)
    filled = imputed(model, structure(model), events, frame, posterior, whole)
    blocks = [block for block in blocks if together(block) in whole.sd]
    if blocks:
        filled = with_blocks(frame if filled is None else filled, blocks, whole)
    for name, table in ("rows", pd.DataFrame(columns)), ("imputed", filled):
        if table is not None:
            file = folder / f"{name}.csv"
            table.to_csv(file, index=False, mode="w" if first else "a", header=first)


class Tails:
    """How often a mixture draws a row that is less likely than one that is given.

    A row with missing fields is compared with draws that lack the same: under the model these
    numbers are uniform, so that a rate of flags is what it is said to be.
    """

    def __init__(self, model: Any, seed: int = 0):
        self.model, self.levels = model, {}
        self.drawn = _draws(model, jax.random.split(jax.random.key(seed), DRAWS))

    def of(self, data: Any, level: np.ndarray) -> np.ndarray:
        """Of rows and their log-densities; NaN where too many fields are missing in other ways."""
        tail = np.full(len(level), np.nan)
        patterns = np.unique(_patterns(data), axis=0, return_inverse=True, return_counts=True)
        for index in np.argsort(-patterns[2]):
            pattern = patterns[0][index]
            levels = self.levels.get(pattern.tobytes())
            if levels is None and len(self.levels) < PATTERNS:
                levels = np.sort(each(self.model, "log_prob", _masked(self.drawn, pattern)))
                self.levels[pattern.tobytes()] = levels
            if levels is not None:
                here = patterns[1].ravel() == index
                tail[here] = (np.searchsorted(levels, level[here], "right") + 1) / (DRAWS + 1)
        return tail


def _has_gaps(node: Any) -> bool:
    """A field that may be missing, or vectors of which some coordinates may."""
    return isinstance(node, OptionalEvent) or (
        getattr(node, "ndim", 0) == 2 and node.dtype.kind == "f"
    )


def _patterns(data: Any) -> np.ndarray:
    """Which of what may be missing is there, (rows, how many there are)."""
    nodes = [n for n in jax.tree.leaves(data, is_leaf=_has_gaps) if _has_gaps(n)]
    rows = len(jax.tree.leaves(data)[0])
    there = [
        np.asarray(n.present)[:, None] if isinstance(n, OptionalEvent) else ~np.isnan(n)
        for n in nodes
    ]
    return np.concatenate([np.zeros((rows, 0), bool), *there], 1)


def _masked(drawn: Any, pattern: np.ndarray) -> Any:
    """Draws that lack what a row of this pattern lacks."""
    left = iter(pattern.tolist())

    def one(node):
        if isinstance(node, OptionalEvent):
            return OptionalEvent(node.value, jnp.full(DRAWS, next(left)))
        if _has_gaps(node):
            there = np.array([next(left) for _ in range(node.shape[1])])
            return jnp.where(jnp.asarray(there)[None], node, jnp.nan)
        return node

    return jax.tree.map(one, drawn, is_leaf=_has_gaps)


def with_blocks(frame: Any, blocks: list[list[str]], whole: Imputed) -> Any:
    """The table with the gaps of blocks filled in, given the rest of the block and of the row."""
    for block in blocks:
        name = together(block)
        said = np.stack([whole.events[name], whole.sd[name], whole.low[name], whole.high[name]])
        for i, column in enumerate(block):
            absent = frame[column].isna().to_numpy()
            value, *spread = said[:, :, i]
            spread = [np.where(absent, part, np.nan) for part in spread]
            frame = filled_up(frame, column, absent, [value, *spread])
    return frame


@eqx.filter_jit
def _draws(model: Any, keys: Any) -> Any:
    return jax.vmap(model.sample)(keys)
