"""The guarded quasi-Newton step of arrays without statistics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _loops
from .._numerics import tree_vdot
from .parts import take_apart


class GradientState(NamedTuple):
    """What the step of loose arrays carries: a quasi-Newton memory and a step length."""

    memory: Any
    length: Array


def init_gradient_state(model: PyTree) -> GradientState | None:
    """The state of the loose arrays' step, None where a model has none."""
    loose = take_apart(model).loose
    return gradient_state(loose) if loose else None


def gradient_state(loose: list[Array]) -> GradientState:
    """A fresh state for the step of some arrays."""
    import optax  # when it is used: it takes a tenth of a second

    return GradientState(optax.scale_by_lbfgs().init(loose), jnp.ones((), loose[0].dtype))


def climb(value, gradient, loose, state: GradientState) -> tuple[list[Array], GradientState]:
    """A quasi-Newton step up a value of some arrays, halved until it does not fall."""
    downhill = jax.tree.map(jnp.negative, gradient)
    import optax

    rule = optax.scale_by_lbfgs()
    direction, memory = rule.update(downhill, state.memory, loose)
    # Optax's rules give what is to be subtracted; where curvature misleads, the gradient serves.
    misled = ~(tree_vdot(direction, gradient) < 0)
    scale = jnp.sqrt(tree_vdot(gradient, gradient))
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    direction = jax.tree.map(lambda d, g: jnp.where(misled, g / scale, -d), direction, gradient)
    start = value(loose)
    moved = lambda s: jax.tree.map(lambda p, d: p + s * d, loose, direction)

    def worse(carry):
        _, level, tries = carry
        return ~(level >= start) & (tries < 30)

    def halve(carry):
        length, _, tries = carry
        return length / 2, value(moved(length / 2)), tries + 1

    length, level, _ = _loops.while_loop(
        worse, halve, (state.length, value(moved(state.length)), jnp.zeros((), int))
    )
    better = level >= start
    loose = jax.tree.map(lambda new, old: jnp.where(better, new, old), moved(length), loose)
    longest = jnp.ones_like(length)
    return loose, GradientState(
        memory, jnp.where(better, jnp.minimum(2 * length, longest), longest)
    )
