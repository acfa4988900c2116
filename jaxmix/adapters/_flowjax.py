"""flowjax's distributions, flows among them, as densities."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity


class FlowjaxDensity(LogDensity):
    """A flowjax distribution as a density; `from_flowjax` makes it.

    Its parameters are flowjax's own, which keeps them free of constraints itself.
    """

    reparametrised: ClassVar[bool] = True

    distribution: PyTree
    condition: Array | None
    core_ranks: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, distribution: PyTree, condition: Array | None):
        self.distribution, self.condition = distribution, condition
        self.core_ranks = tuple(a.ndim for a in self._arrays())

    def _arrays(self) -> list[Array]:
        return [a for a in jax.tree.leaves(self.distribution) if eqx.is_array(a)]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        for array, rank in zip(self._arrays(), self.core_ranks, strict=True):
            return tuple(array.shape[: array.ndim - rank])
        return ()

    def log_prob(self, x: PyTree) -> Scalar:
        return self.distribution.log_prob(x, self.condition)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.distribution.sample(key, condition=self.condition)


def adapt(distribution: Any, condition: Any = None) -> FlowjaxDensity:
    if not isinstance(distribution, AbstractDistribution):
        raise ValueError(
            f"from_flowjax takes a flowjax distribution; a {type(distribution).__name__} was given."
        )
    wanted = distribution.cond_shape
    given = None if condition is None else tuple(condition.shape)
    if wanted != given:
        raise ValueError(
            f"This {type(distribution).__name__} takes a condition of shape {wanted}; the one given "
            f"has shape {given}. Pass it as `condition`, for instance a guide's own x."
        )
    return FlowjaxDensity(distribution, condition)
