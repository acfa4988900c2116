"""`python -m jaxmix apply MODEL TABLE`: what a fitted mixture says of new rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._hooks import TellsPosterior
from .._page import door
from ..combinators import OptionalEvent
from ..data import encode, load
from ..data.encode import structure
from ..plot._canvas import each
from .amounts import Reading
from .joint import rows_of, together
from .read import read_table
from .rows import filled_in_vectors, rows_under
from .safe import Place, stopped_by_ctrl_c
from .write import imputed, posteriors

DRAWS = 4096
RATE = 0.01  # of flagged rows, were the model true
PATTERNS = 64  # of missing fields, beyond which the rarest have no tail probability


def apply(
    model_path: Path, path: Path, folder: Path, *, na: Sequence[str] = (), force: bool = False
) -> None:
    """Posteriors, log-densities, outliers and imputed values of a table's rows under a model.

    Raises:
        ValueError: for a column or a label that the model knows and the table lacks, or the other
            way round, by a sentence.
        OSError: for a file that is absent, or a folder that can't be written.
    """
    if not model_path.is_file():
        raise FileNotFoundError(f"There is no file {model_path}.")
    door(folder)
    with jax.enable_x64(True):
        model = load(model_path)
        if not isinstance(model, TellsPosterior):
            raise ValueError(f"{model_path.name} is a {type(model).__name__}, and no mixture.")
        noted = model_path.with_name("reading.json")
        given = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        readings = {
            name: Reading(**one)._replace(na=tuple(one["na"]))
            for name, one in given.get("columns", {}).items()
        }
        read = read_table(path, na=na, readings=readings)
        names = [name for name, _ in structure(model).items()]
        blocks = [block for block in given.get("blocks", []) if together(block) in names]
        rows = rows_of(read.frame, names, blocks)
        data = encode(model, rows if blocks else read.frame)
        place = Place(folder, force)
        with stopped_by_ctrl_c(place):
            posterior = rows_under(model, data, "Rows").posterior
            posteriors(place.part, posterior)
            level, tail = tail_probabilities(model, data)
            frame = _of_rows(posterior, level, tail)
            frame.to_csv(place.part / "rows.csv", index=False)
            filled = imputed(model, structure(model), data, read.frame, posterior)
            filled = with_blocks(model, read.frame if filled is None else filled, blocks, posterior)
            if filled is not None:
                filled.to_csv(place.part / "imputed.csv", index=False)
            written = place.keep()
    flagged = int((tail < RATE).sum())
    known = {column for block in blocks for column in block} | set(names)
    more = [name for name in read.frame.columns if name not in known]
    print(*read.notes, sep="\n")
    if more:
        print(f"Columns that the model is not of: {', '.join(more)}.")
    print(
        f"{len(posterior)} rows, mean log-density {level.mean():.4f} nats. {flagged} rows are less "
        f"likely than {1 - RATE:.0%} of what the model itself draws; {RATE * len(posterior):.0f} were "
        "expected.\n"
        f"Written to {place.folder.resolve()}: {', '.join(file.name for file in written)}"
    )


def _of_rows(posterior: np.ndarray, level: np.ndarray, tail: np.ndarray) -> Any:
    import pandas as pd

    columns = {
        "component": posterior.argmax(1),
        "probability": posterior.max(1),
        "log density": level,
        "tail probability": tail,
        "outlier": (tail < RATE).astype(int),
    }
    return pd.DataFrame(columns)


def tail_probabilities(model: Any, data: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each row's log-density, and how often the model draws a row that is less likely.

    A row with missing fields is compared with draws that lack the same: under the model the
    second numbers are uniform, so that a rate of flags is what it is said to be.
    """
    level = each(model, "log_prob", data)
    drawn = _draws(model, jax.random.split(jax.random.key(seed), DRAWS))
    rows, patterns = len(level), _patterns(data)
    unique, which, counts = np.unique(patterns, axis=0, return_inverse=True, return_counts=True)
    tail = np.full(rows, np.nan)
    for index in np.argsort(-counts)[:PATTERNS]:
        levels = np.sort(each(model, "log_prob", _masked(drawn, unique[index])))
        here = which.ravel() == index
        tail[here] = (np.searchsorted(levels, level[here], "right") + 1) / (DRAWS + 1)
    return level, tail


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


def with_blocks(model: Any, frame: Any, blocks: list[list[str]], posterior: np.ndarray) -> Any:
    """The table with the gaps of blocks filled in, given the rest of the block and of the row."""
    frame, gaps = frame.copy(), any(f"{name} imputed" in frame for name in frame.columns)
    for block in blocks:
        vectors = frame[block].to_numpy(float)
        if not np.isnan(vectors).any():
            continue
        gaps = True
        values, spreads = filled_in_vectors(model, together(block), vectors, posterior)
        for i, name in enumerate(block):
            absent = np.isnan(vectors[:, i])
            if absent.any():
                frame[name], frame[f"{name} imputed"] = values[:, i], absent.astype(int)
                frame[f"{name} sd"] = spreads[:, i]
    return frame if gaps else None


@eqx.filter_jit
def _draws(model: Any, keys: Any) -> Any:
    return jax.vmap(model.sample)(keys)
