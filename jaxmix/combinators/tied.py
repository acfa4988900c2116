"""Parts used in several places: one canonical copy, whose statistics pool by themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, is_density
from .._stack import Held


class Hole(eqx.Module):
    """Where a tied part is used; it holds nothing."""


class Borrowed(LogDensity):
    """A tied part at one of its places: held, so that no stack around it slices it."""

    part: Held

    def log_prob(self, x: PyTree) -> Scalar:
        return self.part.value.log_prob(x)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.part.value.sample(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.part.value, name)


def _is_hole(node: Any) -> bool:
    return isinstance(node, Hole)


class Tied(LogDensity):
    """A model some parts of which are one and the same density.

    `body` is the model with holes, `part` the one density that fills them all. Gradients and
    expected statistics of every use add up at the one copy; EM, optax and priors see it once.
    Build it with `jm.tie`; `jm.unwrap` gives the plain model.
    """

    body: PyTree
    part: PyTree

    @property
    def filled(self) -> PyTree:
        """The model with the part in its places."""
        return jax.tree.map(
            lambda node: Borrowed(Held(self.part)) if _is_hole(node) else node,
            self.body,
            is_leaf=_is_hole,
        )

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return self.body.stack_shape

    def log_prob(self, x: PyTree) -> Scalar:
        return self.filled.log_prob(x)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.filled.sample(key)

    def __getattr__(self, name: str) -> Any:
        # What the model itself offers (posterior, joint_log_probs, weights ...) is offered here.
        if name.startswith("__") or name in ("body", "part"):
            raise AttributeError(name)
        return getattr(self.filled, name)


def tie(model: PyTree, where: Callable[[PyTree], Sequence[PyTree]]) -> Tied:
    """Make several parts of a model one: the first that `where` returns replaces the others.

    Args:
        model: a density.
        where: from the model to a list of its density nodes.

    Raises:
        ValueError: if one of the nodes is no density, such as a bare array.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> pair = jm.Composite((jm.Normal(0, 1), jm.Normal(1, 1)))
        >>> tied = jm.tie(pair, lambda m: [m.parts[0], m.parts[1]])
        >>> tied.log_prob((jnp.array(0.0), jnp.array(0.0))).round(4)
        Array(-1.8379, dtype=float32)
    """
    nodes = list(where(model))
    for node in nodes:
        if not is_density(node):
            raise ValueError(
                f"Only densities can be tied, such as a component; got a {type(node).__name__}."
            )
    body = eqx.tree_at(lambda m: list(where(m)), model, [Hole() for _ in nodes])
    return Tied(body, nodes[0])
