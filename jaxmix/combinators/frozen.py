"""Parts that no fit changes, one notion for EM and for optax."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from .._density import is_density
from .._stack import outcome_log_probs
from .constrained import Constrained, Forwarding, constrained, with_fields
from .tied import Tied


class Frozen(Forwarding):
    """A density that keeps its parameters; build it with `jm.frozen`, undo it with `jm.unwrap`."""

    part: PyTree
    stopped: bool = eqx.field(static=True, default=True)  # whether its gradient is 0
    stack_shape = property(lambda self: getattr(self.part, "stack_shape", ()))

    @property
    def forwarded(self) -> PyTree:
        return jax.tree.map(jax.lax.stop_gradient, self.part) if self.stopped else self.part

    def outcome_log_probs(self, size: int) -> Array:
        return outcome_log_probs(self.forwarded, size)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("part", "stopped"):
            raise AttributeError(name)
        return getattr(self.part, name)  # itself: with a gradient, and found in the tree


def frozen(part: PyTree, fields: str | Sequence[str] | None = None) -> Frozen | Constrained:
    """Freeze a density node, or some parameters of it: EM leaves them, and their gradient is 0.

    Args:
        part: a density, or a stack of them.
        fields: None for all of it; or names of parameters of a family, such as "mean". The
            others are refitted given these: argmax of the expected log-density over them.

    Raises:
        ValueError: for a bare array; freeze the density that holds it. For names that are none of
            the family's parameters, or all of them.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.frozen(jm.Normal(0, 1)).mean
        Array(0., dtype=float32)
        >>> model = jm.em.run(jm.frozen(jm.Normal(0, 1), "mean"), jnp.array([2.0, 4.0])).model
        >>> model.mean.round(2), model.variance.round(2)  # (4 + 16) / 2
        (Array(0., dtype=float32), Array(10., dtype=float32))
    """
    if not is_density(part):
        raise ValueError(
            f"Only a density can be frozen; got a {type(part).__name__}. Freeze the density that "
            "holds the array, for instance a mixture's `mixing` rather than its weights."
        )
    return Frozen(part) if fields is None else constrained(part, fields, "freeze")


def _is_frozen(node: Any) -> bool:
    return isinstance(node, Frozen | Constrained)


def _mask(node: Any) -> Any:
    if isinstance(node, Constrained):
        free = jax.tree.map(eqx.is_inexact_array, node)
        for at in ("part", "once") if node.tied else ("part",):
            off = [n for n in node.held if getattr(getattr(node, at), n) is not None]
            still = with_fields(getattr(free, at), off, [False] * len(off))
            free = eqx.tree_at(lambda m, at=at: getattr(m, at), free, still)
        return free
    return jax.tree.map(lambda _: not _is_frozen(node) and eqx.is_inexact_array(node), node)


def trainable(model: PyTree) -> PyTree:
    """A mask over a model's arrays for `optax.masked`: False inside frozen parts.

    `optax.adamw` moves even leaves whose gradient is zero, so mask it.

    Example:
        >>> import jaxmix as jm
        >>> jm.trainable(jm.frozen(jm.Normal(0, 1))).part.mean
        False
    """
    return jax.tree.map(_mask, model, is_leaf=_is_frozen)


def unwrap(model: PyTree) -> PyTree:
    """The plain model: frozen parts thawed, tied parts in their places.

    Example:
        >>> import jaxmix as jm
        >>> type(jm.unwrap(jm.frozen(jm.Normal(0, 1)))).__name__
        'Normal'
    """

    def plain(node):
        if isinstance(node, Frozen):
            return unwrap(node.part)
        return unwrap(node.plain) if isinstance(node, Constrained | Tied) else node

    return jax.tree.map(
        plain, model, is_leaf=lambda node: isinstance(node, Frozen | Constrained | Tied)
    )
