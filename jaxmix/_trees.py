"""What many places ask of a tree of arrays: its rows, its floating dtype, whether it is traced."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree


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
