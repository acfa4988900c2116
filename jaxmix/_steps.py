"""Derivatives that would silently be 0, since draws are held: they are refused."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from ._refuse import forward_only
from ._trees import is_traced

THRESHOLD = (
    "f is a step in a value that it closes over: the derivative of its average at fixed draws is "
    "0, which is not that of its expectation. Differentiate a smoothed f, such as "
    "jax.nn.sigmoid((x - c) / width), or move the targets instead: their gradients are right. "
    "jax.lax.stop_gradient(c) says that 0 is meant."
)

FLAT = ("heaviside",)  # whose slope is that of NaN alone


def refusing_slopes(f: Callable, event: PyTree) -> Callable:
    """The same function; those of its values that are steps in what it closes over have no slope.

    Args:
        f: function of one event.
        event: one event, or its shapes and dtypes.
    """
    call, held = jax.closure_convert(f, event)
    steps = _steps(lambda held, x: call(x, *held), held, event) if held else []
    if not any(steps):
        return f

    def refusing(x):
        values, structure = jax.tree.flatten(f(x))
        guarded = jax.tree.leaves(call(x, *(refuse_slope(a, THRESHOLD) for a in held)))
        kept = zip(values, guarded, steps, strict=True)
        return structure.unflatten([g if is_step else v for v, g, is_step in kept])

    return refusing


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def refuse_slope(array, sentence: str):
    """The array itself; a derivative through it is refused, an evaluation is not."""
    del sentence
    return array


@refuse_slope.defjvp
def _(sentence, primals, tangents):
    raise ValueError(sentence)


def _steps(function, held, event) -> list[bool]:
    """Which values depend on `held`, but have no derivative in it whatever the numbers."""
    held = [jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)) for a in held]
    slope = lambda t, held, x: jax.jvp(lambda held: function(held, x), (held,), (t,))[1]
    value = jax.make_jaxpr(function)(held, event)
    tangent = jax.make_jaxpr(slope)(held, held, event)
    first = lambda jaxpr: [i < len(held) for i in range(len(jaxpr.invars))]
    depends = _reached(value.jaxpr, first(value.jaxpr), ())
    moves = _reached(tangent.jaxpr, first(tangent.jaxpr), FLAT)
    return [a and not b for a, b in zip(depends, moves, strict=True)]


def _reached(jaxpr, moved: list[bool], flat) -> list[bool]:
    """Which outputs the moved inputs have a part in, but for what passes by functions in `flat`."""
    known = {v for v, m in zip(jaxpr.invars, moved, strict=True) if m}
    reads = lambda v: not hasattr(v, "val") and v in known
    for eqn in jaxpr.eqns:
        given = [reads(v) for v in eqn.invars]
        passed = any(given) and eqn.primitive.name != "stop_gradient"
        out = [passed and eqn.params.get("name") not in flat] * len(eqn.outvars)
        if any(out) and eqn.primitive.name in ("jit", "pjit"):
            out = _reached(eqn.params["jaxpr"].jaxpr, given, flat)
        known |= {v for v, is_reached in zip(eqn.outvars, out, strict=True) if is_reached}
    return [reads(v) for v in jaxpr.outvars]


def without_slopes(tree: PyTree, held: PyTree, sentence: str) -> PyTree:
    """The same tree, which has no derivative in `held`: backwards a sentence, forwards NaN."""
    moving = [a for a in jax.tree.leaves(held) if is_traced(a) and eqx.is_inexact_array(a)]
    return jax.tree.map(lambda a: _unknown(a, moving, sentence), tree) if moving else tree


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _unknown(array, held, sentence):
    del held, sentence
    return array


@functools.partial(_unknown.defjvp, symbolic_zeros=True)
def _(sentence, primals, tangents):
    own, others = tangents
    moved = [jnp.sum(a) for a in others if not isinstance(a, SymbolicZero)]
    own = jnp.zeros_like(primals[0]) if isinstance(own, SymbolicZero) else own
    if not moved:  # traced, but not what is differentiated
        return primals[0], own
    unknown = jnp.nan * forward_only(sum(moved[1:], moved[0]), sentence)
    return primals[0], own + unknown.astype(primals[0].dtype)
