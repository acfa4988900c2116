"""Solves with I + a'a of a tall matrix a, and residuals of a low rank, to all their digits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def orthonormal(a: Float[Array, "d r"]) -> tuple[Array, Array, Array]:
    """Q, V and log det(I + a'a) / 2, where a = Q R, V = R^-1 and R'R = I + a'a.

    By an orthogonal decomposition of [a; I]: a'a has the square of the condition, and half the digits.
    """
    both, triangle = jnp.linalg.qr(jnp.concatenate([a, jnp.eye(a.shape[1], dtype=a.dtype)]))
    across, root = both[: a.shape[0]], both[a.shape[0] :]
    return across, root, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(triangle))))


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
