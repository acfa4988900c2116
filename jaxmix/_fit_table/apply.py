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
from ..combinators import OptionalEvent
from ..data import encode, load
from ..data.encode import structure
from ..plot._canvas import each
from .amounts import Reading
from .read import read_table
from .rows import rows_under
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
    with jax.enable_x64(True):
        model = load(model_path)
        if not isinstance(model, TellsPosterior):
            raise ValueError(f"{model_path.name} is a {type(model).__name__}, and no mixture.")
        noted = model_path.with_name("reading.json")
        given = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
        readings = {
            name: Reading(**one)._replace(na=tuple(one["na"])) for name, one in given.items()
        }
        read = read_table(path, na=na, readings=readings)
        names = [name for name, _ in structure(model).items()]
        absent = [name for name in names if name not in read.frame.columns]
        if absent:
            raise ValueError(
                f"{read.name} has no column {absent[0]!r}, which the model is of; it has "
                f"{', '.join(read.frame.columns)}."
            )
        data = encode(model, read.frame)
        place = Place(folder, force)
        with stopped_by_ctrl_c(place):
            posterior = rows_under(model, data, "Rows").posterior
            posteriors(place.part, posterior)
            level, tail = tail_probabilities(model, data)
            frame = _of_rows(posterior, level, tail)
            frame.to_csv(place.part / "rows.csv", index=False)
            filled = imputed(model, structure(model), data, read.frame, posterior)
            if filled is not None:
                filled.to_csv(place.part / "imputed.csv", index=False)
            written = place.keep()
    flagged = int((tail < RATE).sum())
    more = [name for name in read.frame.columns if name not in names]
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
    is_optional = lambda node: isinstance(node, OptionalEvent)
    optional = [n for n in jax.tree.leaves(data, is_leaf=is_optional) if is_optional(n)]
    rows = len(level)
    present = np.stack([np.asarray(n.present) for n in optional], 1) if optional else None
    if present is None:
        present = np.zeros((rows, 0), bool)
    patterns, which, counts = np.unique(present, axis=0, return_inverse=True, return_counts=True)
    tail = np.full(rows, np.nan)
    for index in np.argsort(-counts)[:PATTERNS]:
        masks = iter(patterns[index])
        masked = jax.tree.map(
            lambda n, masks=masks: (
                OptionalEvent(n.value, jnp.full(DRAWS, bool(next(masks)))) if is_optional(n) else n
            ),
            drawn,
            is_leaf=is_optional,
        )
        levels = np.sort(each(model, "log_prob", masked))
        here = which.ravel() == index
        tail[here] = (np.searchsorted(levels, level[here], "right") + 1) / (DRAWS + 1)
    return level, tail


@eqx.filter_jit
def _draws(model: Any, keys: Any) -> Any:
    return jax.vmap(model.sample)(keys)
