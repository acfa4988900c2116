"""The values of f at the draws: asked for where a target is positive, and never of a false slope."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._arguments import numbers, shown
from .._numerics import Host
from .._steps import refusing_slopes
from .._trees import one_row, take
from ..combinators import MixtureSameFamily
from ..families import (
    DiagonalNormal,
    Laplace,
    MultivariateNormal,
    Normal,
    SphericalNormal,
    StudentT,
)
from .family import log_table, parts_of
from .low_rank import LowRankNormal, MultivariateT

POSITIVE = (
    Normal, DiagonalNormal, SphericalNormal, MultivariateNormal, StudentT, Laplace, LowRankNormal,
    MultivariateT,
)  # fmt: skip


def values_at(f: Any, targets: PyTree, events: PyTree) -> PyTree:
    """f at each draw; draws off the support of all targets do not count, nor are shown to f.

    Values given as arrays are what they are.
    """
    if not callable(f):
        return f
    parts = parts_of(targets, "targets")
    if not all(_is_positive(part.density) for part in parts):
        events = _on_support(log_table(targets, events, "targets"), events)
    return jax.vmap(refusing_slopes(_checked(f), one_row(events)))(events)


def flat_values(f: Any, targets: PyTree, draws: Any, dtype: Any) -> Float[Array, "n m"]:
    """f at each of the draws as one floating table."""
    return flatten_values(values_at(f, targets, draws.events), draws.num_draws, dtype)[0]


def _checked(f: Any) -> Any:
    def values(x):
        found = f(x)
        for leaf in jax.tree.leaves(found):
            if not isinstance(leaf, Array | Host | complex):
                raise TypeError(f"f must give numbers at each draw; it gave {shown(leaf)}.")
        return found

    return values


def _is_positive(density: Any) -> bool:
    if isinstance(density, MixtureSameFamily):
        return isinstance(density.components, POSITIVE)
    return isinstance(density, POSITIVE)


@jax.jit
def _on_support(log_targets: Array, events: PyTree) -> PyTree:
    """Events off the support of every target, replaced by one that is on it."""
    inside = jnp.any(jax.lax.stop_gradient(log_targets) > -jnp.inf, 1)
    rows = jnp.where(inside, jnp.arange(inside.shape[0]), jnp.argmax(inside))
    return take(events, rows)


def unflatten(flat: Any, like: PyTree, axis: int, shape: tuple[int, ...] = ()) -> PyTree:
    """Values (..., m, ...) in the structure of one value of f, whose axes replace `axis`.

    Args:
        flat: results for all values of f.
        like: one value of f.
        axis: where the values lie; those before it are kept.
        shape: of the axes after it, which are one.
    """
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = (jnp if isinstance(flat, jax.Array) else np).split(flat, ends, axis)
    return structure.unflatten(
        part.reshape((*flat.shape[:axis], *leaf.shape, *shape))
        for part, leaf in zip(parts, leaves, strict=True)
    )


def flatten_values(
    values: PyTree, rows: int, dtype: Any = None
) -> tuple[Float[Array, "n m"], np.ndarray]:
    """Values of f at all draws as one floating table, and which columns were boolean."""
    columns, truths = [], []
    for leaf in jax.tree.leaves(values):
        column = numbers()(leaf, "The value of f")
        if column.shape[:1] != (rows,):
            raise ValueError(
                f"f must give one value a draw: {rows} draws, but values of shape {column.shape}."
            )
        each = column.reshape(rows, math.prod(column.shape[1:]))
        truths += [column.dtype == bool] * each.shape[1]
        columns.append(each)
    if not truths:
        raise ValueError("f must give a value at each draw; it gave none.")
    if dtype is None:
        floating = [c.dtype for c in columns if jnp.issubdtype(c.dtype, jnp.floating)]
        dtype = max(floating, key=lambda d: d.itemsize, default=jnp.result_type(float))
    return jnp.concatenate([c.astype(dtype) for c in columns], 1), np.array(truths)
