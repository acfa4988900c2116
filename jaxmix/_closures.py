"""Functions of a user's as trees: the arrays that they hold, and a key of all the rest.

A fresh closure of the same code over other arrays is then the same program with other arguments,
and calls outside `jit` compile once. What a function reads is looked up at every call: cells,
defaults and the globals of its own code, and so on through the functions among them. Classes and
installed packages are taken to stay as they are. What cannot be known has no key: a module of the
user's own, an object that may change.
"""

import contextlib
import dataclasses
import dis
import functools
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._sharding import automatic

ASKED_FOR_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
LARGEST_KEY = 10_000  # bytes of a NumPy array that is compared by value


class Unknown(Exception):
    """This value may change without a sign of it."""


class Held(NamedTuple):
    """What functions hold: arrays, and numbers on the host, which a program takes as they are."""

    arrays: list
    numbers: list


class Skeleton:
    """Functions without what they hold: equal where all the rest is the same."""

    def __init__(self, key: Any, build: Callable, numbers: tuple):
        self.key, self.build, self.numbers, self.hash = key, build, numbers, hash(key)

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        return self.key == other.key


def in_one_program(body: Callable, functions: tuple, *args: PyTree) -> PyTree:
    """`body(*functions, *args)` compiled as a whole, and once for all closures of the same code.

    Operation by operation where the functions can't be known, ask for the values of their arrays,
    or hold other numbers at each call, for which the program would be compiled again.

    Args:
        body: hashable; a method of a hashable object, for example.
        functions: the user's.
        *args: trees of arrays.
    """
    # Inside a user's own `jit` another is no use, and rules for derivatives would be traced beside
    # what they stand for. Its class has no public name; where it is another, nothing is lost.
    inside = any(type(leaf).__name__ == "DynamicJaxprTracer" for leaf in jax.tree.leaves(args))
    if inside or not jax.sharding.get_abstract_mesh().empty:  # or a shard of a program
        as_jax = lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a
        return body(*functions, *jax.tree.map(as_jax, args))
    found = Held([], [])
    try:
        skeleton = Skeleton(*_entry(functions, found, ()), tuple(found.numbers))
        numbers, program = _program(body, skeleton, jnp.result_type(int))
    except (Unknown, TypeError, RecursionError):  # a TypeError: no hash
        return body(*functions, *args)
    if numbers != skeleton.numbers:
        return body(*functions, *args)
    try:
        return program(automatic(found.arrays), *args)
    except ASKED_FOR_VALUES:
        return body(*functions, *args)


def arrays_held(functions: tuple) -> list:
    """The arrays that functions hold, as far as it can be known."""
    found = Held([], [])
    with contextlib.suppress(Unknown, TypeError, RecursionError):
        _entry(functions, found, ())
    return found.arrays


@functools.lru_cache(maxsize=256)
def _program(body: Callable, skeleton: Skeleton, precision: Any) -> tuple[tuple, Callable]:
    del precision  # with 64 bits a program is another

    run = lambda arrays, *args: body(*skeleton.build(arrays), *args)
    return skeleton.numbers, jax.jit(run, inline=True)


def _entry(value: Any, found: Held, inside: tuple) -> tuple[Any, Callable]:
    """The key of one value, and a function of all arrays that gives the value again."""
    if isinstance(value, jax.Array):
        place = len(found.arrays)
        found.arrays.append(value)
        return "array", lambda given: given[place]
    same = lambda given: value
    if value is None or isinstance(value, str | bytes):
        return (type(value), value), same
    if isinstance(value, bool | int | float | complex):
        found.numbers.append((type(value), repr(value)))
        return "number", same
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject or value.nbytes > LARGEST_KEY:
            raise Unknown
        copy = value.copy()
        found.numbers.append((type(value), value.dtype.str, value.shape, value.tobytes()))
        return "number", lambda given: copy
    if isinstance(value, types.ModuleType) and not _installed(value.__name__):
        raise Unknown  # its attributes may change from call to call
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc):
        return value, same
    if isinstance(value, types.FunctionType):
        return _function(value, found, inside)
    if isinstance(value, functools.partial):
        key, build = _entry((value.func, value.args, value.keywords), found, inside)
        return ("partial", key), lambda given: _partial(*build(given))
    if isinstance(value, types.MethodType):
        key, build = _entry((value.__func__, value.__self__), found, inside)
        return ("method", key), lambda given: types.MethodType(*build(given))
    leaves, tree = jax.tree.flatten(value, is_leaf=lambda node: node is None)
    if len(leaves) == 1 and leaves[0] is value:
        if not _settled(value):
            raise Unknown
        return value, same
    parts = [_entry(leaf, found, inside) for leaf in leaves]
    hash(tree)
    whole = lambda given: jax.tree.unflatten(tree, [build(given) for _, build in parts])
    return (tree, tuple(key for key, _ in parts)), whole


def _function(value: types.FunctionType, found: Held, inside: tuple) -> tuple[Any, Callable]:
    code, around, name = value.__code__, value.__globals__, value.__name__
    installed = _installed(around.get("__name__"))
    if installed and value.__closure__ is None:
        return value, lambda given: value
    if value in inside or value.__dict__.keys() - {"__wrapped__"}:
        raise Unknown
    inside = (*inside, value)
    try:
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
    except ValueError:  # an empty cell
        raise Unknown from None
    read = {} if installed else {n: around[n] for n in _globals_read(code) if n in around}
    held = (cells, value.__defaults__, value.__kwdefaults__, read)
    key, whole = _entry(held, found, inside)

    def build(given):  # the function itself is not kept: its cells may hold tracers
        cells, defaults, keywords, read = whole(given)
        closure = tuple(types.CellType(cell) for cell in cells)
        made = types.FunctionType(code, around | read, name, defaults, closure)
        made.__kwdefaults__ = keywords
        return made

    return (code, id(around), key), build


def _partial(function, args, keywords):
    return functools.partial(function, *args, **keywords)


def _settled(value: Any) -> bool:
    """Whether an object that is no tree of arrays is compared by what it holds, or never changes."""
    if isinstance(value, np.dtype | range | slice | frozenset | types.EllipsisType):
        return True
    if dataclasses.is_dataclass(value):
        return value.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    return type(value).__module__.partition(".")[0] in ("jax", "jaxlib")


@functools.lru_cache(maxsize=4096)
def _globals_read(code: types.CodeType) -> tuple[str, ...]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    nested = [_globals_read(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return tuple(sorted(own.union(*nested)))


@functools.lru_cache(maxsize=4096)
def _installed(module: str | None) -> bool:
    """Whether a module is of this package or of one that is installed, not the user's own."""
    name = (module or "").partition(".")[0]
    if name in (__name__.partition(".")[0], "jax", "jaxlib", "builtins"):
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return "site-packages" in file
