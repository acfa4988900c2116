"""Data as a user has them, as JAX arrays with a leading axis of rows."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._numerics import native


def where(path: tuple) -> str:
    text = jax.tree_util.keystr(path)
    return f"field {text}" if text else "the data"


def as_arrays(data: PyTree) -> PyTree:
    """Arrays, lists of numbers, columns and frames as JAX arrays with a leading axis of rows.

    Raises:
        ValueError: naming the field that holds no numbers, or another number of rows.
    """
    flat, structure = jax.tree_util.tree_flatten_with_path(data, is_leaf=lambda n: type(n) is list)
    if not flat:
        raise ValueError("The data hold no arrays.")
    arrays, rows, first = [], None, ()
    for path, leaf in flat:
        array = _converted(leaf, path)
        if array.ndim == 0:
            raise ValueError(f"{where(path)} must have a leading axis of rows; it is a scalar.")
        if rows is None:
            rows, first = array.shape[0], path
        if array.shape[0] != rows:
            raise ValueError(
                f"{where(path)} has {array.shape[0]} rows where {where(first)} has {rows}."
            )
        arrays.append(array)
    if rows == 0:
        raise ValueError("The data are empty: there are 0 rows to fit to.")
    return structure.unflatten(arrays)


def _converted(leaf: Any, path: tuple) -> Array:
    if isinstance(leaf, jax.Array):
        array = leaf
    else:
        host = _on_host(leaf, path)
        array = jax.device_put(host)
        if host.dtype == np.float64 and array.dtype != host.dtype and host.size:
            _tell_of_lost_digits(host, array, path)
    if array.dtype in (jnp.float16, jnp.bfloat16):
        return array.astype(jnp.float32)  # every number of theirs is one of float32
    return array


def _on_host(leaf: Any, path: tuple) -> np.ndarray:
    if isinstance(leaf, np.ma.MaskedArray) and np.ma.is_masked(leaf):
        leaf = np.ma.filled(leaf.astype(float), np.nan)
    try:
        host = np.asarray(leaf)
    except ValueError as error:
        raise ValueError(
            f"{where(path)} is a list of rows of unequal lengths: encode sequences with jm.encode."
        ) from error
    if host.dtype == jnp.bfloat16:
        return host.astype(np.float32)
    if host.dtype.kind not in "biuf":
        first = f", such as {host.flat[0]!r} in row 0" if host.size else ""
        raise ValueError(
            f"{where(path)} must be numeric; it has dtype {host.dtype}{first}. Encode rows of "
            "Python values, and columns of labels, with jm.encode."
        )
    return native(host)


def _tell_of_lost_digits(host: np.ndarray, array: Array, path: tuple) -> None:
    spread = np.nanstd(host, axis=0)
    lost = np.abs(host - host.astype(array.dtype).astype(np.float64))
    lost = np.where(np.isnan(lost), 0, lost).max(0)
    worst = np.max(lost / np.where(spread > 0, spread, 1), initial=0.0)
    if worst == 0:
        return
    warnings.warn(
        f"{where(path)}: float64 values were rounded to float32 (by at most {worst:.1e} "
        "standard deviations of a column). Centre the data first, or enable x64, to keep more.",
        stacklevel=5,
    )
