"""What a class of one's own declares and gives back, and the sentence where it does not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

NO_PYTREE = "JAX sees no arrays in it: derive from jm.LogDensity or equinox.Module, or register it."


class BrokenContractError(ValueError):
    """A class keeps not to what it must: it is not the data's fault."""


def headed(owner: Any, method: str, value: Any) -> Any:
    """The same natural parameters or statistics, if they are a NamedTuple headed by `count`."""
    if getattr(value, "_fields", ("",))[0] != "count":
        raise BrokenContractError(
            f"{method} of {type(owner).__name__} gives a {type(value).__name__}: a NamedTuple headed "
            "by count is expected, such as jm.Total(count, total)."
        )
    return value


def misdeclared(kind: type, density: Any = None) -> str:
    """What is wrong with the `ranks` of a class, and of a density of it; "" if nothing is."""
    ranks: dict = getattr(kind, "ranks", {})
    fields = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    for name in ranks:
        if name not in fields and not hasattr(kind, name):
            return f"`ranks` of {kind.__name__} names {name!r}; its fields are {', '.join(fields)}."
    own = [f for f in fields if _is_floating(getattr(density, f, None))]
    # A class that counts its parameters itself need not declare them.
    foreign = [c for c in kind.__mro__ if not c.__module__.startswith(f"{__package__}.")]
    counted = any("num_parameters" in vars(c) for c in foreign)
    if own and not ranks and not counted:
        return (
            f"`ranks` of {kind.__name__} is empty: it says the rank of ONE density's parameters, "
            f"such as ranks = {{{own[0]!r}: 0}} for a number."
        )
    return ""


def _is_floating(value: Any) -> bool:
    kind = getattr(value, "dtype", None)
    return kind is not None and hasattr(value, "shape") and jnp.issubdtype(kind, jnp.inexact)


def is_opaque(node: Any) -> bool:
    """Whether an object is a leaf of its own tree: JAX does not see into it."""
    return any(leaf is node for leaf in jax.tree.leaves(node))
