"""A fit's state on disk: when it is written, how a fit goes on from it, and the file itself.

The file is one `.npz` with a JSON header, written whole or not at all. The header names the format,
its version, and what the state belongs to; arrays are plain NumPy arrays named by their place. No
pickle is written or read.
"""

import hashlib
import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .entry import Options
from .state import History, State

FORMAT = "jaxmix fit"
VERSION = 6
FILE = "jaxmix-fit.npz"
HEADER = "header"
SECONDS = 5.0  # between two checkpoints


class Keeper:
    """Writes a state and its trace every few seconds and at the end, and reads them again.

    Args:
        folder: where.
        belongs: what the state belongs to, as JSON: another fit's is refused.
        options: of the fit. Steps and tolerance may differ from those before.
    """

    def __init__(self, folder: str | Path, belongs: dict[str, Any], options: Options):
        self.folder, self.belongs, self.options = folder, belongs, options
        self.last = -math.inf

    @property
    def rule(self) -> list[Any]:
        return [self.options.tol, self.options.stopping]

    def __call__(self, state: State, trace: list[History]) -> None:
        """Write, unless it was done a moment ago."""
        if time.monotonic() - self.last >= SECONDS:
            self.write(state, trace)

    def write(self, state: State, trace: list[History]) -> None:
        """Write now."""
        if jax.process_index() != 0:
            return
        columns = [[np.asarray(column).tolist() for column in part] for part in trace]
        notes = {"trace": columns, "rule": self.rule, "max_steps": self.options.max_steps}
        save(self.folder, state, self.belongs, notes)
        self.last = time.monotonic()

    def resume(self, begin: Callable[..., State], *args: Any) -> tuple[State | None, list[History]]:
        """The state to go on from, of the shapes that `begin(*args)` has, and its trace.

        None where there is none. What had stopped early by the same rule stays so.
        """
        if not (Path(self.folder) / FILE).exists():
            return None, []
        state, notes = load(self.folder, eqx.filter_eval_shape(begin, *args), self.belongs)
        early = ~state.running & (state.num_steps < notes["max_steps"])
        over = early & (notes["rule"] == self.rule)
        finite = jnp.isfinite(state.expected.objective.value)
        going = finite & (state.num_steps < self.options.max_steps) & ~over
        column = lambda values: jax.device_put(np.asarray(values, state.penalty.dtype))
        trace = [History(*map(column, part)) for part in notes["trace"]]
        return state._replace(running=going), trace


def digest(tree: PyTree) -> str:
    """A short fingerprint of a tree's structure, dtypes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not isinstance(leaf, jax.Array | np.ndarray | float | int):
            found.update(f"{jax.tree_util.keystr(path)} {type(leaf).__name__};".encode())
            continue
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def belonging(key: Any, template: PyTree, sample: PyTree, rows: int, options: Options) -> dict:
    """What the state of a fit belongs to: where it starts, its data, and how it steps."""
    begun = template if options.init == "given" else (template, jax.random.key_data(key))
    return {
        "start": digest(begun), "data": digest(sample), "rows": rows,
        "assignment": options.assignment, "accelerate": repr(options.solver),
    }  # fmt: skip


def _layout(tree: PyTree) -> list[tuple[str, str, list[int]]]:
    """The names, dtypes and shapes of a tree's arrays."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)) for path, leaf in flat]


def save(folder: str | Path, state: PyTree, belongs: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write a checkpoint: to another name, through to the disk, then renamed in one move.

    Args:
        folder: made if need be; the file in it is `jaxmix-fit.npz`.
        state: a tree of arrays.
        belongs: what it belongs to, as JSON: compared when it is read.
        notes: whatever else, as JSON.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout = [list(entry) for entry in _layout(state)]
    header = {
        "format": FORMAT, "version": VERSION, "belongs": belongs, "notes": notes, "layout": layout,
    }  # fmt: skip
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays = {f"a{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    # A name of its own: two processes that write at once do not mix their halves.
    partial = folder / f".{FILE}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            np.savez(file, **{HEADER: text}, **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / FILE)
        if hasattr(os, "O_DIRECTORY"):  # the new name, too, must outlive a loss of power
            entry = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)
    finally:
        partial.unlink(missing_ok=True)


def load(folder: str | Path, like: PyTree, belongs: dict[str, Any]) -> tuple[PyTree, dict]:
    """A folder's state, and the notes beside it.

    Args:
        folder: where `save` wrote.
        like: a tree of the structure, shapes and dtypes to expect.
        belongs: what the state must belong to.

    Raises:
        ValueError: for a checkpoint that is damaged, of another version, or of another fit.
    """
    path = Path(folder) / FILE
    advice = f"Give another folder, or remove {path.name} to begin anew."
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(bytes(stored[HEADER]).decode())
            arrays = [stored[f"a{i}"] for i in range(len(stored.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no readable checkpoint ({error}). {advice}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by a jaxmix fit. {advice}")
    if header["version"] != VERSION:
        raise ValueError(
            f"{path} has version {header['version']} of the format; this jaxmix reads {VERSION}. "
            f"{advice}"
        )
    for name, wanted in belongs.items():
        if header["belongs"].get(name) != wanted:
            raise ValueError(
                f"{path} belongs to another fit: its {name} is {header['belongs'].get(name)!r}, "
                f"and here it is {wanted!r}. {advice}"
            )
    for here, there in zip(_layout(like), header["layout"], strict=False):
        if list(here) != there:
            raise ValueError(
                f"{path} belongs to another model: it holds {there}, not {here}. {advice}"
            )
    structure = jax.tree.structure(like)
    if len(arrays) != structure.num_leaves:
        raise ValueError(
            f"{path} belongs to another model: it holds {len(arrays)} arrays, not "
            f"{structure.num_leaves}. {advice}"
        )
    return structure.unflatten([jnp.asarray(a) for a in arrays]), header["notes"]
