"""flowjax's distributions, flows among them, as densities."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity
from ._foreign import leading_axes


class FlowjaxDensity(LogDensity):
    """A flowjax distribution as a density; `from_flowjax` makes it.

    Its parameters are flowjax's own, which keeps them free of constraints itself.
    """

    reparametrised: ClassVar[bool] = True

    parameters: list[Array]
    condition: Array | None
    core_ranks: tuple[int, ...] = eqx.field(static=True)
    structure: tuple = eqx.field(static=True)

    def __init__(self, distribution: PyTree, condition: Array | None):
        # A flow holds functions and names too, which no loop of JAX's carries.
        leaves, treedef = jax.tree.flatten(distribution)
        self.parameters = [leaf for leaf in leaves if eqx.is_array(leaf)]
        self.condition = condition
        self.core_ranks = tuple(array.ndim for array in self.parameters)
        rest = tuple(None if eqx.is_array(leaf) else (leaf,) for leaf in leaves)
        self.structure = (treedef, rest)

    @property
    def distribution(self) -> Any:
        """flowjax's own object for the present parameters."""
        treedef, rest = self.structure
        arrays = iter(self.parameters)
        return treedef.unflatten([next(arrays) if one is None else one[0] for one in rest])

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return leading_axes(self.parameters, self.core_ranks)

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
