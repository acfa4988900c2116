"""The values of f at the draws: asked for where a target is positive, and never of a false slope."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._arguments import shown
from .._numerics import Host
from .._steps import refusing_slopes
from .._trees import take
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
    event = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), events)
    return jax.vmap(refusing_slopes(_checked(f), event))(events)


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
