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
            places = [of(event) for event in leaf.events.value]
            alike = bool(places) and all(p == places[0] for p in places)
            found.append(places[0] if alike and _inside(places[0]) else None)
        return value

    jax.eval_shape(trace, row)
    return found


def _inside(places: PyTree) -> bool:
    found = jax.tree.leaves(places)
    return bool(found) and ELSEWHERE not in found


def events_asked(
    leaves: list[Refittable], rebuild: Callable[[list[Any]], PyTree], row: PyTree
) -> list[Any]:
    """For each leaf how the one event that it is asked about comes of a row, or None.

    The place of an array among the row's, for all but leaves that evaluate whole chunks: these have
    a function from rows to events.
    """
    places = fields_asked(leaves, rebuild, row)
    made = events_made(leaves, rebuild, row, places)
    return [
        place if not isinstance(leaf, ByChunk) else make if place is None else _taken(place)
        for leaf, place, make in zip(leaves, places, made, strict=True)
    ]


def _taken(places: PyTree) -> Callable[[PyTree], PyTree]:
    return lambda rows: jax.tree.map(lambda i: jax.tree.leaves(rows)[i], places)


def events_made(
    leaves: list[Refittable], rebuild: Callable[[list[Any]], PyTree], row: PyTree,
    places: list[Any],
) -> list[Callable[[PyTree], PyTree] | None]:  # fmt: skip
    """How the model makes of rows the events that are not among their arrays, of whole chunks.

    None for a leaf that is asked several times, or within a loop or a `vmap` over parts of a row.
    """

    def event(place: int, row: PyTree) -> PyTree:
        asked = [Asked(leaf, Held([])) for leaf in leaves]
        rebuild(asked).log_prob(row)
        events = asked[place].events.value
        return events[0] if len(events) == 1 else None

    def one(place: int) -> Callable[[PyTree], PyTree] | None:
        made = jax.make_jaxpr(functools.partial(event, place))(row)
        # What is not of the row alone: of a loop's carry, or of one of many items.
        inner = any(isinstance(c, Tracer) for c in made.consts)
        return None if inner or not made.out_avals else jax.vmap(functools.partial(event, place))

    return [
        one(i) if isinstance(leaf, ByChunk) and places[i] is None else None
        for i, leaf in enumerate(leaves)
    ]
