"""A family some of whose parameters are frozen: its M-step is over the others alone."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key, PyTree, Scalar

from .._exponential import Moments, Refittable
from .._newton import newton_maximum

SCALES = ("log_scale", "factor")
STORED = {"variance": "log_scale", "covariance": "factor", "precision": "factor"}


class HeldFields(Refittable):
    """A family (or a stack of one) that keeps some of its fields; `jm.frozen(density, fields)`.

    An M-step maximises the expected complete-data log-density over the other fields: in closed
    form for the mean or the scale of a normal family, by Newton steps elsewhere.
    """

    part: Any
    fields: tuple[str, ...] = eqx.field(static=True)

    @property
    def ascends(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.part.ascends

    @property
    def zero_is_valid(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.part.zero_is_valid

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.part.reparametrised

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return self.part.stack_shape

    @property
    def num_parameters(self) -> int:
        return self.part.num_parameters - sum(_numbers(self.part, name) for name in self.fields)

    @property
    def origin(self) -> Any:
        return self.part.origin

    def _still(self, part: Any) -> Any:
        """A density of the family with this one's frozen fields, whose gradient is 0."""
        kept = [jax.lax.stop_gradient(getattr(self.part, name)) for name in self.fields]
        return eqx.tree_at(lambda m: [getattr(m, name) for name in self.fields], part, kept)

    def log_prob(self, x: PyTree) -> Scalar:
        return self._still(self.part).log_prob(x)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self._still(self.part).sample(key)

    def cdf(self, x: Scalar) -> Scalar:
        return self._still(self.part).cdf(x)

    def log_cdf(self, x: Scalar) -> Scalar:
        return self._still(self.part).log_cdf(x)

    def stats(self, x, origin=None):
        return self.part.stats(x, origin)

    def pair(self, t, x, origin=None) -> Scalar:
        return self.part.pair(t, x, origin)

    def zero_stats(self):
        return self.part.zero_stats()

    def floor(self, stats, share):
        return self.part.floor(stats, share)

    def recentre(self, stats, old, new):
        return self.part.recentre(stats, old, new)

    def on_boundary(self, floor) -> Array:
        return self.part.on_boundary(floor)

    def expected_log_prob(self, stats, origin=None) -> Scalar:
        return self._still(self.part).expected_log_prob(stats, origin)

    def from_stats(self, stats, origin=None) -> Self:
        about = self.origin if origin is None else origin
        if isinstance(stats, Moments) and self.fields == ("mean",):
            # About the mean that is kept, without the residuals' own mean.
            stats = self.part.recentre(stats, about, self.origin)
            stats = stats._replace(first=jnp.zeros_like(stats.first))
            new = self.part.from_stats(stats, self.origin)
        elif isinstance(stats, Moments) and set(self.fields) <= set(SCALES):
            new = self.part.from_stats(stats, about)  # means are the same for every scale
        else:
            new = self._climbed(stats, about)
        return eqx.tree_at(lambda m: m.part, self, self._still(new))

    def _climbed(self, stats, origin) -> Any:
        """The maximum over the free fields of each density, by Newton steps from these."""
        names = [name for name in self.part.ranks if name not in self.fields]

        def one(part, stats, origin):
            free = [getattr(part, name) for name in names]
            start, unravel = ravel_pytree(free)
            with_free = lambda part, values: eqx.tree_at(
                lambda m: [getattr(m, name) for name in names], part, values
            )

            def value(flat, given):
                part, stats, origin = given
                mean = jax.tree.map(lambda a: a / stats.count, stats)
                return with_free(part, unravel(flat)).expected_log_prob(mean, origin)

            return with_free(part, unravel(newton_maximum(value, start, (part, stats, origin))))

        for _ in self.stack_shape:
            one = jax.vmap(one)
        return one(self.part, stats, origin)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("part", "fields"):
            raise AttributeError(name)
        return getattr(self.part, name)


def _numbers(part: Any, name: str) -> int:
    """Free numbers of one density's field: of a factor, its triangle."""
    rank, array = part.ranks[name], getattr(part, name)
    shape = array.shape[array.ndim - rank :]
    return shape[0] * (shape[0] + 1) // 2 if name == "factor" else int(np.prod(shape, dtype=int))


def held(part: Any, fields: Any) -> HeldFields:
    """The family with these fields frozen, or a sentence."""
    asked = (fields,) if isinstance(fields, str) else tuple(fields)
    ranks = getattr(part, "ranks", {})
    kind = type(part).__name__
    if not isinstance(part, Refittable) or not ranks or part.shared:
        raise ValueError(
            f"Fields are frozen of a family's density, or of a stack of them; a {kind} was given. "
            "Freeze them in its parts."
        )
    stored = tuple(
        name if name in ranks else f"log_{name}" if f"log_{name}" in ranks else STORED.get(name, "")
        for name in asked
    )
    for name, field in zip(asked, stored, strict=True):
        if field not in ranks:
            known = ", ".join(name.removeprefix("log_") for name in ranks)
            raise ValueError(f"{kind} has no parameter {name!r} to freeze; it has {known}.")
    free = [name for name in ranks if name not in stored]
    if not free:
        raise ValueError(f"All parameters of {kind} would be frozen: jm.frozen(density) is that.")
    moments = isinstance(part.zero_stats(), Moments)
    if "factor" in free and not moments:
        raise ValueError(f"The covariance of {kind} is refitted with its other parameters alone.")
    return HeldFields(part, stored)
