"""Supports: what an event off them is worth, and products with a logarithm of zero."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def outside(inside: Bool[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 on the support, -inf off it; NaN stays NaN."""
    off = jnp.where(jnp.isnan(x), x, jnp.full_like(x, -jnp.inf))
    return jnp.where(inside, jnp.zeros_like(x), off)


def counted(x, dtype, low: int = 0) -> tuple[Array, Array]:
    """A count as a float that is safe to differentiate at, and 0, -inf or NaN by its support.

    Counts are whole numbers from `low` up; events may be integers, truth values or floats.
    """
    value = jnp.asarray(x).astype(dtype)
    inside = (value >= low) & (value == jnp.floor(value)) & jnp.isfinite(value)
    return jnp.where(inside, value, jnp.full_like(value, low)), outside(inside, value)


def positive(x, dtype) -> tuple[Array, Array]:
    """A positive number, replaced by 1 off the support, and 0, -inf or NaN by its support."""
    value = jnp.asarray(x).astype(dtype)
    # Replace before the logarithm: `where` after it would still differentiate it at 0.
    inside = (value > 0) & jnp.isfinite(value)
    return jnp.where(inside, value, jnp.ones_like(value)), outside(inside, value)


def times(count: Array, log: Array) -> Array:
    """The product count * log, where 0 times -inf is 0, and so is its gradient."""
    none = count == 0
    safe = jnp.where(none, jnp.zeros_like(log), log)
    return jnp.where(none, jnp.zeros_like(count * safe), count * safe)


def chosen(log_probs: Array, counts: Array) -> Array:
    """Sum of counts * log_probs over all axes, as a product of matrices under `vmap`.

    A logarithm of zero that is not chosen is worth 0; chosen, it makes the sum -inf.
    """
    forbidden = log_probs == -jnp.inf
    finite = jnp.where(forbidden, jnp.zeros_like(log_probs), log_probs)
    broken = jnp.vdot(counts, forbidden.astype(counts.dtype)) > 0
    value = jnp.vdot(counts, finite)
    return jnp.where(broken, jnp.full_like(value, -jnp.inf), value)
