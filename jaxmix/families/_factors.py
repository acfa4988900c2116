"""Covariance matrices as the factor W that is stored of their inverse, W W'.

W is upper triangular, with the logarithm on its diagonal, so that any numbers are one.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._density import one_event
from ._support import outside

# Accelerators multiply float32 matrices with fewer digits unless asked.
HIGHEST = jax.lax.Precision.HIGHEST


def product(*matrices: Array) -> Array:
    """The product of matrices (or of a last vector), with all digits."""
    return functools.reduce(functools.partial(jnp.matmul, precision=HIGHEST), matrices)


def precision_factor(covariance: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """Upper triangular W with W W' the inverse covariance, the logarithm on its diagonal.

    A covariance that is not positive definite gives NaN.
    """
    return factor_of_scale(jnp.linalg.cholesky(covariance))


def factor_of_precision(precision: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """The same of a precision matrix: its Cholesky factor from the last coordinate to the first."""
    turned = jnp.linalg.cholesky(precision[..., ::-1, ::-1])
    return mapped_diagonal(jnp.log, turned[..., ::-1, ::-1])


def factor_of_scale(lower: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """The same of a covariance's lower triangular factor, whose diagonal is positive."""
    return mapped_diagonal(jnp.log, jnp.swapaxes(inverse_of_lower(jnp.tril(lower)), -1, -2))


def mapped_diagonal(function, upper):
    row, column = np.indices(upper.shape[-2:])
    on_it = row == column
    mapped = function(jnp.where(on_it, upper, jnp.ones_like(upper)))
    return jnp.where(on_it, mapped, jnp.where(row < column, upper, jnp.zeros_like(upper)))


def whitener(factor: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """The factor with its diagonal exponentiated."""
    return mapped_diagonal(jnp.exp, factor)


def precision_of(factor):
    upper = whitener(factor)
    return product(upper, jnp.swapaxes(upper, -1, -2))


def scale_of(factor: Float[Array, "*stack d d"]) -> Float[Array, "*stack d d"]:
    """The covariance's lower triangular factor."""
    return inverse_of_lower(jnp.swapaxes(whitener(factor), -1, -2))


def covariance_of(factor):
    lower = scale_of(factor)
    return product(lower, jnp.swapaxes(lower, -1, -2))


def whitened(matrix: Float[Array, "n p"], left: Float[Array, "n n"], right: Float[Array, "p p"]):
    """W' matrix V of two stored factors, W and V."""
    return product(whitener(left).T, matrix, whitener(right))


def log_det_of(factor: Float[Array, "*stack d d"]) -> Float[Array, "*stack"]:
    """Half the log-determinant of the precision."""
    return jnp.sum(jnp.diagonal(factor, axis1=-2, axis2=-1), -1)


def forms_of(matrix: str, field: str = "factor") -> dict[str, tuple[str, Callable]]:
    """The forms of a covariance that a factor stores: the matrix, and its lower factor."""
    return {matrix: (field, precision_factor), f"{matrix}_tril": (field, factor_of_scale)}


COVARIANCE = {
    "covariance": ("factor", precision_factor),
    "scale_tril": ("factor", factor_of_scale),
    "precision": ("factor", factor_of_precision),
    "factor": ("factor", jnp.triu),
}


def kronecker(left: Float[Array, "*s n n"], right: Float[Array, "*s p p"]) -> Array:
    """The factor (n p, n p) of a matrix's rows and columns together: as a vector, row after row."""
    both = whitener(left), whitener(right)
    upper = jnp.einsum("...ij,...ab->...iajb", *both, precision=HIGHEST)
    size = left.shape[-1] * right.shape[-1]
    return mapped_diagonal(jnp.log, upper.reshape(*upper.shape[:-4], size, size))


def definite(matrix: Float[Array, "*s d d"]) -> tuple[Array, Array, Array]:
    """Cholesky's factor of a positive definite matrix and its log-determinant; else of an identity.

    And whether it is one.
    """
    lower = jnp.linalg.cholesky(matrix)
    inside = jnp.all(jnp.isfinite(lower), (-2, -1))
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=lower.dtype), lower.shape)
    lower = jnp.where(inside[..., None, None], lower, eye)
    return lower, 2 * jnp.sum(jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)), -1), inside


def if_definite(matrix: Any, owner: Any) -> tuple[Array, Array, Array]:
    """An event (d, d) by an identity if it is not positive definite; its log-determinant.

    And 0, -inf or NaN as it is one.
    """
    matrix = one_event(matrix, owner.factor.shape[-2:], owner)
    lower, log_det, inside = definite(matrix)
    return jnp.where(inside, matrix, lower), log_det, outside(inside, jnp.sum(matrix))


def log_det_width(factor: Float[Array, "*s d d"], df: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """What log|X| has on average below log|mean| at many degrees of freedom, less its rounding."""
    dim = factor.shape[-1]
    size = dim + 2 * jnp.abs(log_det_of(factor))
    return dim * (dim + 1) / (2 * df) - 4 * jnp.finfo(size.dtype).eps * size


def mean_factor(total: Float[Array, "*s d d"], count: Float[Array, "*s"]) -> Float[Array, "*s d d"]:
    """The factor of the mean of so many matrices."""
    return precision_factor(total / count[..., None, None])


def bartlett(key: Key[Array, ""], df: Float[Array, ""], dim: int) -> Float[Array, "d d"]:
    """A triangular factor of a Wishart matrix of scale 1, of independent entries (Bartlett 1934)."""
    k_normal, k_gamma = jax.random.split(key)
    below = jnp.tril(jax.random.normal(k_normal, (dim, dim), df.dtype), -1)
    halves = 0.5 * (df - jnp.arange(dim, dtype=df.dtype))
    return below + jnp.diag(jnp.sqrt(2 * jax.random.gamma(k_gamma, halves)))


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
    below = -product(second, product(lower[..., half:, :half], first))
    return jnp.block([[first, jnp.zeros_like(first)], [below, second]])
