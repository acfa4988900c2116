"""Inverses of triangular matrices, of any size and number."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST


def inverse_of_lower(lower: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """Inverse of lower triangular matrices: large ones by halves, so that it is matrix products.

    [[A, 0], [C, B]] has the inverse [[A', 0], [-B' C A', B']] with A', B' those of A and B.
    LAPACK puts threads to work on a large one, which then spin beside the program's own.
    """
    d = lower.shape[-1]
    if d <= 8:
        eye = jnp.broadcast_to(jnp.eye(d, dtype=lower.dtype), lower.shape)
        return jax.lax.linalg.triangular_solve(lower, eye, left_side=True, lower=True)
    if d % 2:
        wide = jnp.zeros((*lower.shape[:-2], d + 1, d + 1), lower.dtype)
        wide = wide.at[..., :d, :d].set(lower).at[..., d, d].set(1)
        return inverse_of_lower(wide)[..., :d, :d]
    half = d // 2
    first, second = inverse_of_lower(
        jnp.stack([lower[..., :half, :half], lower[..., half:, half:]])
    )
    product = functools.partial(jnp.matmul, precision=HIGHEST)
    below = -product(second, product(lower[..., half:, :half], first))
    return jnp.block([[first, jnp.zeros_like(first)], [below, second]])
