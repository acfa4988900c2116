"""A family some of whose parameters are frozen: its M-step is over the others alone."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from .._refittable import Moments, Refittable, free_numbers
from .constrained import (
    SCALES,
    Constrained,
    climbed,
    fields_of,
    per_event,
    still,
    stored_names,
    with_fields,
)


class HeldFields(Constrained):
    """A family (or a stack of one) that keeps some of its fields; `jm.frozen(density, fields)`.

    An M-step maximises the expected complete-data log-density over the other fields: in closed
    form for the mean or the scale of a normal family, by Newton steps elsewhere.
    """

    part: Any
    fields: tuple[str, ...] = eqx.field(static=True)
    frozen_fields = property(lambda self: self.fields)

    @property
    def num_parameters(self) -> int:
        return self.part.num_parameters - sum(free_numbers(self.part, name) for name in self.fields)

    @property
    def evaluated(self) -> Any:
        """The family's density, of whose frozen fields the gradient is 0."""
        return self._still(self.part)

    def _still(self, part: Any) -> Any:
        return with_fields(part, self.fields, still(self.part, self.fields))

    def from_stats(self, stats, origin=None) -> Self:
        if isinstance(stats, Moments) and self.fields == ("mean",):
            # About the mean that is kept, without the residuals' own mean.
            stats = self.part.recentre(stats, origin, self.origin)
            stats = stats._replace(first=jnp.zeros_like(stats.first))
            new = self.part.from_stats(stats, self.origin)
        elif isinstance(stats, Moments) and set(self.fields) <= set(SCALES):
            new = self.part.from_stats(stats, origin)  # means are the same for every scale
        else:
            new = self._climbed(stats, origin)
        return eqx.tree_at(lambda m: m.part, self, self._still(new))

    def _climbed(self, stats, origin) -> Any:
        """The maximum over the free fields of each density, by Newton steps from these."""
        names = [name for name in self.part.ranks if name not in self.fields]

        def value(free, given):
            part, stats, origin = given
            mean = per_event(stats, stats.count)
            return with_fields(part, names, free).expected_log_prob(mean, origin)

        def one(*given):
            return with_fields(given[0], names, climbed(value, fields_of(given[0], names), given))

        for _ in self.stack_shape:
            one = jax.vmap(one)
        return one(self.part, stats, origin)


def held(part: Any, fields: Any) -> HeldFields:
    """The family with these fields frozen, or a sentence."""
    asked = (fields,) if isinstance(fields, str) else tuple(fields)
    kind = type(part).__name__
    if not isinstance(part, Refittable) or not getattr(part, "ranks", {}) or part.shared:
        raise ValueError(
            f"Fields are frozen of a family's density, or of a stack of them; a {kind} was given. "
            "Freeze them in its parts."
        )
    stored = stored_names(part, asked, "freeze")
    free = [name for name in part.ranks if name not in stored]
    if not free:
        raise ValueError(f"All parameters of {kind} would be frozen: jm.frozen(density) is that.")
    if "factor" in free and not isinstance(part.zero_stats(), Moments):
        raise ValueError(f"The covariance of {kind} is refitted with its other parameters alone.")
    return HeldFields(part, stored)
