"""What the leaves of a model are asked about a row: then a chunk is evaluated before the model."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jaxtyping import PyTree

from .._exponential import ByChunk, Refittable
from .._stack import Held
from .._stand_ins import StandIn

ELSEWHERE = -1  # the place of what is no array of a row


class Asked(StandIn):
    """A leaf that notes the events it is asked about."""

    leaf: Any
    events: Any

    def log_prob(self, x):
        self.events.value.append(x)
        return self.leaf.log_prob(x)


def fields_asked(
    leaves: list[Refittable], rebuild: Callable[[list[Any]], PyTree], row: PyTree
) -> list[Any]:
    """For each leaf the places, among a row's arrays, of those of the one event it is asked about.

    None for a leaf that is asked about several, or about what the model makes of a row (an item
    of a sequence, say): its log-densities cannot be had before the model is evaluated.
    """
    found: list[Any] = []

    def trace(row):
        asked = [Asked(leaf, Held([])) for leaf in leaves]
        value = rebuild(asked).log_prob(row)
        arrays = {id(a): i for i, a in enumerate(jax.tree.leaves(row))}
        of = lambda event: jax.tree.map(lambda a: arrays.get(id(a), ELSEWHERE), event)
        for leaf in asked:
            first, *others = [of(event) for event in leaf.events.value] or [None]
            alike = all(other == first for other in others)
            inside = bool(jax.tree.leaves(first)) and ELSEWHERE not in jax.tree.leaves(first)
            found.append(first if alike and inside else None)
        return value

    jax.eval_shape(trace, row)
    return found


def events_asked(
    leaves: list[Refittable], rebuild: Callable[[list[Any]], PyTree], row: PyTree
) -> list[Any]:
    """For each leaf how the one event that it is asked about comes of a row, or None.

    The place of an array among the row's, for all but leaves that evaluate whole chunks: these have
    a function from rows to events. They may also be asked about what the model makes of rows, once
    and not within a loop or a `vmap` over parts of a row.
    """

    def event(index: int, row: PyTree) -> PyTree:
        asked = [Asked(leaf, Held([])) for leaf in leaves]
        rebuild(asked).log_prob(row)
        events = asked[index].events.value
        return events[0] if len(events) == 1 else None

    def one(index: int, leaf: Refittable, places: Any) -> Any:
        if not isinstance(leaf, ByChunk):
            return places
        if places is not None:
            return lambda rows: jax.tree.map(lambda i: jax.tree.leaves(rows)[i], places)
        made = jax.make_jaxpr(functools.partial(event, index))(row)
        # What is not of the row alone: of a loop's carry, or of one of many items.
        inner = any(isinstance(c, Tracer) for c in made.consts)
        return None if inner or not made.out_avals else jax.vmap(functools.partial(event, index))

    each = zip(leaves, fields_asked(leaves, rebuild, row), strict=True)
    return [one(index, *pair) for index, pair in enumerate(each)]
