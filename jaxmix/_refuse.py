"""Sentences for transformations that cannot be had, and for classes that keep not their contract."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import PyTree

P = ParamSpec("P")
R = TypeVar("R")


def is_long(node) -> bool:
    """Whether a node is a table of rows, too long to look for traced values in it, or read once."""
    return (type(node) is list and len(node) > 1000) or hasattr(node, "__next__")


def leaves_of(arguments: PyTree) -> list:
    """The leaves of what a function is given, tables of rows left whole."""
    return jax.tree.leaves(arguments, is_leaf=is_long)


def on_host(instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that looks at values: under `jit`, `vmap` or `grad` it refuses.

    Args:
        instead: what to do, or to call, instead; the sentence's end.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
            if any(isinstance(leaf, Tracer) for leaf in leaves_of((args, kwargs))):
                raise TypeError(
                    f"{function.__name__} looks at values and runs on the host; it was called "
                    f"inside jit, vmap or grad: {instead}"
                )
            return function(*args, **kwargs)

        return refusing

    return mark


def checked_key(key: Any, function: str) -> Any:
    """The key, if it is one typed key; a sentence says how to make one."""
    shape = getattr(key, "shape", None)
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"{function} takes a typed key first, such as jax.random.key(0); it was given "
            f"{'an array of raw key data or numbers' if shape is not None else repr(key)[:60]}."
        )
    if shape != ():
        raise ValueError(
            f"{function} takes one random key; it was given {shape} of them. `jax.vmap` runs many."
        )
    return key


def forward_only(tree: PyTree, sentence: str) -> PyTree:
    """The same tree, whose reverse-mode derivative is refused; the forward one passes.

    What a while loop made has no reverse-mode derivative, and JAX's own error names the loop and
    not the function that its user called.
    """
    return eqxi.nondifferentiable_backward(tree, msg=sentence)


NO_PYTREE = "JAX sees no arrays in it: derive from jm.LogDensity or equinox.Module, or register it."


class BrokenContractError(ValueError):
    """A class keeps not to what it must: it is not the data's fault."""


def headed(owner: Any, method: str, value: Any) -> Any:
    """The same natural parameters or statistics, if they are a NamedTuple headed by `count`."""
    if getattr(value, "_fields", ("",))[0] != "count":
        raise BrokenContractError(
            f"{method} of {type(owner).__name__} gives a {type(value).__name__}: a NamedTuple headed "
            "by count is expected, such as jm.Total(count, total)."
        )
    return value


def misdeclared(kind: type, density: Any = None) -> str:
    """What is wrong with the `ranks` of a class, and of a density of it; "" if nothing is."""
    ranks: dict = getattr(kind, "ranks", {})
    fields = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    for name in ranks:
        if name not in fields and not hasattr(kind, name):
            return f"`ranks` of {kind.__name__} names {name!r}; its fields are {', '.join(fields)}."
    own = [f for f in fields if _is_floating(getattr(density, f, None))]
    # A class that counts its parameters itself need not declare them.
    foreign = [c for c in kind.__mro__ if not c.__module__.startswith(f"{__package__}.")]
    counted = any("num_parameters" in vars(c) for c in foreign)
    if own and not ranks and not counted:
        return (
            f"`ranks` of {kind.__name__} is empty: it says the rank of ONE density's parameters, "
            f"such as ranks = {{{own[0]!r}: 0}} for a number."
        )
    return ""


def _is_floating(value: Any) -> bool:
    kind = getattr(value, "dtype", None)
    return kind is not None and hasattr(value, "shape") and jnp.issubdtype(kind, jnp.inexact)


def is_opaque(node: Any) -> bool:
    """Whether an object is a leaf of its own tree: JAX does not see into it."""
    return any(leaf is node for leaf in jax.tree.leaves(node))
