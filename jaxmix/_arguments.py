"""What public functions are given, looked at in one place before any work.

`@takes(num=whole(1), delta=real(0, 1))` checks what the caller gave for these arguments, whether
by position or by name, and replaces it by what was read; defaults are taken as they are.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._density import is_density
from ._numerics import is_real, native
from ._refuse import checked_key, on_host

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[[Any, str], Any]


def takes(outside: str = "", /, **rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: each rule reads one argument, or raises a sentence that begins with its name.

    What looks at values, and so refuses traced ones, says `outside` what to do instead (`on_host`).
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        name = function.__name__

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own words
            bound.arguments.update(each_read(rules, bound.arguments, f" of {name}"))
            return function(*bound.args, **bound.kwargs)

        return on_host(outside)(checked) if outside else checked

    return mark


def each_read(rules: dict[str, Rule], given: Any, owner: str = "") -> dict[str, Any]:
    """What the rules read of the values that are given by these names."""
    return {k: rule(given[k], f"{k}{owner}") for k, rule in rules.items() if k in given}


def shown(value: Any) -> str:
    """A value in a sentence: its kind, and what it holds where that is short."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    shape = getattr(value, "shape", None)
    shape = "" if shape is None else f" of shape {shape}"
    return f"a {type(value).__name__}{shape} {text[:40]}".rstrip()


def optional(rule: Rule) -> Rule:
    """None, or what the rule reads."""
    return lambda value, name: None if value is None else rule(value, name)


def whole(least: int | None = None, traced: bool = False) -> Rule:
    """A whole number from `least` up, known before anything is traced, unless it may be `traced`."""

    def read(value, name):
        if isinstance(value, Tracer):
            if traced:
                return value
            known = False
        else:
            kind = getattr(value, "dtype", None)
            array = kind is not None and jnp.issubdtype(kind, jnp.integer)
            of_one = array and getattr(value, "shape", None) == ()
            known = of_one or (isinstance(value, int) and not isinstance(value, bool))
        if not known or (least is not None and value < least):
            bound = {None: "", 1: ""}.get(least, f" from {least} up")
            kind = "positive whole" if least == 1 else "whole"
            raise ValueError(f"{name} is a {kind} number{bound}; it was {shown(value)}.")
        return int(value)

    return read


def real(low: float = -math.inf, high: float = math.inf, ends: bool = False) -> Rule:
    """One real number between `low` and `high`, which are out of bounds unless `ends`.

    A traced one is taken as it is, if it is one real number.
    """

    def read(value, name):
        value = native(value)
        kind = getattr(value, "dtype", bool)
        of_one = getattr(value, "shape", None) == () and is_real(kind)
        number = isinstance(value, int | float) or (of_one and not jnp.issubdtype(kind, jnp.bool_))
        inside = number and (
            isinstance(value, Tracer) or (low <= value <= high if ends else low < value < high)
        )
        if not inside:
            where = "" if (low, high) == (-math.inf, math.inf) else f" between {low:g} and {high:g}"
            raise ValueError(f"{name} is a real number{where}; it was {shown(value)}.")
        return value

    return read


def numbers(ndim: int | None = None, floating: bool = False) -> Rule:
    """An array of real numbers, with so many axes."""

    def read(value, name):
        if not isinstance(value, jax.Array):
            try:
                value = jnp.asarray(native(np.asarray(value) if type(value) is list else value))
            except (TypeError, ValueError, OverflowError) as error:
                raise TypeError(f"{name} is an array of numbers; it was {shown(value)}.") from error
        if not is_real(value.dtype) or (ndim is not None and value.ndim != ndim):
            axes = "" if ndim is None else f" with {ndim} axes"
            raise ValueError(
                f"{name} is an array of real numbers{axes}; it was {shown(value)} and dtype "
                f"{value.dtype}."
            )
        if floating and not jnp.issubdtype(value.dtype, jnp.floating):
            value = value.astype(jnp.result_type(float))
        return value

    return read


def in_doubles(value: Any, name: str) -> np.ndarray:
    """Real numbers on the host, in NumPy's double precision."""
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "fiub" or np.ma.is_masked(value):
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} is an array of real numbers; it was {shown(value)}.") from None


def key(value: Any, name: str) -> Any:
    """One typed random key."""
    return checked_key(value, name.split(" of ")[-1])


def arrays(value: Any, name: str) -> Any:
    """A tree of arrays of real numbers, in the machine's byte order; of lists as NumPy reads them."""
    if is_density(value):
        raise TypeError(f"{name} is data; it was a density, {shown(value)}.")

    def read(leaf):
        found = native(leaf if hasattr(leaf, "shape") else np.asarray(leaf))
        if not is_real(getattr(found, "dtype", None)):
            raise TypeError(f"{name} holds arrays of real numbers; one of them was {shown(leaf)}.")
        return found

    return jax.tree.map(read, value)


def rows(value: Any, name: str) -> Any:
    """A tree of arrays of real numbers with one leading axis, that of the rows."""
    read = arrays(value, name)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(read)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"{name} holds rows along the first axis of every array; the shapes were "
            f"{[leaf.shape for leaf in jax.tree.leaves(read)]}."
        )
    if sizes == {(0,)}:
        raise ValueError(f"{name} has no rows.")
    return read


def of_several(rule: Rule) -> Rule:
    """A list of what the rule reads."""

    def read(value, name):
        several = isinstance(value, list | tuple | range | np.ndarray)
        if not several or getattr(value, "ndim", 1) == 0:
            raise TypeError(f"{name} is a list; it was {shown(value)}.")
        return [rule(one, f"each of {name}") for one in value]

    return read


def _that(holds: Callable[[Any], Any], words: str, refusal: type[Exception] = TypeError) -> Rule:
    """What passes a test, as it is."""

    def read(value, name):
        if not holds(value):
            raise refusal(f"{name} {words}; it was {shown(value)}.")
        return value

    return read


density = _that(is_density, "is a density, with a method log_prob")
function = _that(lambda value: callable(value) and not isinstance(value, type), "is a function")


def named(*names: str) -> Rule:
    """One of a few names."""
    holds = lambda value: isinstance(value, str) and value in names
    return _that(holds, f"is one of {', '.join(names)}", ValueError)


def made_by(kind: type | tuple[type, ...], how: str) -> Rule:
    """An object of a class of ours."""
    return _that(lambda value: isinstance(value, kind), f"comes from {how}")


def having(*names: str, how: str) -> Rule:
    """An object with these attributes, whatever its class."""
    has = lambda value: not isinstance(value, type) and all(hasattr(value, one) for one in names)
    return _that(has, f"comes from {how}")
