"""Transformations that cannot be had are refused by a sentence that names what to use."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import equinox.internal as eqxi
import jax
from jax.core import Tracer
from jaxtyping import PyTree

P = ParamSpec("P")
R = TypeVar("R")


def _is_long(node) -> bool:
    """Whether a node is a table of rows, too long to look for traced values in it."""
    return type(node) is list and len(node) > 1000


def on_host(instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that looks at values: under `jit`, `vmap` or `grad` it refuses.

    Args:
        instead: what to do, or to call, instead; the sentence's end.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
            leaves = jax.tree.leaves((args, kwargs), is_leaf=_is_long)
            if any(isinstance(leaf, Tracer) for leaf in leaves):
                raise TypeError(
                    f"{function.__name__} looks at values and runs on the host; it was called "
                    f"inside jit, vmap or grad: {instead}"
                )
            return function(*args, **kwargs)

        return refusing

    return mark


def forward_only(tree: PyTree, sentence: str) -> PyTree:
    """The same tree, whose reverse-mode derivative is refused; the forward one passes.

    What a while loop made has no reverse-mode derivative, and JAX's own error names the loop and
    not the function that its user called.
    """
    return eqxi.nondifferentiable_backward(tree, msg=sentence)
