"""The tour that `python -m jaxmix` gives: one chapter a wing, on data that ship with it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax

from .._page import door, expect_pictures, quickly_compiled
from .birds import clusters, records
from .evidence import evidence
from .rejections import certified, integrals

CHAPTERS: dict[str, Callable[..., list[Path]]] = {
    "clusters": clusters,
    "records": records,
    "integrals": integrals,
    "evidence": evidence,
    "certified": certified,
}
LATER = ("evidence", "certified")  # about half of the work


def chapters(folder: Path, names: Iterable[str]) -> list[Path]:
    """Print these chapters, and return the paths of their pictures."""
    expect_pictures()
    with quickly_compiled():
        return [path for name in names for path in CHAPTERS[name](folder)]


def tour(folder: Path) -> list[Path]:
    """Print each chapter, write its pictures into `folder`, and return their paths.

    Tracing keeps one core busy. Where there are two, the later chapters have a process of their own.
    """
    door(folder)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    # A second process would find an accelerator taken.
    two = (os.cpu_count() or 1) > 1 and jax.default_backend() == "cpu"
    later = [name for name in CHAPTERS if two and name in LATER]
    with _apart(folder, later) as apart:
        written = chapters(folder, [name for name in CHAPTERS if name not in later])
        text = apart.communicate()[0] if apart else ""
    if apart and apart.returncode == 0:
        said, names = json.loads(text)
        print(said, end="")
        written += [folder / name for name in names]
    else:  # none, or it died for want of memory, say
        written += chapters(folder, later)
    print(f"\n{time.perf_counter() - began:.0f} seconds. ", end="")
    if written:
        print(f"Pictures in {folder.resolve()}:")
        for path in written:
            print(f"  {path.name}")
    else:
        print("No pictures: they need the extra `plot`, pip install 'jaxmix[plot]'.")
    return written


@contextlib.contextmanager
def _apart(folder: Path, names: list[str]) -> Iterator[subprocess.Popen[str] | None]:
    """A process that makes chapters, ended with the block; None for no chapters."""
    if not names:
        yield None
        return
    line = [sys.executable, "-m", __name__, str(folder), *names]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as made:
        try:
            yield made
        finally:
            made.kill()
