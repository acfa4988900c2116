"""The tour that `python -m jaxmix` gives: one chapter a wing, on data that ship with it."""

import time
from collections.abc import Callable
from pathlib import Path

import jax

from .clusters import clusters
from .evidence import evidence
from .integrals import integrals

CHAPTERS: tuple[Callable[..., list[Path]], ...] = (clusters, integrals, evidence)


def tour(folder: Path) -> list[Path]:
    """Print each chapter, write its pictures into `folder`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    before = jax.config.read("jax_disable_most_optimizations")
    # Small data, many shapes: compiling is most of the time, and half of that is optimising.
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        written = [path for chapter in CHAPTERS for path in chapter(folder)]
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    print(f"\n{time.perf_counter() - began:.0f} seconds. ", end="")
    if written:
        print(f"Pictures in {folder.resolve()}:")
        for path in written:
            print(f"  {path.name}")
    else:
        print("No pictures: they need the extra `plot`, pip install 'jaxmix[plot]'.")
    return written
