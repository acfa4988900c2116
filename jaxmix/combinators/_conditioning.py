"""What conditioning and imputation share over records and mixtures of records."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._numerics import logsumexp
from ..families.categorical import Categorical
from .frozen import Frozen
from .optional import OptionalEvent
from .tied import Borrowed


def plain(part: PyTree) -> PyTree:
    """A density without the wrapper that freezes it or marks it as tied."""
    while isinstance(part, Frozen | Borrowed):
        part = part.lent if isinstance(part, Borrowed) else part.part
    return part


def from_log(joint: Float[Array, " k"]) -> Categorical:
    """The Categorical of unnormalised log-probabilities."""
    like = Categorical(jnp.ones_like(joint))
    return eqx.tree_at(lambda c: c.logits, like, joint - logsumexp(joint))


def typical(density: PyTree) -> Array:
    """The mean, or the most probable label where outcomes are labels."""
    leaf = plain(density)
    while hasattr(leaf, "components"):
        leaf = leaf.components[0] if isinstance(leaf.components, tuple) else leaf.components
        leaf = plain(leaf)
    if isinstance(leaf, Categorical):
        return jnp.argmax(jax.vmap(density.log_prob)(jnp.arange(leaf.size)))
    return density.mean


def filled(event: PyTree, fill: Callable[[Any], PyTree]) -> PyTree:
    """A record in which each missing field holds what `fill` gives for its name."""
    is_record = isinstance(event, dict)
    pairs = event.items() if is_record else enumerate(event)

    def one(name, field):
        if not isinstance(field, OptionalEvent):
            return field
        new = fill(name)
        there = lambda old, new: jnp.where(field.present, old.astype(new.dtype), new)
        return jax.tree.map(there, field.value, new)

    out = {name: one(name, field) for name, field in pairs}
    return out if is_record else tuple(out.values())
