"""Parts that no fit changes, one notion for EM and for optax."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, is_density
from .._stack import outcome_log_probs
from .tied import Tied


class Frozen(LogDensity):
    """A density that keeps its parameters; build it with `jm.frozen`, undo it with `jm.unwrap`."""

    part: PyTree
    stopped: bool = eqx.field(static=True, default=True)  # whether its gradient is 0

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return getattr(self.part, "stack_shape", ())

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.part, "reparametrised", False)

    def _still(self) -> PyTree:
        return jax.tree.map(jax.lax.stop_gradient, self.part) if self.stopped else self.part

    def log_prob(self, x: PyTree) -> Scalar:
        return self._still().log_prob(x)

    def outcome_log_probs(self, size: int) -> Array:
        return outcome_log_probs(self._still(), size)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self._still().sample(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("part", "stopped"):
            raise AttributeError(name)
        return getattr(self.part, name)


def frozen(part: PyTree) -> Frozen:
    """Freeze a density node: EM leaves it as it is, and its gradient is 0.

    Raises:
        ValueError: for a bare array; freeze the density that holds it.

    Example:
        >>> import jaxmix as jm
        >>> jm.frozen(jm.Normal(0, 1)).mean
        Array(0., dtype=float32)
    """
    if not is_density(part):
        raise ValueError(
            f"Only a density can be frozen; got a {type(part).__name__}. Freeze the density that "
            "holds the array, for instance a mixture's `mixing` rather than its weights."
        )
    return Frozen(part)


def _is_frozen(node: Any) -> bool:
    return isinstance(node, Frozen)


def trainable(model: PyTree) -> PyTree:
    """A mask over a model's arrays for `optax.masked`: False inside frozen parts.

    `optax.adamw` moves even leaves whose gradient is zero, so mask it.

    Example:
        >>> import jaxmix as jm
        >>> jm.trainable(jm.frozen(jm.Normal(0, 1))).part.mean
        False
    """
    return jax.tree.map(
        lambda node: jax.tree.map(
            lambda _: not _is_frozen(node) and eqx.is_inexact_array(node), node
        ),
        model,
        is_leaf=_is_frozen,
    )


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
        if isinstance(node, Tied):
            return unwrap(node.plain)
        return node

    return jax.tree.map(plain, model, is_leaf=lambda node: isinstance(node, Frozen | Tied))
