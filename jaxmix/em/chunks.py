"""How work is cut, so that what is at hand stays in a cache: rows in chunks, lanes in blocks.

Of the rows of a pass a scan takes a chunk at a time; of many fits under one `vmap` a block runs
until its slowest fit has ended.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _loops
from .._compile import Quick
from .._platform import in_context, sizes
from .._refittable import Refittable
from .._trees import merged, num_rows, take
from ..combinators._lengths import SequenceEvent
from .parts import take_apart

SYMBOLIC = 512  # rows of a chunk where their number is a symbol, to be exported for any
BRIEF = 500_000  # numbers times densities of the widest stack


def width(model: PyTree) -> int:
    """Densities in the model's widest stack."""
    return max([1, *(math.prod(leaf.stack_shape) for leaf in take_apart(model).leaves)])


def densities(model: PyTree) -> int:
    """Densities in all of the model's stacks: what a pass evaluates under each row."""
    return sum(math.prod(leaf.stack_shape) for leaf in take_apart(model).leaves)


def rows_of_chunk(model: PyTree, data: PyTree, restarts: int = 1) -> int:
    """Rows of a chunk, where so many models of one structure are evaluated side by side.

    Short events under few densities come in long chunks: threads share only large arrays.
    """
    numbers = sum(math.prod(a.shape[1:]) for a in jax.tree.leaves(data))
    stats = max([1, *map(_stats_elements, take_apart(model).leaves)])
    suits, wide = sizes(), width(model)
    kept = wide * wide if wide <= suits.halved else wide  # of an item, see `sizes`
    most = min(
        suits.stack // (wide * restarts),
        suits.stats // stats,
        suits.items // (max(1, _item_numbers(data)) * kept * restarts),
        max(suits.rows, suits.event // max(1, numbers)),
    )
    return max(64, most)


def _item_numbers(data: PyTree) -> int:
    """Numbers in the items of one row's longest sequence: each is kept under each density."""
    is_sequence = lambda node: isinstance(node, SequenceEvent)
    found = [n.items for n in jax.tree.leaves(data, is_leaf=is_sequence) if is_sequence(n)]
    return max([0, *(sum(math.prod(a.shape[1:]) for a in jax.tree.leaves(f)) for f in found)])


def _stats_elements(leaf: Refittable) -> int:
    """Numbers in the statistics of one density of a leaf."""
    sizes = (a.size for a in jax.tree.leaves(jax.eval_shape(leaf.zero_stats)))
    return sum(sizes) // max(1, math.prod(leaf.stack_shape))


def chunk_rows(model: PyTree, data: PyTree, chunk_size: int | None) -> int:
    """Rows of a chunk, at most those asked for or else those that suit: even parts of the whole."""
    rows = num_rows(data)
    most = rows_of_chunk(model, data) if chunk_size is None else chunk_size
    if not isinstance(rows, int):
        return min(most, SYMBOLIC)
    count = -(-rows // max(1, most))
    even = -(-rows // count)
    multiple = sizes().multiple
    multiple = multiple if even >= multiple else 16
    return max(1, min(rows, most, multiple * -(-even // multiple)))


def take_chunk(
    data: PyTree, weights: Array | None, index: Array | int, chunk: int, dtype=None
) -> tuple[PyTree, Array]:
    """Rows and weights of one chunk: all chunks together hold each row once at its weight.

    Weights are (rows,), (rows, k), or ones of `dtype`. A chunk that would pass the end starts early
    enough to be full, and repeats valid rows at weight 0.
    """
    rows = num_rows(data)
    if not isinstance(rows, int):  # there may be fewer rows than a chunk has
        at = index * chunk + jnp.arange(chunk)
        fresh, at = at < rows, jnp.minimum(at, rows - 1)
        w = jnp.ones(chunk, dtype) if weights is None else weights[at]
        w = jnp.where(fresh.reshape((-1,) + (1,) * (w.ndim - 1)), w, jnp.zeros_like(w))
        return take(data, at), w
    start = jnp.minimum(index * chunk, rows - chunk)
    window = lambda a: jax.lax.dynamic_slice_in_dim(a, start, chunk)
    fresh = start + jnp.arange(chunk) >= index * chunk
    w = jnp.ones(chunk, dtype) if weights is None else window(weights)
    w = jnp.where(fresh.reshape((-1,) + (1,) * (w.ndim - 1)), w, jnp.zeros_like(w))
    return jax.tree.map(window, data), w


def over_chunks(
    sums: Callable, empty: PyTree, data: PyTree, weights: Array | None, chunk: int, dtype: Any, *,
    again: bool = False, cut: bool = False,
) -> PyTree:  # fmt: skip
    """Sums of a function of rows and weights, chunk by chunk, from zeros of its shapes on.

    These are running sums where rounding errors are to be kept. Differentiated, a chunk is computed
    `again` and not kept: memory stays that of a chunk. Chunks that are `cut` are copies and no
    windows, whose derivative would be as large as the whole.
    """
    rows = num_rows(data)
    count = -(-rows // chunk)
    steps = jnp.arange(count)
    if cut:
        fill = lambda a, b: jnp.broadcast_to(b, (count * chunk - rows, *a.shape[1:]))
        piece = lambda a, b: jnp.concatenate([a, fill(a, b)]).reshape(count, chunk, *a.shape[1:])
        weights = jnp.ones(rows, dtype) if weights is None else weights
        # The last is filled with its last row at weight 0.
        steps = (
            jax.tree.map(lambda a: piece(a, a[-1:]), data),
            piece(weights, jnp.zeros_like(weights[:1])),
        )

    def body(totals, step):
        part = step if cut else take_chunk(data, weights, step, chunk, dtype)
        return merged(totals, sums(*part)), None

    body = jax.checkpoint(body, prevent_cse=False) if again else body
    if isinstance(count, int) and count == 1:  # no loop around what a derivative is taken of
        return body(empty, jax.tree.map(lambda a: a[0], steps))[0]
    return _loops.scan(body, empty, steps)[0]


def map_rows(function: Callable, data: PyTree, chunk: int) -> PyTree:
    """`function` of each row, `chunk` of them at once; all at once where their number is a symbol."""
    if not isinstance(num_rows(data), int):
        return jax.vmap(function)(data)
    return jax.lax.map(function, data, batch_size=chunk)


def is_brief(model: PyTree, data: PyTree, *_: Any) -> bool:
    """Whether passes over the data cost less than compiling them well."""
    sizes = [math.prod(getattr(a, "shape", ())) for a in jax.tree.leaves(data)]
    whole = sum(sizes) * width(model)
    return isinstance(whole, int) and whole <= BRIEF


brief = functools.partial(Quick, when=is_brief)  # a decorator


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
    spread in each. Derivatives are taken of all lanes at once. The function closes over no traced
    value; what several nested `vmap` map over counts together.
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
