"""Supports: where a family's events live, in words and as a test; what an event off them is worth."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Domain(NamedTuple):
    """A set of numbers or of vectors: `words` complete the sentence "... was expected"."""

    words: str
    whole: bool = False
    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    dim: int | None = None  # length of a vector; None for numbers
    total: float | None = None  # what a vector's entries add up to
    nan: bool = False  # whether NaN is a missing coordinate
    also: tuple[float, ...] = ()  # numbers that belong to it beside

    def _inside(self, x: Any, of: Any) -> Any:
        """Whether each number is one of the domain's; `of` is NumPy or JAX's."""
        above = x > self.low if self.open else x >= self.low
        below = x < self.high if self.open else x <= self.high
        fine = above & below & of.isfinite(x)
        return fine & (x == of.floor(x)) if self.whole else fine

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Whether each number (or each row) lies in the domain."""
        fine = self._inside(x, np)
        if self.also:
            fine |= np.isin(x, self.also)
        if self.nan:
            fine |= np.isnan(x)
        if self.dim is None:
            return fine
        fine = fine.all(axis=-1)
        if self.total is not None:
            slack = 0 if self.whole else 1e-4 * self.total
            fine &= np.abs(x.sum(axis=-1) - self.total) <= slack
        return fine  # pyright: ignore[reportReturnType]

    @property
    def inner(self) -> float:
        """A number well inside, of a domain of numbers."""
        low, high = self.low, self.high
        if low == -math.inf:
            return 0.0 if high == math.inf else high - 1
        return low if self.whole else 0.5 * (low + high) if high < math.inf else low + 1

    def safe(self, x: Any, dtype: Any) -> tuple[Array, Array]:
        """A number as a float that lies in the domain, and 0, -inf or NaN as x itself does.

        Replaced before a function that has no value at x: `where` after it would still
        differentiate it there.
        """
        value = jnp.asarray(x).astype(dtype)
        inside = self._inside(value, jnp)
        return jnp.where(inside, value, self.inner), outside(inside, value)


REAL = Domain("a number")
POSITIVE = Domain("a positive number", low=0, open=True)
NON_NEGATIVE = Domain("a number not below 0", low=0)
UNIT = Domain("a number between 0 and 1", low=0, high=1, open=True)
COUNT = Domain("a whole number from 0 up", whole=True, low=0)
TRIALS = Domain("a whole number from 1 up", whole=True, low=1)
TRUTH = Domain("0 or 1, or a truth value", whole=True, low=0, high=1)


def whole(low: int, high: int) -> Domain:
    """The whole numbers of a range, both ends included."""
    return Domain(f"a whole number from {low} to {high}", whole=True, low=low, high=high)


def outside(inside: Bool[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 on the support, -inf off it; NaN stays NaN."""
    off = jnp.where(jnp.isnan(x), x, jnp.full_like(x, -jnp.inf))
    return jnp.where(inside, jnp.zeros_like(x), off)


def finite(x: Array) -> tuple[Array, Array]:
    """A vector or a matrix, by 0 where it is not finite; and 0, -inf or NaN as it is."""
    inside = jnp.isfinite(x)
    return jnp.where(inside, x, jnp.zeros_like(x)), jnp.sum(outside(inside, x))


def within(inside: Bool[Array, "..."], function: Callable[..., Array], *arguments: Array) -> Array:
    """A function of numbers where they are inside its domain; inf, without a gradient, elsewhere."""
    value = function(*(jnp.where(inside, a, jnp.ones_like(a)) for a in arguments))
    return jnp.where(inside, value, jnp.full_like(value, jnp.inf))


def chosen(log_probs: Array, counts: Array) -> Array:
    """Sum of counts * log_probs over all axes, as a product of matrices under `vmap`.

    A logarithm of zero that is not chosen is worth 0; chosen, it makes the sum -inf.
    """
    forbidden = log_probs == -jnp.inf
    finite = jnp.where(forbidden, jnp.zeros_like(log_probs), log_probs)
    broken = jnp.vdot(counts, forbidden.astype(counts.dtype)) > 0
    value = jnp.vdot(counts, finite)
    return jnp.where(broken, jnp.full_like(value, -jnp.inf), value)
