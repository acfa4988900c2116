"""Models in files: their arrays and a description in JSON; nothing in them is ever executed.

A path that ends in `.safetensors` is written in that format, any other as a NumPy archive.
"""

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _events, combinators, families, regression
from .._density import made
from .._lazy import imported
from .._refuse import on_host
from .._results import RESULTS
from .._results import name as name_of_result
from .._warn import warn
from ..combinators.constrained import Constrained
from ..combinators.tied import Hole
from ..em.run import Solution
from ..em.solution import Fit, Restarts
from ..em.solve import FixedPoint
from ..em.state import History
from ..families._support import Domain

VERSION = 1
_DESCRIPTION = "description"
SAFE = ".safetensors"
CONTAINERS = {"tuple": tuple, "list": list, "dict": dict, "ordered": OrderedDict}
_TENSORS = "safetensors", "A .safetensors file needs that library"


def _known(classes: Sequence[type]) -> dict[str, type]:
    """The classes that a file may name, by their names."""
    if isinstance(classes, type):
        name = classes.__name__
        raise TypeError(f"classes is a list, such as classes=[{name}]; it was the class {name}.")
    house = [c for module in (families, combinators, regression) for c in vars(module).values()]
    house += [Domain, Hole, Constrained, Fit, Solution, FixedPoint, History, Restarts]
    kinds = [c for c in house if isinstance(c, type) and issubclass(c, tuple | eqx.Module)]
    return {c.__name__: c for c in [*kinds, *_events.CLASSES, *classes]}


def _fields(cls: Any) -> set[str]:
    if issubclass(cls, tuple):
        return set(cls._fields)  # pyright: ignore[reportAttributeAccessIssue]
    return {field.name for field in dataclasses.fields(cls)}


@on_host("save what the transformed function returns.")
def save(path: str | Path, model: PyTree, *, classes: Sequence[type] = ()) -> None:
    """Write a model, or a fit, to a file: its arrays and a description in JSON.

    Args:
        path: the file, `.safetensors` for that format (with the extra `safetensors`), any other
            name for a NumPy archive; overwritten, by a rename once all is written.
        model: a density made of the house's, of tuples and of dicts; or what `jm.fit`, `em.run`
            and `em.fixed_point` give.
        classes: classes of your own (`equinox.Module`) that the model is made of; those given to
            `jm.event_kind` are known.

    Raises:
        ValueError: for a part that cannot be described, such as a function.
        ModuleNotFoundError: for `.safetensors` without that library.

    Example:
        >>> import jaxmix as jm, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
        >>> jm.save(path, jm.Normal(1, 2))
        >>> jm.load(path).mean
        Array(1., dtype=float32)
    """
    known = _known(classes)
    arrays: list[np.ndarray] = []

    def describe(node: Any, place: str) -> Any:
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, RESULTS):
            return {"result": name_of_result(node)}
        if isinstance(node, jax.Array | np.ndarray | np.generic):
            arrays.append(np.asarray(node))
            return {"array": len(arrays) - 1}
        if type(node) in (tuple, list):
            items = [describe(item, f"{place}[{i}]") for i, item in enumerate(node)]
            return {type(node).__name__: items}
        if isinstance(node, dict) and all(isinstance(name, str) for name in node):
            kind = "ordered" if isinstance(node, OrderedDict) else "dict"
            return {kind: {name: describe(v, f"{place}.{name}") for name, v in node.items()}}
        name = type(node).__name__
        if known.get(name) is type(node):
            fields = {f: getattr(node, f) for f in _fields(type(node))}
            inner = {f: describe(v, f"{place}.{f}") for f, v in fields.items()}
            return {"class": name, "fields": inner}
        raise ValueError(
            f"A {name} at {place} cannot be saved; a class of your own goes into `classes`."
        )

    text = json.dumps({"version": VERSION, "model": describe(model, "model")})
    contents = {f"array_{i}": array for i, array in enumerate(arrays)}
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    write = _write_safetensors if path.suffix == SAFE else _write_archive
    write(partial, contents, text)
    partial.replace(path)


def _write_archive(path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    contents: dict[str, Any] = arrays | {_DESCRIPTION: np.array(text)}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **contents)


def _read_archive(path: Path) -> tuple[dict[str, np.ndarray], str]:
    with np.load(path, allow_pickle=False) as archive:
        contents = {name: archive[name] for name in archive.files}
    return contents, str(contents.pop(_DESCRIPTION))


def _write_safetensors(path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    library = imported("safetensors.numpy", *_TENSORS)
    library.save_file(arrays, path, metadata={_DESCRIPTION: text})


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    library = imported("safetensors", *_TENSORS)
    try:
        with library.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            return arrays, (file.metadata() or {})[_DESCRIPTION]
    except library.SafetensorError as error:
        raise ValueError(str(error)) from error


def _tell_lost_digits(path: Path, contents: dict[str, np.ndarray]) -> None:
    """Say that numbers of 64 bits are read as numbers of 32, where they lose by it."""
    if jax.config.read("jax_enable_x64"):
        return
    wide = [a for a in contents.values() if a.dtype in (np.float64, np.int64) and a.size]
    off = [np.abs(a - a.astype(a.dtype.str.replace("8", "4")).astype(a.dtype)).max() for a in wide]
    large = [float(o / max(np.abs(a).max(), 1e-300)) for o, a in zip(off, wide, strict=True)]
    if max(large, default=0.0) > 0:
        warn(
            f"{path} was written with 64 bits and is read with 32: parameters move by up to "
            f"{max(large):.1e} of their size. Enable x64 before loading to keep every digit."
        )


def load(path: str | Path, *, classes: Sequence[type] = ()) -> PyTree:
    """Read a model, or a fit, that `jm.save` wrote.

    Args:
        path: the file.
        classes: classes of your own that the file may name, besides the house's.

    Raises:
        ValueError: if the file is no such archive, is of a later version, or names a class that
            is neither the house's nor among `classes`.

    Example:
        >>> import jaxmix as jm, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
        >>> jm.save(path, jm.Poisson(3))
        >>> jm.load(path).mean.round(4)
        Array(3., dtype=float32)
    """
    known = _known(classes)
    path = Path(path)
    read = _read_safetensors if path.suffix == SAFE else _read_archive
    try:
        contents, text = read(path)
        described = json.loads(text)
        version, tree = described["version"], described["model"]
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no model that jm.save wrote.") from error
    if version > VERSION:
        raise ValueError(f"{path} is of version {version}; this jaxmix reads up to {VERSION}.")

    _tell_lost_digits(path, contents)

    def build(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        if "array" in node:
            array = contents[f"array_{node['array']}"]
            return jnp.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype))
        if "result" in node:
            return getattr(RESULTS, node["result"])
        for kind in CONTAINERS.keys() & node:
            held = node[kind]
            pairs = [(n, build(v)) for n, v in held.items()] if isinstance(held, dict) else None
            return CONTAINERS[kind](map(build, held) if pairs is None else pairs)
        cls = known.get(node["class"])
        if cls is None or set(node["fields"]) != _fields(cls):
            raise ValueError(
                f"{path} holds a {node['class']}, which is not known here in that form; a class "
                "of your own goes into `classes`."
            )
        fields = {name: build(value) for name, value in node["fields"].items()}
        if issubclass(cls, tuple):
            return cls(**fields)
        return made(cls, **fields)

    return build(tree)
