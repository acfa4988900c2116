"""Solves with I + a'a of a tall matrix a, and residuals of a low rank, to all their digits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _loops
from ._factors import product


def orthonormal(a: Float[Array, "d r"]) -> tuple[Array, Array, Array]:
    """Q, V and log det(I + a'a) / 2, where a = Q R, V = R^-1 and R'R = I + a'a.

    Gram and Schmidt on the columns of [a; I], as modified: without a'a, which has the square of
    the condition and half the digits.
    """
    rank = a.shape[1]

    def column(k, carry):
        rows, log_det = carry
        own = rows[:, k]
        peak = jax.lax.stop_gradient(jnp.max(jnp.abs(own)))  # squares would overflow
        length = peak * jnp.sqrt(jnp.sum((own / peak) ** 2))
        unit = own / length
        at = jnp.arange(rank) == k
        along = product(unit, rows)
        later = jnp.where(jnp.arange(rank) > k, along, jnp.zeros_like(along))
        rows = jnp.where(at[None], unit[:, None], rows - jnp.outer(unit, later))
        return rows, log_det + jnp.log(length)

    start = jnp.concatenate([a, jnp.eye(rank, dtype=a.dtype)]), jnp.zeros((), a.dtype)
    rows, log_det = _loops.fori_loop(0, rank, column, start)
    return rows[:-rank], rows[-rank:], log_det


def exact_rest(
    x: Float[Array, " d"], mean: Float[Array, " d"], loadings: Float[Array, "d r"], at: Array
) -> Float[Array, " d"]:
    """x - mean - loadings at, with the digits that their difference would lose.

    Factors of half the digits have exact products, so that a fused multiplication is no other; what
    a sum is rounded by is added up (Knuth 1997, 4.2.2). Both are constants to a derivative.
    """
    kind = jnp.finfo(x.dtype)
    bits = kind.nexp, kind.nmant // 2
    half = lambda a: jax.lax.stop_gradient(jax.lax.reduce_precision(a, *bits))

    def less(high, low, term):
        total = high - term
        of_term = high - total
        lost = (high - (total + of_term)) + (of_term - term)
        return total, low + jax.lax.stop_gradient(lost)

    high, low = less(x, jnp.zeros_like(x), mean)
    for k in range(at.shape[0]):
        a, b = loadings[:, k], at[k]
        a_high, b_high = half(a), half(b)
        high, low = less(high, low, a_high * b_high)
        low = low - ((a - a_high) * b_high + a * (b - b_high))
    return high + low
