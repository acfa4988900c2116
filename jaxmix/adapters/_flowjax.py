"""flowjax's distributions, flows among them, as densities."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Key, PyTree, Scalar

from ._foreign import Foreign


class Flow(eqx.Module):
    """A flowjax distribution taken apart: its arrays, which it keeps free of constraints itself.

    A flow holds functions and names too, which no loop of JAX's carries.
    """

    parameters: list[Array]
    condition: Array | None
    structure: tuple = eqx.field(static=True)
    reparametrised: ClassVar[bool] = True

    def __init__(self, distribution: PyTree, condition: Array | None):
        leaves, treedef = jax.tree.flatten(distribution)
        self.parameters = [leaf for leaf in leaves if eqx.is_array(leaf)]
        self.condition = condition
        rest = tuple(None if eqx.is_array(leaf) else (leaf,) for leaf in leaves)
        self.structure = (treedef, rest)

    def build(self) -> Any:
        """flowjax's own object for the present parameters."""
        treedef, rest = self.structure
        arrays = iter(self.parameters)
        return treedef.unflatten([next(arrays) if one is None else one[0] for one in rest])

    def log_prob(self, x: PyTree) -> Scalar:
        return self.build().log_prob(x, self.condition)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.build().sample(key, condition=self.condition)


def adapt(distribution: Any, condition: Any = None) -> Foreign:
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
    return Foreign(Flow(distribution, condition))
