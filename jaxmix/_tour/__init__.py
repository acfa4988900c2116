"""The tour that `python -m jaxmix` gives: one chapter a wing, on data that ship with it."""

import time
from collections.abc import Callable
from pathlib import Path

from .._page import door, quickly_compiled
from .certified import certified
from .clusters import clusters
from .evidence import evidence
from .integrals import integrals
from .records import records

CHAPTERS: tuple[Callable[..., list[Path]], ...] = (
    clusters,
    records,
    integrals,
    evidence,
    certified,
)


def tour(folder: Path) -> list[Path]:
    """Print each chapter, write its pictures into `folder`, and return their paths."""
    door(folder)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with quickly_compiled():
        written = [path for chapter in CHAPTERS for path in chapter(folder)]
    print(f"\n{time.perf_counter() - began:.0f} seconds. ", end="")
    if written:
        print(f"Pictures in {folder.resolve()}:")
        for path in written:
            print(f"  {path.name}")
    else:
        print("No pictures: they need the extra `plot`, pip install 'jaxmix[plot]'.")
    return written
