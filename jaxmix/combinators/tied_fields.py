"""A stack of a family some of whose parameters are one for the whole stack."""

from collections.abc import Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._refittable import Moments, Refittable, free_numbers
from .constrained import (
    SCALES,
    Constrained,
    climbed,
    fields_of,
    per_event,
    still,
    stored_names,
    where_counted,
    with_fields,
)
from .held_fields import HeldFields, held


class TiedFields(Constrained):
    """A stack of a family with one array for all of it in some fields; `jm.tie(model, where, name)`.

    An M-step maximises the sum over the stack of the expected log-densities: in closed form where
    the scale of a normal family or of a linear regression is shared, by Newton steps elsewhere.

    - `part`: the stack, without the shared `fields`; `once`: a density with these alone.
    - `held`: fields that are frozen.
    """

    part: Any
    once: Any
    fields: tuple[str, ...] = eqx.field(static=True)
    held: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def shared(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("once",)

    frozen_fields = property(lambda self: self.held)

    @property
    def _free(self) -> tuple[list[str], list[str]]:
        """Names of the fields that are each density's own, and of the shared ones: not the held."""
        return (
            [name for name in self.part.ranks if name not in (*self.fields, *self.held)],
            [name for name in self.fields if name not in self.held],
        )

    @property
    def num_parameters(self) -> int:
        return sum(free_numbers(self.part, name) for name in self._free[0])

    @property
    def num_shared_parameters(self) -> int:
        return sum(free_numbers(self.once, name) for name in self._free[1])

    @property
    def evaluated(self) -> Any:
        """The plain stack, each of its densities with a copy of what is shared."""
        shape, once = self.stack_shape, self.once

        def copies(name):
            array = getattr(once, name)
            core = array.shape[array.ndim - once.ranks[name] :]
            if not shape:
                return array
            if isinstance(array, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct((*shape, *core), array.dtype)
            return jnp.broadcast_to(jnp.expand_dims(array, len(shape) - 1), (*shape, *core))

        whole = with_fields(self.part, self.fields, [copies(name) for name in self.fields])
        return with_fields(whole, self.held, still(whole, self.held))

    def _with(self, own: list[Any], shared: list[Any]) -> Self:
        """With other arrays in its free fields."""
        names, common = self._free
        values = with_fields(self.part, names, own), with_fields(self.once, common, shared)
        return eqx.tree_at(lambda m: (m.part, m.once), self, values)

    def from_stats(self, stats, origin=None) -> Self:
        whole = self.evaluated
        names, common = self._free
        if not self.stack_shape:  # one density of the stack, by itself
            new = whole.from_stats(stats, origin)
            return self._with(fields_of(new, names), fields_of(new, common))
        if _pools(stats, self.fields) and set(self.held) <= {"mean"}:
            return self._pooled(whole, stats, origin)
        return self._climbed(stats, origin)

    def _pooled(self, whole, stats, about) -> Self:
        """Locations as they are by themselves, and scales of the residuals of all about them."""
        axis = len(self.stack_shape) - 1
        new = whole if self.held else whole.from_stats(stats, about)
        moved = where_counted(stats.count, whole.recentre(stats, about, new.origin))
        if isinstance(moved, Moments):
            moved = moved._replace(first=jnp.zeros_like(moved.first))
        first = jax.tree.map(lambda a: jnp.take(a, 0, axis), whole)
        pool = first.from_stats(jax.tree.map(lambda a: jnp.sum(a, axis), moved), first.origin)
        names, common = self._free
        return self._with(fields_of(new, names), fields_of(pool, common))

    def _climbed(self, stats, origin) -> Self:
        """The maximum over what is free and what is shared, by Newton steps from these."""
        names, common = self._free

        def value(arrays, given):
            start, stats, origin, count = given
            new = start._with(*arrays).evaluated
            found = jnp.sum(new.expected_log_prob(per_event(stats, count), origin))
            # What no data determine stays where it is.
            apart = [
                (a - b) ** 2 for a, b in zip(arrays[0], fields_of(start.part, names), strict=True)
            ]
            empty = lambda a: jnp.where(_like(stats.count > 0, a), jnp.zeros_like(a), a)
            return found - sum((jnp.sum(empty(a)) for a in apart), jnp.zeros_like(found))

        def one(*given):
            start = fields_of(given[0].part, names), fields_of(given[0].once, common)
            return given[0]._with(*climbed(value, start, given))

        for _ in self.stack_shape[1:]:
            one = jax.vmap(one)
        return one(self, stats, origin, jnp.sum(stats.count, -1))


def _like(used: Array, array: Array) -> Array:
    return jnp.broadcast_to(used.reshape(used.shape + (1,) * (array.ndim - 1)), array.shape)


def _pools(stats: Any, fields: Sequence[str]) -> bool:
    """Whether scales alone are shared, of residuals whose location no scale moves."""
    return set(fields) <= set(SCALES) and (isinstance(stats, Moments) or hasattr(stats, "gram"))


def tied_fields(part: Any, fields: Any) -> TiedFields:
    """A stack with these fields shared, or a sentence."""
    asked = (fields,) if isinstance(fields, str) else tuple(fields)
    already = part.fields if isinstance(part, TiedFields) else ()
    held = part.fields if isinstance(part, HeldFields) else getattr(part, "held", ())
    if isinstance(part, HeldFields | TiedFields):
        part = part.part if isinstance(part, HeldFields) else part.evaluated
    kind = type(part).__name__
    if not isinstance(part, Refittable) or not getattr(part, "ranks", {}) or part.shared:
        raise ValueError(
            f"A parameter is tied over a stack of one family's densities; a {kind} was given. "
            "Name the family inside it, such as `lambda m: m.components`."
        )
    if len(part.stack_shape) != 1:
        raise ValueError(
            f"A parameter is tied over a stack of one axis, such as a mixture's components; this "
            f"{kind} has stack shape {part.stack_shape}. In a stack of stacks, tie it in the inner "
            "one first, and stack the tied model: jm.mixture_of(jm.tie(inner, ...), k)."
        )
    stored = (*already, *stored_names(part, asked, "tie"))
    free = [name for name in part.ranks if name not in stored]
    if not free:
        raise ValueError(f"All parameters of {kind} would be tied: jm.tie(model, where) is that.")
    closed = _pools(part.zero_stats(), stored) and set(held) <= {"mean"}
    if "factor" in part.ranks and "factor" not in held and not closed:
        raise ValueError(
            f"Of {kind} the covariance alone can be shared, its mean being free or frozen."
        )
    own = [name for name in part.ranks if name not in stored]
    once = jax.tree.map(lambda a: jnp.take(a, 0, 0), part)
    return TiedFields(
        with_fields(part, stored, [None] * len(stored)),
        with_fields(once, own, [None] * len(own)),
        stored,
        held,
    )


def holding(part: TiedFields, fields: Any) -> TiedFields:
    """A stack with shared fields, these of its fields frozen too."""
    whole = held(part.evaluated, fields)  # or its sentence
    return tied_fields(HeldFields(whole.part, (*part.held, *whole.fields)), part.fields)
