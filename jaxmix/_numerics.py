"""Numerical traps, each met and explained once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def native(value: Any) -> Any:
    """A NumPy array in the machine's byte order; anything else as it is."""
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value


def as_array(value: Any) -> Array:
    """A JAX array of anything that NumPy reads, foreign byte orders among it.

    Whole numbers beyond the integers that are in use come as floats, and don't wrap around.
    """
    value = _numbers(value)
    whole = np.asarray(value) if isinstance(value, int | np.ndarray | np.generic) else None
    if whole is not None and whole.dtype.kind in "iuO":
        kind = jax.dtypes.canonicalize_dtype(int if whole.dtype.kind == "O" else whole.dtype)
        if kind != whole.dtype and np.any(abs(whole) > np.iinfo(kind).max):
            try:
                value = whole.astype(float)
            except OverflowError as error:
                raise TypeError(
                    "A number was expected; one beyond all floats was given."
                ) from error
    return jnp.asarray(value)


def is_real(kind: Any) -> bool:
    """Whether a dtype is of real numbers, truth values among them; of keys, say, it is not."""
    real = jnp.floating, jnp.integer, jnp.bool_
    return kind is not None and any(jnp.issubdtype(kind, each) for each in real)


def _numbers(value: Any) -> Any:
    """Numbers as they came, or as an array; or a sentence for what is none."""
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                "A masked number is missing: write NaN for it where the density takes missing "
                "values, such as jm.PartialNormal, or use jm.Optional."
            )
        value = np.asarray(value)
    if not isinstance(value, jax.Array | Host):
        try:
            value = jnp.asarray(None if isinstance(value, str) else value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"A number or an array of numbers was expected; a {type(value).__name__} was given."
            ) from error
    kind = getattr(value, "dtype", None)
    if kind is not None and not is_real(kind):
        raise TypeError(f"Real numbers were expected; their dtype was {kind}.")
    return native(value)


def as_float(*values) -> tuple[Array, ...]:
    """Turn numbers or arrays into strongly typed floating arrays of one common dtype.

    `Normal(0, 1)` and `Normal(0.0, jnp.ones(()))` then have the same types, and retrace nothing.
    Dtypes are joined by `jnp.result_type`, so that float64 parameters stay float64.
    """
    given = [_numbers(v) for v in values]
    strong: list[Any] = [v for v in given if not is_weak(v)]
    kinds = [jax.dtypes.canonicalize_dtype(v.dtype) for v in strong]
    floating = [kind for kind in kinds if jnp.issubdtype(kind, jnp.inexact)]
    with jax.numpy_dtype_promotion("standard"):  # of the caller's own, which all may mix
        dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
    return tuple(
        constant(v, dtype) if isinstance(v, Host) else jax.lax.convert_element_type(v, dtype)
        for v in given
    )


Host = bool | int | float | np.ndarray | np.generic


def is_weak(value: Any) -> bool:
    """Whether a value's dtype yields to that of others."""
    return getattr(value, "weak_type", isinstance(value, bool | int | float)) and not isinstance(
        value, np.generic
    )


def constant(value: Any, dtype: Any = None) -> Array:
    """The array of a value on the host, which compiles nothing, as `jnp.asarray` does."""
    with np.errstate(over="ignore"):  # a number too large for float32 is infinite, as in JAX
        return jax.device_put(np.asarray(value, dtype))


def _flat_at_infinity(function: Callable, inverse_slope: Callable) -> Callable[[Array], Array]:
    """A function whose gradient is 0, and not NaN, where its slope is infinite."""

    @jax.custom_jvp
    def flat(p):
        return function(p)

    @flat.defjvp
    def _(primals, tangents):
        (p,), (moved,) = primals, tangents
        steep = inverse_slope(p)
        none = steep == 0
        moved = moved / jnp.where(none, jnp.ones_like(steep), steep)
        return flat(p), jnp.where(none, jnp.zeros_like(moved), moved)

    return flat


# Logarithm of a probability: -inf at 0; and log(p / (1 - p)): infinite at 0 and at 1.
log_of = _flat_at_infinity(jnp.log, lambda p: p)
logit_of = _flat_at_infinity(lambda p: jnp.log(p) - jnp.log1p(-p), lambda p: p * (1 - p))


def log_shares(counts: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """Logarithms of shares of a whole, -inf for a count of 0, in which no derivative is taken."""
    none = counts == 0
    whole = jnp.sum(jnp.where(none, jnp.zeros_like(counts), counts), -1, keepdims=True)
    return jnp.where(none, -jnp.inf, log_of(counts) - log_of(whole))


def times(count: Array, log: Array) -> Array:
    """The product count * log, where 0 times -inf is 0, and so is its gradient."""
    none = count == 0
    safe = jnp.where(none, jnp.zeros_like(log), log)
    return jnp.where(none, jnp.zeros_like(count * safe), count * safe)


def or_one(a: Array) -> Array:
    """What is above 0, and 1 elsewhere: to divide by."""
    return jnp.where(a > 0, a, jnp.ones_like(a))


def zeros(*shape: int) -> Array:
    """Zeros of the default floating dtype; no program makes them."""
    return constant(np.zeros(shape), jnp.result_type(float))


def _of_all_mapped(reduce: Callable) -> Callable[[Array], Array]:
    """A value reduced over every axis it is mapped over, so that it stays unmapped.

    What branches or loops on it does so once for all: under `vmap` a `cond` with a mapped predicate
    runs both branches.
    """

    @jax.custom_batching.custom_vmap
    def reduced(value):
        return value

    @reduced.def_vmap
    def _(axis_size, in_batched, value):
        del axis_size, in_batched
        return reduced(reduce(value, 0)), False

    return reduced


unanimous = _of_all_mapped(jnp.all)
largest_mapped = _of_all_mapped(jnp.max)


@jax.custom_batching.custom_vmap
def if_mapped(predicate):
    """A predicate where it is mapped over, True where it is not.

    In a loop that runs while any lane does, it tells which lanes go on: a single one always does,
    and what is selected by a constant costs nothing.
    """
    return jnp.ones_like(predicate)


@if_mapped.def_vmap
def _(axis_size, in_batched, predicate):
    del axis_size, in_batched
    return predicate, True


def tree_vdot(a, b) -> Array:
    """Sum of products over two trees of one structure."""
    products = [jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return sum(products[1:], products[0])
