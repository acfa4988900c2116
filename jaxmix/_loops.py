"""Loops and conditions inside `jax.shard_map`, whose constants vary over devices as their data do.

With its check on, `jax.shard_map` asks that what a loop carries, and what branches give, vary over
the same mesh axes at each turn: zeros, counters and constants vary over none. Within `over_axes`
they are marked; elsewhere these are the functions of `jax.lax`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

_axes: Any = jax.make_user_context(None)


def over_axes(names: frozenset) -> AbstractContextManager:
    """Inside, all that loops carry varies over these mesh axes."""
    return _axes(tuple(sorted(names)))


def varies_on(abstract: Any) -> frozenset:
    """The mesh axes that an array varies on inside `jax.shard_map`."""
    kind = getattr(abstract, "manual_axis_type", None)  # `vma` in earlier versions of JAX
    return getattr(kind, "varying", None) or getattr(abstract, "vma", None) or frozenset()


def marked(tree: PyTree) -> PyTree:
    """Arrays as varying over the axes that all do here."""
    names = _axes.value
    if not names:
        return tree

    def mark(leaf):
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return leaf  # to mark a key is to use it
        missing = tuple(name for name in names if name not in varies_on(jax.typeof(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def scan(body: Callable, init: PyTree, xs: PyTree = None, **how: Any) -> tuple[PyTree, PyTree]:
    """`jax.lax.scan`."""
    if not _axes.value:
        return jax.lax.scan(body, init, xs, **how)

    def step(carry, x):
        carry, out = body(carry, x)
        return marked(carry), out

    return jax.lax.scan(step, marked(init), xs, **how)


def while_loop(more: Callable, body: Callable, init: PyTree) -> PyTree:
    """`jax.lax.while_loop`."""
    if not _axes.value:
        return jax.lax.while_loop(more, body, init)
    return jax.lax.while_loop(more, lambda carry: marked(body(carry)), marked(init))


def fori_loop(low: Any, high: Any, body: Callable, init: PyTree) -> PyTree:
    """`jax.lax.fori_loop`."""
    if not _axes.value:
        return jax.lax.fori_loop(low, high, body, init)
    if isinstance(low, int) and isinstance(high, int):
        return jax.lax.fori_loop(low, high, lambda i, carry: marked(body(i, carry)), marked(init))
    low, high = marked((jnp.asarray(low), jnp.asarray(high)))
    return jax.lax.fori_loop(low, high, lambda i, carry: marked(body(i, carry)), marked(init))


def cond(predicate: Any, yes: Callable, no: Callable, *operands: PyTree) -> PyTree:
    """`jax.lax.cond`."""
    if not _axes.value:
        return jax.lax.cond(predicate, yes, no, *operands)
    branch = lambda function: lambda *given: marked(function(*given))
    return jax.lax.cond(predicate, branch(yes), branch(no), *operands)
