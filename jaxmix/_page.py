"""What the chapters share: headings, tables, saved pictures, quick compilations."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax


def heading(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as their widest entry: the first to the left, the rest to the right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (entry.rjust(width) for entry, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *rest]))


def save(folder: Path, pictures: dict[str, Callable[[], Any]]) -> list[Path]:
    """Draw each picture and write it as a PNG; none where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return []
    import matplotlib.pyplot as plt

    written = []
    with plt.ioff():
        for name, draw in pictures.items():
            figure = draw().figure
            figure.savefig(folder / f"{name}.png", dpi=120)
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


def without_fusions() -> None:
    """Compile three times faster, programs that run slower: before the first compilation only."""
    flag, before = "--xla_cpu_use_fusion_emitters=false", os.environ.get("XLA_FLAGS", "")
    # XLA dies of a flag that it does not know; that this one is known has been seen of 0.10.
    if jax.__version_info__[:2] == (0, 10) and flag not in before:
        os.environ["XLA_FLAGS"] = f"{before} {flag}".strip()
