"""Labels that no training row had: a share of the probability kept for them."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._sharding import gathered
from ..combinators import MarkovChain
from ..families import BernoulliSet, Categorical
from .labels import OTHER


def reserve(model: PyTree, mass: float) -> PyTree:
    """Give the label `jm.data.OTHER` a probability, wherever a model declares it.

    A fit to rows without unseen labels estimates its probability as 0, so that a row with one is
    impossible. Reserved, p(OTHER) = mass and p(label) = (1 - mass) times what it was among the
    declared labels: every density still sums to 1. Of a `BernoulliSet` the probability that an
    unseen member is in becomes `mass`.

    Args:
        model: a density, with labels that include `jm.data.OTHER`.
        mass: between 0 and 1.

    Returns:
        The model; densities that declare no `OTHER` are as they were.

    Raises:
        ValueError: for a mass outside (0, 1), or if no part of the model declares `OTHER`.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> kinds = jm.Categorical(jnp.array([0.5, 0.5, 0.0]), labels=("a", "b", jm.data.OTHER))
        >>> jm.data.reserve(kinds, 0.1).probs.tolist()
        [0.450, 0.450, 0.100]
    """
    if not 0 < mass < 1:
        raise ValueError(f"The mass to reserve lies between 0 and 1; it was {mass}.")
    found = []

    def one(node):
        if not isinstance(node, _LABELLED) or OTHER not in (node.labels or ()):
            return node
        found.append(node)
        index = node.labels.index(OTHER)  # pyright: ignore[reportOptionalMemberAccess]
        if isinstance(node, Categorical):
            return _categorical(node, index, mass)
        if isinstance(node, MarkovChain):
            parts = (node.initial, node.transition)
            parts = tuple(_categorical(part, index, mass) for part in parts)
            return eqx.tree_at(lambda c: (c.initial, c.transition), node, parts)
        logit = jnp.log(mass) - jnp.log1p(-mass)
        return eqx.tree_at(lambda s: s.logits, node, node.logits.at[..., index].set(logit))

    model = gathered(model)
    reserved = jax.tree.map(one, model, is_leaf=lambda node: isinstance(node, _LABELLED))
    if not found:
        raise ValueError("No part of the model declares the label jm.data.OTHER.")
    return reserved


_LABELLED = (Categorical, MarkovChain, BernoulliSet)


def _categorical(density: Categorical, index: int, mass: float) -> Categorical:
    logits = density.logits.at[..., index].set(-jnp.inf)
    # A row that nothing but OTHER ever followed: the declared labels share alike.
    empty = jnp.all(logits == -jnp.inf, -1, keepdims=True)
    logits = jnp.where(empty, jnp.zeros_like(logits).at[..., index].set(-jnp.inf), logits)
    logits = jax.nn.log_softmax(logits) + jnp.log1p(-mass)
    return eqx.tree_at(lambda c: c.logits, density, logits.at[..., index].set(jnp.log(mass)))
