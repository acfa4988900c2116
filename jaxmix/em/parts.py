"""A model taken apart into the leaves that EM refits, loose arrays, and the rest.

And what each leaf is asked about a row: one that is asked about an array of the row is evaluated
for a whole chunk, before the model is.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._chunkwise import ByChunk
from .._refittable import Refittable
from .._stack import Held
from .._stand_ins import StandIn
from .._trees import by_shapes, is_traced
from ..combinators.frozen import Frozen

ELSEWHERE = -1  # the place of what is no array of a row


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


class Asked(StandIn):
    """A leaf that notes the events it is asked about."""

    leaf: Any
    events: Any

    def log_prob(self, x):
        self.events.value.append(x)
        return self.leaf.log_prob(x)


class Asking(NamedTuple):
    """What is known of a pass before it: the dtype of log-densities, and what leaves are asked about.

    `places` are, for each leaf, those among a row's arrays of the one event that it is asked about.
    None for a leaf that is asked about several, or about what the model makes of a row (an item
    of a sequence, say): its log-densities cannot be had before the model is evaluated.
    """

    dtype: Any
    places: tuple[Any, ...]


def _asked(model: PyTree, row: PyTree) -> tuple[Array, list[list[PyTree]]]:
    """The log-density of a row, and the events that each leaf is asked about on the way."""
    parts = take_apart(model)
    asked = [Asked(leaf.evaluated, Held([])) for leaf in parts.leaves]
    value = parts.model(asked, parts.loose).log_prob(row)
    return value, [leaf.events.value for leaf in asked]


@by_shapes
def asking_of(model: PyTree, row: PyTree) -> Asking:
    """How the leaves of a model are asked about a row."""
    found: list[Any] = []

    def trace(model, row):
        value, every = _asked(model, row)
        arrays = {id(a): i for i, a in enumerate(jax.tree.leaves(row))}
        of = lambda event: jax.tree.map(lambda a: arrays.get(id(a), ELSEWHERE), event)
        for events in every:
            first, *others = [of(event) for event in events] or [None]
            alike = all(other == first for other in others)
            inside = bool(jax.tree.leaves(first)) and ELSEWHERE not in jax.tree.leaves(first)
            found.append(first if alike and inside else None)
        return value

    value = eqx.filter_eval_shape(trace, model, row)
    return Asking(value.dtype, tuple(found))


def events_asked(model: PyTree, row: PyTree) -> list[Callable | None]:
    """For each leaf a function from rows to the one event of each that it is asked about, or None.

    Leaves that evaluate whole chunks may also be asked about what the model makes of rows, once
    and not within a loop or a `vmap` over parts of a row.
    """

    def one(index: int, leaf: Refittable, places: Any) -> Callable | None:
        if places is not None:
            return lambda rows: jax.tree.map(lambda i: jax.tree.leaves(rows)[i], places)
        if not isinstance(leaf.evaluated, ByChunk):
            return None

        def event(row):
            events = _asked(model, row)[1][index]
            return events[0] if len(events) == 1 else None

        made = jax.make_jaxpr(event)(row)
        # What is not of the row alone: of a loop's carry, or of one of many items.
        inner = is_traced(made.consts)
        return None if inner or not made.out_avals else jax.vmap(event)

    each = zip(take_apart(model).leaves, asking_of(model, row).places, strict=True)
    return [one(index, *pair) for index, pair in enumerate(each)]
