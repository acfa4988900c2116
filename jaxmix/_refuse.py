"""Transformations that cannot be had are refused by a sentence that names what to use."""

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


def on_host(instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that looks at values: under `jit`, `vmap` or `grad` it refuses.

    Args:
        instead: what to do, or to call, instead; the sentence's end.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
            leaves = jax.tree.leaves((args, kwargs), is_leaf=is_long)
            if any(isinstance(leaf, Tracer) for leaf in leaves):
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
