"""Chunks of rows: so many that a chunk's arrays stay in cache, and a scan's own rows of each."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._exponential import Refittable
from .._platform import sizes
from .._trees import num_rows, take
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

    A chunk that would pass the end starts early enough to be full, and repeats valid rows at
    weight 0.

    Args:
        data: events, stacked along a leading axis.
        weights: (rows,) or (rows, k); None for ones of `dtype`.
        index: which chunk.
        chunk: rows of a chunk.
        dtype: of weights that are not given.
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
