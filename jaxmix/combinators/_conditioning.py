"""What conditioning and imputation share over records and mixtures of records."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from .. import _events
from .._hooks import SeesGaps, Splits
from .._numerics import as_array
from ..families.categorical import Categorical
from .constrained import Constrained
from .frozen import Frozen
from .optional import OptionalEvent
from .tied import Borrowed


def plain(part: PyTree) -> PyTree:
    """A density without the wrapper that freezes it or marks it as tied."""
    while isinstance(part, Frozen | Constrained | Borrowed):
        of = {Borrowed: "lent", Frozen: "part"}.get(type(part), "evaluated")
        part = getattr(part, of)
    return part


def check_one_event(density: PyTree, event: PyTree) -> None:
    """Refuse a batch where no log-density is asked for: by shapes alone."""
    jax.eval_shape(density.log_prob, jax.tree.map(as_array, event))


def split(density: PyTree, event: PyTree, field: Any) -> tuple[Scalar, PyTree]:
    """`density.split`, or a sentence where it is of neither records nor vectors."""
    if not isinstance(density, Splits):
        raise ValueError(
            f"A {type(density).__name__} has no fields to condition on: conditional and impute are "
            "for densities of records (jm.Composite) and of vectors (normal families)."
        )
    return density.split(event, field)


def observed(density: PyTree, event: PyTree) -> Scalar:
    """Log-density of what is observed of an event: of a vector, of its coordinates beside NaN."""
    if isinstance(event, tuple | list | dict):
        return density.log_prob(event)
    if not isinstance(density, SeesGaps):
        raise ValueError(
            f"A {type(density).__name__} cannot fill in what is missing of a vector: normal "
            "families can, and mixtures of them."
        )
    return density.observed_log_prob(event)


def typical(density: PyTree) -> PyTree:
    """The mean, or the most probable label where outcomes are labels; as registered of a kind."""
    leaf = plain(density)
    while hasattr(leaf, "components"):
        leaf = leaf.components[0] if isinstance(leaf.components, tuple) else leaf.components
        leaf = plain(leaf)
    return _events.typical(leaf, density)


@_events.typical.register(object)
def _mean(leaf: PyTree, density: PyTree) -> PyTree:
    mean = getattr(density, "mean", None)
    if mean is None:
        raise ValueError(
            f"A {type(leaf).__name__} has no mean to stand for a missing value: give `impute` a key, "
            "for a draw, or say `typical` by jm.event_kind."
        )
    return mean


@_events.typical.register(Categorical)
def _most_probable(leaf: Categorical, density: PyTree) -> Array:
    return jnp.argmax(jax.vmap(density.log_prob)(jnp.arange(leaf.size)))


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
