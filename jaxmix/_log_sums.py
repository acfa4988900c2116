"""Logarithms of sums of exponentials, and the shares of their terms: of any size, without NaN."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _loops
from ._numerics import unanimous
from ._platform import product_precision

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
