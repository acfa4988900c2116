"""A model taken apart into the leaves that EM refits, loose arrays, and the rest."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._exponential import Refittable
from ..combinators.frozen import Frozen


def is_part(node: Any) -> bool:
    """The nodes that a walk over a model does not enter."""
    return isinstance(node, Refittable | Frozen)


class Parts(NamedTuple):
    """A model taken apart: leaves to refit, loose arrays to move by gradient, and the rest."""

    leaves: list[Refittable]
    loose: list[Array]
    rebuild: Any

    def model(self, leaves: list[Any], loose: list[Array]) -> PyTree:
        return self.rebuild(leaves, loose)


def take_apart(model: PyTree) -> Parts:
    """Separate a model into refittable leaves, loose arrays, and its structure."""
    nodes, structure = jax.tree.flatten(model, is_leaf=is_part)
    kinds = [
        "leaf" if isinstance(n, Refittable) else "loose" if eqx.is_inexact_array(n) else "rest"
        for n in nodes
    ]

    def rebuild(leaves, loose):
        leaves, loose = iter(leaves), iter(loose)
        choose = {"leaf": lambda _: next(leaves), "loose": lambda _: next(loose)}
        return structure.unflatten(
            [choose.get(kind, lambda n: n)(n) for kind, n in zip(kinds, nodes, strict=True)]
        )

    pick = lambda kind: [n for n, k in zip(nodes, kinds, strict=True) if k == kind]
    return Parts(pick("leaf"), pick("loose"), rebuild)


def recentred(old: list[Any], stats: list[Any], new: list[Any]) -> list[Any]:
    """Statistics about the origins of some leaves, about those of others."""
    each = zip(old, stats, new, strict=True)
    return [leaf.recentre(s, leaf.origin, other.origin) for leaf, s, other in each]


def free_parameters(leaf: Refittable) -> int:
    """Free parameters of a whole stack, what its densities share once."""
    inner, outer = leaf.stack_shape, leaf.stack_shape[:-1]
    return math.prod(inner) * leaf.num_parameters + math.prod(outer) * leaf.num_shared_parameters


def num_parameters(model: PyTree) -> int:
    """Free parameters of a model: frozen parts have none, tied parts count once."""
    parts = take_apart(model)
    return sum(map(free_parameters, parts.leaves)) + sum(int(a.size) for a in parts.loose)


def parameters(
    model: PyTree, *, loose: bool = True
) -> tuple[Float[Array, " p"], Callable[[Array], PyTree]]:
    """What a fit may change, as one unconstrained vector, and the model for such a vector.

    Frozen parts have no entries, a tied part has its entries once; `loose` arrays come last.
    """
    parts = take_apart(model)
    varied = (parts.leaves, parts.loose) if loose else parts.leaves
    arrays, rest = eqx.partition(varied, eqx.is_inexact_array)
    vector, unravel = ravel_pytree(arrays)

    def build(vector):
        whole = eqx.combine(unravel(vector), rest)
        return parts.model(*whole) if loose else parts.model(whole, parts.loose)

    return vector, build
