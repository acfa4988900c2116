"""Trees of arrays: rows, dtype, whether they are traced; and running sums that keep their errors."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree


def num_rows(rows: PyTree) -> int:
    """Length of the leading axis, which all arrays share."""
    return jax.tree.leaves(rows)[0].shape[0]


def take(tree: PyTree, index: Any) -> PyTree:
    """Some rows (or lanes, or components) of every array, or one of them."""
    return jax.tree.map(lambda a: a[index], tree)


def alone(tree: PyTree) -> PyTree:
    """A stack of this one."""
    return jax.tree.map(lambda a: a[None], tree)


def spread(array: Any, ndim: int) -> Any:
    """The array with axes of size 1 at its end, to stand beside arrays of `ndim` axes."""
    return array.reshape(array.shape + (1,) * (ndim - array.ndim))


def in_numpy(tree: PyTree) -> PyTree:
    """Every array as one of NumPy; anything else as it is."""
    return jax.tree.map(lambda a: np.asarray(a) if eqx.is_array(a) else a, tree)


def float_of(tree: PyTree) -> Any:
    """The floating dtype of a tree's arrays, in which they are computed with, or the default one."""
    types = [a.dtype for a in jax.tree.leaves(tree) if hasattr(a, "dtype")]
    # Canonical: float64 only where it is switched on.
    kinds = [jax.dtypes.canonicalize_dtype(t) for t in types if jnp.issubdtype(t, jnp.inexact)]
    return jnp.result_type(*kinds) if kinds else jnp.result_type(float)


def is_traced(tree: PyTree) -> bool:
    """Whether some values are not there to be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def by_shapes(function: Callable) -> Callable:
    """A function of what shapes and dtypes of trees tell: computed once for all of the same ones."""

    @functools.lru_cache(maxsize=256)
    def known(structure, leaves, wide):
        del wide
        return function(*structure.unflatten(leaves))

    def shape(leaf):
        if not hasattr(leaf, "dtype"):
            return leaf
        weak = getattr(leaf, "weak_type", False)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=weak)

    @functools.wraps(function)
    def call(*trees):
        leaves, structure = jax.tree.flatten(jax.tree.map(shape, trees))
        try:
            return known(structure, tuple(leaves), jnp.result_type(float))
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
            return function(*structure.unflatten(leaves))

    return call


def one_row(rows: PyTree) -> PyTree:
    """Shapes and dtypes of one row."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), rows)


class Sum(NamedTuple):
    """A running sum as an unevaluated pair: `high + low` has about twice the digits of its dtype.

    At 1e7 nats one float32 ulp is 1 nat; differences of two such pairs keep the lost digits.
    """

    high: Array
    low: Array

    @property
    def value(self) -> Array:
        return self.high + self.low


def zero_sum(like: PyTree) -> Any:
    """Running sums of nothing, for each array of a tree."""
    return jax.tree.map(lambda a: Sum(jnp.zeros_like(a), jnp.zeros_like(a)), like)


def add(total: Sum, x: Array) -> Sum:
    """Add one value, keeping the rounding error (Knuth's two-sum, 1969; no branch)."""
    high = total.high + x
    shadow = high - total.high
    error = (total.high - (high - shadow)) + (x - shadow)
    return Sum(high, total.low + error)


def merge(a: Sum, b: Sum) -> Sum:
    """Add two sums; associative up to rounding, so it serves chunks, files and devices."""
    both = add(a, b.high)
    return Sum(both.high, both.low + b.low)


def compensated_sum(values: Array | Sum) -> Sum:
    """Sum of a vector, or of a vector of running sums, by pairs, the rounding errors kept."""
    total = values if isinstance(values, Sum) else Sum(values, jnp.zeros_like(values))
    while total.high.shape[0] > 1:
        size = total.high.shape[0]
        half = size // 2
        pairs = merge(
            Sum(total.high[:half], total.low[:half]),
            Sum(total.high[half : 2 * half], total.low[half : 2 * half]),
        )
        if size % 2:
            pairs = Sum(*(jnp.concatenate([p, t[-1:]]) for p, t in zip(pairs, total, strict=True)))
        total = pairs
    return Sum(total.high[0], total.low[0])


def difference(a: Sum, b: Sum) -> Array:
    """a - b, in which the digits that the leading parts share cancel exactly."""
    return (a.high - b.high) + (a.low - b.low)


def is_sum(node: Any) -> bool:
    """Whether a node of a tree is a running sum."""
    return isinstance(node, Sum)


map_sums = functools.partial(jax.tree.map, is_leaf=is_sum)


def as_sums(tree: PyTree) -> PyTree:
    """Every array as a running sum."""
    return map_sums(lambda a: a if is_sum(a) else Sum(a, jnp.zeros_like(a)), tree)


def values_of(tree: PyTree) -> PyTree:
    """Every running sum as an array."""
    return map_sums(lambda total: total.value, tree)


def merged(a: PyTree, b: PyTree) -> PyTree:
    """Two trees added up: running sums with their errors, other arrays plainly."""

    def both(x, y):
        if not is_sum(x):
            return x + y
        return merge(x, y) if is_sum(y) else add(x, y)

    return map_sums(both, a, b)
