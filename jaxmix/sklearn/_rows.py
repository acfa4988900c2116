"""Rows of NumPy arrays on their way to JAX: their precision, and a few static sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

SMALLEST = 256
LARGEST = 16_384  # beyond it a compilation is cheap beside the fit, and a padded copy is not


def precision(dtype: Any) -> Any:
    """A context in which JAX computes in the dtype of the data: float64 for this block alone."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def static_size(rows: int) -> int:
    """The size to which rows are padded, so that tables of many sizes share one compilation."""
    if rows > LARGEST:
        return rows
    size = SMALLEST
    while size < rows:
        size *= 2
    return size


def padded(x: np.ndarray) -> Array:
    """Rows up to their static size, by repeats of the last one."""
    extra = static_size(len(x)) - len(x)
    return jnp.asarray(np.concatenate([x, np.repeat(x[-1:], extra, axis=0)]) if extra else x)


def padded_weights(weights: np.ndarray | None, rows: int, dtype: Any) -> Array:
    """Case weights up to the static size, 0 on the repeats."""
    full = np.zeros(static_size(rows), dtype)
    full[:rows] = 1 if weights is None else weights
    return jnp.asarray(full)


def checked_weights(weights: Any, rows: int, dtype: Any) -> np.ndarray | None:
    """Case weights as an array (rows,) that is finite, non-negative and not all 0; or a sentence.

    Raises:
        ValueError: naming the row and its value.
    """
    if weights is None:
        return None
    weights = np.asarray(weights, dtype)
    if weights.ndim == 0:
        weights = np.full(rows, weights)
    if weights.ndim != 1:
        raise ValueError(
            f"sample_weight must be 1D array or scalar; it had {weights.ndim} dimensions."
        )
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight must have shape ({rows},); it was {weights.shape}.")
    bad = ~(weights >= 0) | np.isinf(weights)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"sample_weight[{row}] is {weights[row]}: weights must be finite and non-negative."
        )
    if not weights.any():
        raise ValueError("All of sample_weight is zero: there is nothing to fit to.")
    return weights


def filled(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """NaN replaced by the mean of what its column shows, 0 where it shows nothing."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    w = np.where(missing, 0, 1 if weights is None else weights[:, None])
    count = w.sum(0)
    mean = np.where(missing, 0, w * np.where(missing, 0, x)).sum(0) / np.where(count > 0, count, 1)
    return np.where(missing, mean, x).astype(x.dtype)
