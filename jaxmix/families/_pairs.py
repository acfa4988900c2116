"""All products of two coordinates of a vector, each once, as whole cyclic diagonals.

The diagonals (i, i + j mod n), j = 0, ..., n // 2, of a symmetric matrix are all n long, so that
they are windows of one repeated vector. Of an even n the last one holds each of its pairs twice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _loops
from .._platform import platform


@jax.custom_jvp
def products_of_pairs(vector: Array) -> Array:
    """The products (pairs, ...) of the coordinates (n, ...); trailing axes are of rows."""
    size, *rows = vector.shape
    reach = size // 2 + 1
    if platform() == "tpu":  # which pads what the windows below are cut from
        twice = jnp.concatenate([vector, vector])
        return jnp.concatenate([twice[i : i + size] * vector for i in range(reach)])
    # Repeated with a period of n and cut every n + 1, each piece starts one coordinate later.
    repeated = jnp.tile(vector, (reach + 1,) + (1,) * len(rows))
    windows = repeated[: reach * (size + 1)].reshape(reach, size + 1, *rows)[:, :size]
    return (windows * vector[None]).reshape(reach * size, *rows)


@products_of_pairs.defjvp
def _(primals, tangents):
    (vector,), (moved,) = primals, tangents
    size = vector.shape[0]
    twice, twice_moved = (jnp.concatenate([a, a]) for a in (vector, moved))

    # A diagonal at a time: transposed, the windows above would be padded element by element.
    def diagonal(_, ahead):
        window = lambda a: jax.lax.dynamic_slice_in_dim(a, ahead, size)
        return None, window(twice_moved) * vector + window(twice) * moved

    _, products = _loops.scan(diagonal, None, jnp.arange(size // 2 + 1))
    return products_of_pairs(vector), products.reshape(-1, *vector.shape[1:])


def weights_of_pairs(matrix: Array) -> Array:
    """The weights (..., pairs) with which the products make up the quadratic form v'matrix v."""
    size = matrix.shape[-1]
    i = np.tile(np.arange(size), size // 2 + 1)
    ahead = np.repeat(np.arange(size // 2 + 1), size)
    # Off the diagonal a product stands for two entries, unless it is itself there twice.
    times = np.where((ahead == 0) | (2 * ahead == size), 1, 2)
    entries = matrix[..., i, (i + ahead) % size]
    return entries * jnp.broadcast_to(jnp.asarray(times, matrix.dtype), entries.shape)


def matrix_of_pairs(products: Array, size: int) -> Array:
    """The symmetric matrix (..., n, n) of which these are the products (..., pairs)."""
    i, j = np.indices((size, size))
    ahead, behind = (j - i) % size, (i - j) % size
    return products[..., np.where(ahead <= size // 2, ahead * size + i, behind * size + j)]
