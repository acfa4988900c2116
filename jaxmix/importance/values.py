"""The values of f at the draws: asked for where a target is positive, and never of a false slope."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

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
# What has the derivative 0 almost everywhere and steps where it has not.
STEPS = {"sign", "floor", "ceil", "round", "nextafter", "is_finite"}
THRESHOLD = (
    "f is a step in a value that it closes over: the derivative of its average at fixed draws is "
    "0, which is not that of its expectation. Differentiate a smoothed f, such as "
    "jax.nn.sigmoid((x - c) / width), or move the targets instead: their gradients are right. "
    "jax.lax.stop_gradient(c) says that 0 is meant."
)


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
    call, held = jax.closure_convert(f, event)
    values = jax.vmap(f)(events)
    if not held:
        return values
    # f closes over what may be differentiated: its steps are refused a derivative.
    steps = _steps(lambda held, x: call(x, *held), held, event)
    if any(steps):
        guarded = [_no_slope(a) for a in held]
        safe = jax.vmap(lambda x: call(x, *guarded))(events)
        leaves, structure = jax.tree.flatten(values)
        kept = zip(leaves, jax.tree.leaves(safe), steps, strict=True)
        values = structure.unflatten([g if is_step else v for v, g, is_step in kept])
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


@jax.custom_jvp
def _no_slope(array):
    return array


@_no_slope.defjvp
def _(primals, tangents):
    raise ValueError(THRESHOLD)


def _steps(function, held, event) -> list[bool]:
    """Which values depend on `held`, but by no path that has a derivative."""
    held = [jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)) for a in held]
    closed = jax.make_jaxpr(function)(held, event)
    moved = [True] * len(held) + [False] * (len(closed.jaxpr.invars) - len(held))
    any_path = _reached(closed.jaxpr, moved, smooth=False)
    smooth = _reached(closed.jaxpr, moved, smooth=True)
    return [a and not b for a, b in zip(any_path, smooth, strict=True)]


def _reached(jaxpr, moved, smooth: bool) -> list[bool]:
    """Which outputs the moved inputs reach: by any operation, or by those with derivatives."""
    known = {v: m for v, m in zip(jaxpr.invars, moved, strict=True) if m}
    reads = lambda v: not hasattr(v, "val") and known.get(v, False)
    for eqn in jaxpr.eqns:
        given = [reads(v) for v in eqn.invars]
        name = eqn.primitive.name
        if not any(given) or name == "stop_gradient" or (smooth and name in STEPS):
            continue
        inner = eqn.params.get("jaxpr") if name in ("pjit", "jit") else None
        if inner is not None:
            out = _reached(inner.jaxpr, given, smooth)
        else:
            out = [True] * len(eqn.outvars)
        for v, is_reached in zip(eqn.outvars, out, strict=True):
            if is_reached and (not smooth or jnp.issubdtype(v.aval.dtype, jnp.inexact)):
                known[v] = True
    return [reads(v) for v in jaxpr.outvars]
