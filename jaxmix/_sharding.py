"""What loops need inside `jax.shard_map`: carries that vary over devices as their bodies do."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import PyTree

C = TypeVar("C", bound=PyTree)


def varying(body: Callable[[C], PyTree], carry: C) -> C:
    """A loop's first carry, marked as varying over the mesh axes that its body's result varies on.

    A loop asks that both be alike; constants and zeros, of which a carry starts, vary on none.
    Outside `jax.shard_map` it is the carry itself.
    """
    axes = lambda leaf: getattr(jax.typeof(leaf), "vma", frozenset())
    while True:
        given = jax.tree.leaves(carry)
        out = [
            getattr(a, "vma", None) or frozenset()
            for a in jax.tree.leaves(jax.eval_shape(body, carry))
        ]
        missing = [tuple(a - axes(leaf)) for a, leaf in zip(out, given, strict=True)]
        if not any(missing):
            return carry
        marked = [
            jax.lax.pcast(leaf, names, to="varying") if names else leaf
            for leaf, names in zip(given, missing, strict=True)
        ]
        carry = jax.tree.unflatten(jax.tree.structure(carry), marked)
