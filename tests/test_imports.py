"""Imports run downward only: no circle, neither of modules nor of rooms; and files stay short."""

import ast
import graphlib
import statistics
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "jaxmix").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in FILES}


def imported(name, path):
    """The package's modules that one imports when it is imported itself."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found = [f"{base}.{alias.name}" for alias in node.names]
            yield from (full if full in PATHS else base for full in found)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {name: {to for to in imported(name, path) if to in PATHS} for name, path in PATHS.items()}


@pytest.mark.parametrize("depth", [2, 9])  # names as long as a room's, and as a module's
def test_there_is_no_circle(depth):
    short = lambda name: ".".join(name.split(".")[:depth])
    rooms = {}
    for name, below in GRAPH.items():
        lower = {short(to) for to in below} - {short(name), "jaxmix"}
        rooms.setdefault(short(name), set()).update(lower if name != "jaxmix" else ())
    assert len(rooms) > 40
    list(graphlib.TopologicalSorter(rooms).static_order())


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert max(lengths.values()) <= 400, max(lengths, key=lambda path: lengths[path])
    assert statistics.median(lengths.values()) <= 150
