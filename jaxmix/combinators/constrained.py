"""Families some of whose parameters are frozen, or shared: evaluated as ever, refitted otherwise."""

import abc
from collections.abc import Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._density import LogDensity
from .._newton import newton_maximum
from .._refittable import Moments, Refittable, free_numbers
from .._trees import spread
from ..families._entrances import of_field


class Forwarding(LogDensity):
    """The base of what evaluates as another density does, and offers all that it offers."""

    log_prob, sample, cdf, log_cdf = (
        of_field("forwarded", name) for name in ("log_prob", "sample", "cdf", "log_cdf")
    )

    @property
    @abc.abstractmethod
    def forwarded(self) -> Any:
        """The density that is asked."""

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.forwarded, "reparametrised", False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        return getattr(self.forwarded, name)


SCALES = ("log_scale", "factor")
STORED = {"variance": "log_scale", "covariance": "factor", "precision": "factor"}


class Constrained(Forwarding, Refittable):
    """A family, or a stack of one, some of whose fields are frozen, or one for the whole stack.

    Made by `jm.frozen(density, fields)` and `jm.tie(model, where, fields)`. An M-step maximises the
    expected log-density (its sum over the stack, where fields are shared) over what is free: in
    closed form for locations and scales of normal families and the scale of linear regressions, by
    Newton steps elsewhere.

    - `part`: the density, without the `tied` fields; `once`: a density with these alone, or None.
    - `tied`: fields that the densities of a stack's last axis share; `held`: those that are frozen.
    """

    part: Any
    once: Any
    tied: tuple[str, ...] = eqx.field(static=True)
    held: tuple[str, ...] = eqx.field(static=True)
    ascends, zero_is_valid = of_field("part", "ascends"), of_field("part", "zero_is_valid")
    reparametrised = of_field("part", "reparametrised")
    stack_shape = of_field("part", "stack_shape")
    origin, stats, pair, zero_stats, floor, recentre, on_boundary, expected_log_prob = (
        of_field("evaluated", name)
        for name in (
            "origin", "stats", "pair", "zero_stats", "floor", "recentre", "on_boundary",
            "expected_log_prob",
        )
    )  # fmt: skip

    @property
    def shared(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("once",) if self.tied else ()

    @property
    def num_parameters(self) -> int:
        fixed = dict.fromkeys((*self.tied, *self.held))
        return self.plain.num_parameters - sum(free_numbers(self.plain, name) for name in fixed)

    @property
    def num_shared_parameters(self) -> int:
        return sum(free_numbers(self.once, name) for name in self._free[1])

    @property
    def plain(self) -> Any:
        """The family's density, or the stack, each of whose densities has a copy of what is shared."""
        shape, once = self.stack_shape, self.once

        def copies(name):
            array = getattr(once, name)
            core = array.shape[array.ndim - once.ranks[name] :]
            if not shape:
                return array
            if isinstance(array, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct((*shape, *core), array.dtype)
            return jnp.broadcast_to(jnp.expand_dims(array, len(shape) - 1), (*shape, *core))

        return with_fields(self.part, self.tied, [copies(name) for name in self.tied])

    @property
    def evaluated(self) -> Any:
        """The plain density, of whose frozen fields the gradient is 0."""
        stop = lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a
        whole = self.plain
        return with_fields(whole, self.held, [stop(a) for a in fields_of(whole, self.held)])

    forwarded = property(lambda self: self.evaluated)

    def limits(self, stats=None):
        found = self.evaluated.limits(stats)
        return {name: ran for name, ran in found.items() if name not in self.held}

    def __getattr__(self, name: str) -> Any:
        if name == "check_rows" and "coefficients" in self.held:
            raise AttributeError(name)  # no rows need determine them
        return super().__getattr__(name)

    @property
    def _free(self) -> tuple[list[str], list[str]]:
        """Names of the fields that are each density's own, and of the shared ones: not the held."""
        return (
            [name for name in self.part.ranks if name not in (*self.tied, *self.held)],
            [name for name in self.tied if name not in self.held],
        )

    def _with(self, own: list[Any], shared: list[Any]) -> Self:
        """With other arrays in its free fields."""
        names, common = self._free
        values = with_fields(self.part, names, own), with_fields(self.once, common, shared)
        return eqx.tree_at(lambda m: (m.part, m.once), self, values, is_leaf=lambda n: n is None)

    def _of(self, new: Any, pooled: Any = None) -> Self:
        """With the free fields of a plain density, and what is shared of another."""
        names, common = self._free
        pooled = new if pooled is None else pooled
        return self._with(fields_of(new, names), fields_of(pooled, common))

    def from_stats(self, stats, origin=None) -> Self:
        whole, tied = self.evaluated, self.tied if self.stack_shape else ()
        if not tied and not self.held:  # one density of the stack, by itself
            return self._of(whole.from_stats(stats, origin))
        if not _is_closed(stats, tied, self.held):
            return self._climbed(stats, origin, bool(tied))
        new = whole if "mean" in self.held else whole.from_stats(stats, origin)
        if set(self.held) & set(SCALES):  # locations are the same for every scale
            return self._of(new)
        # Scales are of the residuals about the locations, without these residuals' own mean.
        moved = whole.recentre(stats, origin, new.origin)
        used = lambda a: jnp.where(spread(stats.count > 0, a.ndim), a, jnp.zeros_like(a))
        moved = jax.tree.map(used, moved)
        if isinstance(moved, Moments):
            moved = moved._replace(first=jnp.zeros_like(moved.first))
        if not tied:
            return self._of(whole.from_stats(moved, new.origin))
        axis = len(self.stack_shape) - 1
        first = jax.tree.map(lambda a: jnp.take(a, 0, axis), whole)
        total = jax.tree.map(lambda a: jnp.sum(a, axis), moved)
        return self._of(new, first.from_stats(total, first.origin))

    def _climbed(self, stats, origin, tied: bool) -> Any:
        """The maximum over what is free and what is shared, by Newton steps from these."""
        names, common = self._free

        def one(start, *given):
            free = fields_of(start.part, names), fields_of(start.once, common)
            flat, unravel = ravel_pytree(free)

            def value(flat, given):
                (own, shared), (stats, origin, count) = unravel(flat), given
                mean = jax.tree.map(lambda a: a / count, stats)
                found = jnp.sum(start._with(own, shared).evaluated.expected_log_prob(mean, origin))
                # What no data determine stays where it is.
                apart = [(a - b) ** 2 for a, b in zip(own, free[0], strict=True)]
                empty = [jnp.where(spread(stats.count > 0, a.ndim), 0.0, a) for a in apart]
                return found - sum((jnp.sum(a) for a in empty), jnp.zeros_like(found))

            return start._with(*unravel(newton_maximum(value, flat, given)))

        for _ in self.stack_shape[1:] if tied else self.stack_shape:
            one = jax.vmap(one)
        return one(self, stats, origin, jnp.sum(stats.count, -1) if tied else stats.count)


def fields_of(part: Any, names: Sequence[str]) -> list[Array]:
    return [getattr(part, name) for name in names]


def with_fields(part: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """A density with these arrays as its fields of these names."""
    if not names:
        return part
    none = lambda node: node is None
    return eqx.tree_at(lambda m: fields_of(m, names), part, list(values), is_leaf=none)


def _is_closed(stats: Any, tied: Sequence[str], held: Sequence[str]) -> bool:
    """Whether scales alone are shared or frozen, or locations frozen, and neither moves the other."""
    alone = set(tied) <= set(SCALES) and set(held) <= {"mean", *SCALES}
    return alone and (isinstance(stats, Moments) or (hasattr(stats, "gram") and not held))


def constrained(part: Any, fields: str | Sequence[str], verb: str) -> Constrained:
    """A family some more of whose fields are frozen, or shared ("freeze", "tie"); or a sentence."""
    held, tied = (part.held, part.tied) if isinstance(part, Constrained) else ((), ())
    part = part.plain if isinstance(part, Constrained) else part
    kind = type(part).__name__
    if not isinstance(part, Refittable) or not getattr(part, "ranks", {}) or part.shared:
        if verb == "freeze":
            raise ValueError(
                f"Fields are frozen of a family's density, or of a stack of them; a {kind} was "
                "given. Freeze them in its parts."
            )
        raise ValueError(
            f"A parameter is tied over a stack of one family's densities; a {kind} was given. "
            "Name the family inside it, such as `lambda m: m.components`."
        )
    if verb == "tie" and len(part.stack_shape) != 1:
        raise ValueError(
            f"A parameter is tied over a stack of one axis, such as a mixture's components; this "
            f"{kind} has stack shape {part.stack_shape}. In a stack of stacks, tie it in the inner "
            "one first, and stack the tied model: jm.mixture_of(jm.tie(inner, ...), k)."
        )
    stored = _stored(part, (fields,) if isinstance(fields, str) else tuple(fields), verb)
    if verb == "freeze":
        held = tuple(dict.fromkeys((*held, *stored)))
    else:
        tied = tuple(dict.fromkeys((*tied, *stored)))
    if set(part.ranks) <= set(held):
        raise ValueError(f"All parameters of {kind} would be frozen: jm.frozen(density) is that.")
    if set(part.ranks) <= set(tied):
        raise ValueError(f"All parameters of {kind} would be tied: jm.tie(model, where) is that.")
    closed = _is_closed(part.zero_stats(), tied, held)
    if "factor" in part.ranks and "factor" not in held and not closed:
        raise ValueError(
            f"Of {kind} the covariance alone can be shared, its mean being free or frozen."
            if tied
            else f"The covariance of {kind} is refitted with its other parameters alone."
        )
    own = [name for name in part.ranks if name not in tied]
    once = jax.tree.map(lambda a: jnp.take(a, 0, len(part.stack_shape) - 1), part) if tied else None
    return Constrained(
        with_fields(part, tied, [None] * len(tied)),
        with_fields(once, own, [None] * len(own)) if tied else None,
        tied,
        held,
    )


def _stored(part: Any, asked: Sequence[str], verb: str) -> tuple[str, ...]:
    """The stored fields of a family for names of its parameters, or a sentence."""
    ranks = part.ranks
    stored = tuple(
        name if name in ranks else f"log_{name}" if f"log_{name}" in ranks else STORED.get(name, "")
        for name in asked
    )
    for name, field in zip(asked, stored, strict=True):
        if field not in ranks:
            known = ", ".join(name.removeprefix("log_") for name in ranks)
            kind = type(part).__name__
            raise ValueError(f"{kind} has no parameter {name!r} to {verb}; it has {known}.")
    return stored
