"""Numerical traps, each met and explained once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _loops
from ._platform import product_precision


def native(value: Any) -> Any:
    """A NumPy array in the machine's byte order; anything else as it is."""
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value


def as_array(value: Any) -> Array:
    """A JAX array of anything that NumPy reads, foreign byte orders among it."""
    return jnp.asarray(_numbers(value))


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
            value = jnp.asarray(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"A number or an array of numbers was expected; a {type(value).__name__} was given."
            ) from error
    kind = getattr(value, "dtype", None)
    if kind is not None and not any(jnp.issubdtype(kind, k) for k in (jnp.number, jnp.bool_)):
        raise TypeError(f"A number or an array of numbers was expected; its dtype was {kind}.")
    return native(value)


def as_float(*values) -> tuple[Array, ...]:
    """Turn numbers or arrays into strongly typed floating arrays of one common dtype.

    `Normal(0, 1)` and `Normal(0.0, jnp.ones(()))` then have the same types, and retrace nothing.
    Dtypes are joined by `jnp.result_type`, so that float64 parameters stay float64.
    """
    given = [_numbers(v) for v in values]
    strong: list[Any] = [v for v in given if not is_weak(v)]
    kinds = [jax.dtypes.canonicalize_dtype(v.dtype) for v in strong]
    if any(jnp.issubdtype(kind, jnp.complexfloating) for kind in kinds):
        raise TypeError("Real numbers were expected; complex ones were given.")
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


@jax.custom_jvp
def log_of(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithm of a probability: -inf at 0, where its gradient is 0 and not NaN."""
    return jnp.log(p)


@log_of.defjvp
def _(primals, tangents):
    (p,), (moved,) = primals, tangents
    zero = p == 0
    moved = moved / jnp.where(zero, jnp.ones_like(p), p)
    return log_of(p), jnp.where(zero, jnp.zeros_like(moved), moved)


@jax.custom_jvp
def logit_of(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(p / (1 - p)): infinite at 0 and at 1, where its gradient is 0 and not NaN."""
    return jnp.log(p) - jnp.log1p(-p)


@logit_of.defjvp
def _(primals, tangents):
    (p,), (moved,) = primals, tangents
    spread = p * (1 - p)
    moved = moved / jnp.where(spread == 0, jnp.ones_like(p), spread)
    return logit_of(p), jnp.where(spread == 0, jnp.zeros_like(moved), moved)


SHORT = 4  # terms up to which a reduction is written out


def finite_or_zero(peak: Array) -> Array:
    """The greatest of some logarithms, or 0 where it is infinite: what they can be shifted by."""
    return jnp.where(jnp.isfinite(peak), peak, jnp.zeros_like(peak))


def _over_terms(operator, x):
    """Reduce the last axis and keep it, at length 1: where it is short by elementwise operations.

    Compilers fuse and vectorise these over the other axes; a reduction they call by itself.
    """
    count = x.shape[-1]
    if not isinstance(count, int) or count == 0 or count > SHORT:  # a symbol is not known short
        return (jnp.max if operator is jnp.maximum else jnp.sum)(x, axis=-1, keepdims=True)
    return functools.reduce(operator, [x[..., i : i + 1] for i in range(count)])


@jax.custom_jvp
def _logsumexp(x):
    return logsumexp_and_softmax(x)[0]


def logsumexp_and_softmax(x):
    """`logsumexp` over the last axis and the shares, of differences, which sum to 1 at any size."""
    # The shift is a constant of the differentiation: the result does not depend on it.
    peak = jax.lax.stop_gradient(_over_terms(jnp.maximum, x))
    peak = finite_or_zero(peak)
    terms = jnp.exp(x - peak)
    # All terms at -inf: the softmax is taken as 0, so that the gradient is 0 and not NaN.
    log, safe = log_and_safe(_over_terms(jnp.add, terms))
    return (log + peak)[..., 0], terms / safe


def log_and_safe(total):
    """The logarithm of a sum, and the sum or 1: of no terms -inf, whose own derivative is 0."""
    none = total == 0
    safe = jnp.where(none, jnp.ones_like(total), total)
    return jnp.where(none, jnp.full_like(total, -jnp.inf), jnp.log(safe)), safe


@_logsumexp.defjvp
def _(primals, tangents):
    value, softmax = logsumexp_and_softmax(*primals)
    # A softmax of exactly 0 selects 0 before the product: 0 times an infinite tangent is NaN.
    moved = jnp.where(softmax == 0, jnp.zeros_like(softmax), tangents[0])
    return value, jnp.sum(softmax * moved, axis=-1)


def logsumexp(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Logarithm of a sum of exponentials: -inf with gradient 0 where every term is -inf.

    One exponential serves the value and its gradient (the softmax). NaN stays NaN.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> float(jax.grad(lambda x: logsumexp(jnp.stack([x, x])))(-jnp.inf))
        0.0
    """
    return _logsumexp(jnp.moveaxis(x, axis, -1))


def softmax(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Shares that sum to 1 at any size of x: of differences, and not by a rounded log-sum.

    Where every term is -inf the shares are 0.
    """
    return jnp.moveaxis(logsumexp_and_softmax(jnp.moveaxis(x, axis, -1))[1], -1, axis)


def _greatest_sum(a, b):
    """The maximum of a + b over the last axis: few terms are added slice by slice.

    The sum of the whole, which nothing else needs, takes XLA twice a step's other work on a CPU; a
    bare one its reduction takes in, and has `a` written out for it.
    """
    count = b.shape[-1]
    if a.shape[-1] != count or count == 0 or count > SHORT:
        return jnp.max(jnp.where(jnp.isneginf(a), a, a + b), axis=-1, keepdims=True)
    sums = [a[..., i : i + 1] + b[..., i : i + 1] for i in range(count)]
    return functools.reduce(jnp.maximum, sums)


@jax.custom_jvp
def _weighted(log_weights, x):
    return _weighted_and_shares(log_weights, x)[0]


def _weighted_and_shares(log_weights, x):
    peak = jax.lax.stop_gradient(_greatest_sum(log_weights, x))
    peak = finite_or_zero(peak)
    # The peak may be rounded, being the same for all terms; a log-weight added to a large x is
    # not, so that it joins the difference.
    terms = jnp.exp((x - peak) + log_weights)
    log, safe = log_and_safe(_over_terms(jnp.add, terms))
    return (log + peak)[..., 0], terms / safe


@_weighted.defjvp
def _(primals, tangents):
    value, shares = _weighted_and_shares(*primals)
    moved = jnp.where(shares == 0, jnp.zeros_like(shares), tangents[0] + tangents[1])
    return value, jnp.sum(shares * moved, axis=-1)


def weighted_logsumexp(
    log_weights: Float[Array, "..."], x: Float[Array, "..."], axis: int = -1
) -> Float[Array, "..."]:
    """Logarithm of sum_k exp(log_weights[k] + x[k]), the weights kept apart from a large x.

    The same conventions as `logsumexp`.
    """
    return _weighted(jnp.moveaxis(log_weights, axis, -1), jnp.moveaxis(x, axis, -1))


def weighted_softmax(log_weights: Float[Array, " k"], x: Float[Array, " k"]) -> Float[Array, " k"]:
    """Shares exp(log_weights + x) over their sum: equal x leave the weights as they are."""
    return _weighted_and_shares(log_weights, x)[1]


@jax.custom_jvp
def _log_mixed(log_weights, log_terms):
    weights, terms, peak = _shifted(log_weights, log_terms)
    return jnp.log(_product(weights, terms)) + peak


@_log_mixed.defjvp
def _(primals, tangents):
    weights, terms, peak = _shifted(*primals)
    log, safe = log_and_safe(_product(weights, terms))
    # A term of exactly 0 selects 0 before the product, and so does a sum of them.
    turned, moved = (
        jnp.where(a == 0, jnp.zeros_like(a), a * t)
        for a, t in zip((weights, terms), tangents, strict=True)
    )
    slope = _product(turned, terms) + _product(weights, moved)
    return log + peak, slope / safe


def _shifted(log_weights, log_terms):
    peak = jax.lax.stop_gradient(jnp.max(log_terms, axis=0, keepdims=True))
    peak = finite_or_zero(peak)
    return jnp.exp(log_weights), jnp.exp(log_terms - peak), peak


def _product(a, b):
    return jnp.matmul(a, b, precision=product_precision(a))


def log_mixed(
    log_weights: Float[Array, "m k"], log_terms: Float[Array, "k t"]
) -> Float[Array, "m t"]:
    """log sum_k weights[m, k] exp(log_terms[k, t]), by k exponentials a column and one product.

    Where a sum is too small beside its column's greatest term, which has weight 0 in it, all are
    taken again, each shifted by its own greatest.
    """
    fast = _log_mixed(log_weights, log_terms)
    peak = jnp.max(log_terms, axis=0, keepdims=True)
    there = lambda a: jnp.where(jnp.isneginf(a), 0.0, 1.0).astype(fast.dtype)
    empty = jnp.matmul(there(log_weights), there(log_terms)) == 0  # truly a sum of nothing
    kept = empty | (fast - peak > jnp.log(jnp.finfo(fast.dtype).tiny) / 2)
    # Differentiated, the exact branch keeps its inputs alone: no (m, k, t) table in the other.
    exact = jax.checkpoint(lambda w, x: logsumexp(w[:, :, None] + x[None], axis=1))
    return _loops.cond(
        unanimous(jnp.all(kept)), lambda w, x, fast: fast, lambda w, x, fast: exact(w, x),
        log_weights, log_terms, fast,
    )  # fmt: skip


def log_mean_exp(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Logarithm of a mean of exponentials, with the conventions of `logsumexp`."""
    return logsumexp(x, axis) - jnp.log(jnp.asarray(x.shape[axis], x.dtype))


def times(count: Array, log: Array) -> Array:
    """The product count * log, where 0 times -inf is 0, and so is its gradient."""
    none = count == 0
    safe = jnp.where(none, jnp.zeros_like(log), log)
    return jnp.where(none, jnp.zeros_like(count * safe), count * safe)


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
