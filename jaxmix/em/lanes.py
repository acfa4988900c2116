"""Many fits under one `vmap`: in blocks that stay in cache, each over when its slowest fit is."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._platform import in_context, sizes
from .._trees import num_rows
from .chunks import width


def lanes_of(model: PyTree, data: PyTree, most_rows: int | None = None) -> int:
    """Fits that make up a block, of models and data like these, of which so many rows are used."""
    numbers = sum(math.prod(a.shape[1:]) for a in jax.tree.leaves(data))
    rows = num_rows(data)
    if not isinstance(rows, int):
        rows = sizes().lanes if most_rows is None else most_rows
    rows = rows if most_rows is None else min(rows, most_rows)
    return max(1, sizes().lanes // max(1, rows * max(width(model), numbers)))


def in_blocks(function: Callable[..., PyTree], most: int) -> Callable[..., PyTree]:
    """The function itself; under `vmap`, over blocks of at most so many lanes, one by one.

    A while loop under `vmap` passes over all its lanes until the last has ended, and no array of
    all lanes stays in a cache. Blocks are strided, so that lanes that are spread over devices stay
    spread in each. Derivatives are taken of all lanes at once.

    Args:
        function: of trees of arrays; it closes over no traced value.
        most: lanes of a block; what several nested `vmap` map over counts together.
    """
    function = in_context(function)

    # Two rules in one another. The inner, `custom_vmap`, sees a `vmap` as it is mapped and cuts its
    # axis into blocks; it has no derivative. So the outer, `custom_jvp`, takes derivatives of the
    # function itself, which a `vmap` then maps whole. A further `vmap` around meets the inner rule
    # once more, by the recursion at its end, with so many fewer lanes left to a block.
    @jax.custom_batching.custom_vmap
    def call(*args):
        return function(*args)

    @call.def_vmap
    def _(axis_size, in_batched, *args):
        leaves, structure = jax.tree.flatten(args)
        mapped = jax.tree.leaves(in_batched)
        count = -(-axis_size // most)
        block = -(-axis_size // count)
        axes = [0 if m else None for m in mapped]
        one = lambda *leaves: function(*jax.tree.unflatten(structure, leaves))
        if not any(mapped):
            whole = in_blocks(one, most)(*leaves)
            return whole, jax.tree.map(lambda _: False, whole)
        every = jax.vmap(one, in_axes=axes)

        def split(leaf):
            # The last lane again, until blocks are even: it ends when it ends elsewhere.
            spare = jnp.broadcast_to(leaf[-1:], (count * block - axis_size, *leaf.shape[1:]))
            whole = jnp.concatenate([leaf, spare]) if count * block > axis_size else leaf
            return jnp.moveaxis(whole.reshape(block, count, *leaf.shape[1:]), 1, 0)

        def joined(leaf):
            return jnp.moveaxis(leaf, 0, 1).reshape(count * block, *leaf.shape[2:])[:axis_size]

        def blocks(*leaves):
            pick = lambda wanted: [a for a, m in zip(leaves, mapped, strict=True) if m == wanted]
            whole = pick(False)

            def body(part):
                part, rest = iter(part), iter(whole)
                return every(*(next(part) if m else next(rest) for m in mapped))

            return jax.tree.map(joined, jax.lax.map(body, list(map(split, pick(True)))))

        out = in_blocks(blocks if count > 1 else every, max(1, most // axis_size))(*leaves)
        return out, jax.tree.map(lambda _: True, out)

    @jax.custom_jvp
    def outer(*args):
        return call(*args)

    outer.defjvp(lambda primals, tangents: jax.jvp(function, primals, tangents))
    return outer
