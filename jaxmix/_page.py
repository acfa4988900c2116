"""What the chapters share: a folder, headings, tables, saved pictures, quick compilations."""

import gc
import importlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

ROOM = 2_000_000  # bytes: pictures, and a report with the same inside


def door(folder: Path, room: int = ROOM) -> None:
    """Find before the work whether a folder can be written into; nothing is left of the trial.

    Args:
        folder: it, or what will be it.
        room: bytes that the disk must have free.

    Raises:
        OSError: by a sentence.
    """
    there = next(at for at in (folder, *folder.absolute().parents) if at.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{folder} can't be a folder: {there} is a file.")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise type(error)(f"{there} can't be written into: {error.strerror}.") from error
    disk = shutil.disk_usage(there)
    if disk.total and disk.free < room:
        raise OSError(
            f"The disk of {there} is full: {disk.free / 1e6:.1f} MB are free, and {folder} may "
            f"take {room / 1e6:.1f} MB."
        )


def heading(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as their widest entry: the first to the left, the rest to the right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (entry.rjust(width) for entry, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *rest]))


def expect_pictures() -> None:
    """Import what draws them in a thread, beside compiled code: it takes half a second."""
    if find_spec("matplotlib") is not None:
        name = ("matplotlib.pyplot",)
        threading.Thread(target=importlib.import_module, args=name, daemon=True).start()


def save(folder: Path, pictures: dict[str, Callable[[], Any]]) -> list[Path]:
    """Draw each picture and write it as a PNG; none where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return []
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    written = []
    with plt.ioff():
        for name, draw in pictures.items():
            figure = draw().figure
            figure.dpi = 120
            FigureCanvasAgg(figure).print_png(folder / f"{name}.png")  # `savefig` draws it twice
            plt.close(figure)
            written.append(folder / f"{name}.png")
    return written


@contextmanager
def quickly_compiled(wanted: bool = True) -> Iterator[None]:
    """Small data, many shapes: compiling is most of the time, and half of that is optimising."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", wanted or before)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def looking_seldom_for_garbage() -> None:
    """Let a process that traces its programs once look for garbage less often.

    Traces are many small objects: looking through them takes an eighth of the time.
    """
    gc.set_threshold(200_000, 20, 20)


def without_fusions() -> None:
    """Compile three times faster, programs that run slower: before the first compilation only."""
    flag, before = "--xla_cpu_use_fusion_emitters=false", os.environ.get("XLA_FLAGS", "")
    # XLA dies of a flag that it does not know; that this one is known has been seen of 0.10.
    if jax.__version_info__[:2] == (0, 10) and flag not in before:
        os.environ["XLA_FLAGS"] = f"{before} {flag}".strip()
