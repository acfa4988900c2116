"""The one loop on the host, under arrays, sources and online alike: blocks, the bar, and ctrl-C.

And a fit's state on disk: when it is written, how a fit goes on from it, and the file itself. The
file is one `.npz` with a JSON header, written whole or not at all. The header names the format, its
version, and what the state belongs to; arrays are plain NumPy arrays named by their place. No
pickle is written or read.
"""

import functools
import hashlib
import itertools
import json
import math
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._progress import Bar
from .entry import Options
from .state import History, State

FORMAT = "jaxmix fit"
VERSION = 6
FILE = "jaxmix-fit.npz"
HEADER = "header"
SECONDS = 5.0  # between two checkpoints


class Progress:
    """Shows how far a fit is and how good; inside its context ctrl-C sets `interrupted`.

    A second ctrl-C raises.
    """

    def __init__(self, total: int, wanted: bool | None, unit: str = "step"):
        self.bar = Bar(wanted, total=total, desc="EM", unit=unit)
        self.interrupted = False
        self._old: Any = None

    def __enter__(self) -> Self:
        # Signals belong to the main thread; elsewhere ctrl-C keeps its usual meaning.
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
        self.bar.__exit__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def show(self, told: Callable[[], tuple[int, float]]) -> None:
        """Show what is told: how many units are done, and nats a datum."""
        if self.bar.due():
            self.bar.shown.n, level = told()
            self.bar.shown.set_postfix_str(f"{level:.6f} nats a datum")


class Keeper:
    """Writes a state and its trace every few seconds and at the end, and reads them again.

    What it `belongs` to must be the same; the options of steps and tolerance may have changed.
    """

    def __init__(self, folder: str | Path, belongs: dict[str, Any], options: Options):
        self.folder, self.belongs, self.most = folder, belongs, options.max_steps
        self.rule, self.last = [options.tol, options.stopping], -math.inf

    def __call__(self, state: State, trace: list[History]) -> None:
        """Write, unless it was done a moment ago."""
        if time.monotonic() - self.last >= SECONDS:
            self.write(state, trace)

    def write(self, state: State, trace: list[History]) -> None:
        """Write now."""
        if jax.process_index() != 0:
            return
        columns = [[np.asarray(column).tolist() for column in part] for part in trace]
        notes = {"trace": columns, "rule": self.rule, "max_steps": self.most}
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
        going = finite & (state.num_steps < self.most) & ~over
        column = lambda values: jax.device_put(np.asarray(values, state.penalty.dtype))
        trace = [History(*map(column, part)) for part in notes["trace"]]
        return state._replace(running=going), trace


def best_of_all(state: Any, trace: list[Any]) -> tuple[int, float]:
    """Steps, and the best objective in nats a datum, of one fit's state or of a stack of them."""
    del trace
    total, weight = state.expected.objective, np.asarray(state.expected.weight)
    best = np.max((np.asarray(total.high) + np.asarray(total.low)) / weight)
    return int(np.max(state.num_steps)), float(best)


def drive(
    block: Callable[[Any, list[Any]], tuple[Any, list[Any]] | None],
    state: Any,
    trace: list[Any],
    bar: Progress,
    keeper: Keeper | None = None,
    told: Callable[[Any, list[Any]], tuple[int, float]] = best_of_all,
) -> tuple[Any, list[Any]]:
    """Blocks of a fit, one after another, until nothing is left to do, or ctrl-C.

    A block is what runs between two looks of the host: some steps of every lane over arrays, a
    step over a source, which is a pass over its batches, or one batch of online EM. It takes the
    state and the trace so far to the next state and what it adds to the trace; None where nothing
    is left, or where ctrl-C cut it short: it then counts for nothing. `told` is what the bar,
    which the caller has entered, shows of the two.
    """
    trace = list(trace)
    while (done := block(state, trace)) is not None:
        state, part = done
        trace += part
        if keeper is not None:
            keeper(state, trace)
        bar.show(functools.partial(told, state, trace))
        if bar.interrupted:
            break
    if keeper is not None:
        keeper.write(state, trace)
    return state, trace


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


def _layout(tree: PyTree) -> list[list]:
    """The names, dtypes and shapes of a tree's arrays, as JSON."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [[jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)] for path, leaf in flat]


def save(folder: str | Path, state: PyTree, belongs: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write a tree of arrays, what it belongs to and notes, which are JSON.

    To another name, through to the disk, then renamed in one move.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT, "version": VERSION, "belongs": belongs, "notes": notes,
        "layout": _layout(state),
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
    """A folder's state, of the structure, shapes and dtypes of `like`, and the notes beside it.

    Raises:
        ValueError: for a checkpoint that is damaged, of another version, or of another fit.
    """
    path = Path(folder) / FILE

    def refused(why: str) -> ValueError:
        return ValueError(f"{path} {why}. Give another folder, or remove {FILE} to begin anew.")

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(bytes(stored[HEADER]).decode())
            arrays = [stored[f"a{i}"] for i in range(len(stored.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise refused(f"is no readable checkpoint ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise refused("was not written by a jaxmix fit")
    if header["version"] != VERSION:
        raise refused(f"has version {header['version']} of the format; this jaxmix reads {VERSION}")
    for name, wanted in belongs.items():
        if (found := header["belongs"].get(name)) != wanted:
            raise refused(f"belongs to another fit: its {name} is {found!r}, here it is {wanted!r}")
    for here, there in itertools.zip_longest(_layout(like), header["layout"]):
        if here != there:
            raise refused(f"belongs to another model: it holds {there}, not {here}")
    structure = jax.tree.structure(like)
    return structure.unflatten([jnp.asarray(a) for a in arrays]), header["notes"]
