"""Rows in blocks: what is large is made, used and forgotten while it is in the cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._platform import sizes
from .._trees import num_rows, take


def divisor(n: int, most: int) -> int:
    """The largest divisor of n that is not above `most`."""
    return max(d for d in range(1, max(1, min(n, most)) + 1) if n % d == 0)


def over_blocks(function: Callable, rows: PyTree) -> PyTree:
    """`function` of a block of rows, over all rows: results have a leading axis of rows too."""
    n = num_rows(rows)
    most = sizes().draws
    if not isinstance(n, int) or n <= most:  # a symbolic number has no known divisors
        return function(rows)
    even = divisor(n, most)
    size = even if 4 * even >= most else most  # no rest, if the blocks do not become small by it
    full = n // size * size
    out = map_blocks(function, take(rows, slice(full)), size)
    out = jax.tree.map(lambda a: a.reshape(full, *a.shape[2:]), out)
    if full == n:
        return out
    rest = function(take(rows, slice(full, None)))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, rest)


def map_blocks(function: Callable, rows: PyTree, size: int) -> PyTree:
    """`function` of each block of `size` rows, results stacked along a new leading axis."""
    blocks = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), rows)
    return jax.lax.map(function, blocks)
