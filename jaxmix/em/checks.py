"""Data as a user has them, as JAX arrays; bad input gets a sentence before any work."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._arguments import in_doubles, numbers
from .._density import LogDensity, reads_real
from .._hooks import TakesNaN
from .._numerics import constant, native
from .._refittable import check_declared
from .._refuse import BrokenContractError
from .._stack import of_arrays
from .._trees import by_shapes, float_of, is_traced, one_row
from .._warn import warn
from ..combinators.censored import Censored
from ..combinators.constrained import Forwarding
from ..combinators.optional import Optional, OptionalEvent
from ..families._support import Domain
from .parts import take_apart

FEW = 1 << 22  # numbers


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
        with np.errstate(over="ignore"):  # of numbers that are infinite in the narrower precision
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
            f"{where(path)} is a list of rows of unequal lengths: encode sequences with jm.encode; "
            "parts of an event, as in (y, x), are a tuple."
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
    seen, narrow = np.isfinite(host), np.asarray(array)
    beyond = seen & np.isinf(narrow)
    if beyond.any():
        raise ValueError(
            f"{where(path)}: {host[beyond][0]:g} in row {np.argwhere(beyond)[0][0]} is too large "
            f"for {array.dtype}: divide the data by their scale, or enable x64."
        )
    held = np.where(seen, host, 0)
    count = np.maximum(seen.sum(0), 1)  # of a column without any, NumPy would warn
    spread = np.sqrt(np.sum(np.where(seen, held - held.sum(0) / count, 0) ** 2, 0) / count)
    lost = np.abs(held - np.where(seen, narrow, 0)).max(0)
    worst = np.max(lost / np.where(spread > 0, spread, 1), initial=0.0)
    if worst == 0:
        return
    warn(
        f"{where(path)}: float64 values were rounded to float32 (by at most {worst:.1e} "
        "standard deviations of a column). Centre the data first, or enable x64, to keep more."
    )


def checked_data(data: PyTree, template: PyTree, *, finite: bool = True) -> PyTree:
    """The data as JAX arrays, or a sentence naming the field, the row, the value.

    Raises:
        ValueError: for data that are empty, ragged, of the wrong shape, NaN or infinite.
    """
    data = floating(as_arrays(data), template)
    check_event(one_row(data), template)
    if not finite:
        return data
    for path, array in jax.tree_util.tree_flatten_with_path(data)[0]:
        _check_finite(array, path, template)
    nodes = jax.tree.leaves(data, is_leaf=lambda node: isinstance(node, OptionalEvent))
    models_gaps = lambda node: isinstance(node, Optional) and node.missing is not None
    if all(map(_is_missing, nodes)) and not _has(template, models_gaps):
        raise ValueError("Every value of the data is missing: there is nothing to fit to.")
    return data


def _is_missing(node: Any) -> bool:
    """Whether an array is NaN throughout, or a field that may be missing is so in every row."""
    if isinstance(node, OptionalEvent):
        return not bool(_module_of(node.present).any(node.present))
    if not jnp.issubdtype(node.dtype, jnp.inexact) or node.size == 0:
        return False
    xp = _module_of(node)
    return bool(xp.isnan(xp.asarray(node)).all())


def _has(template: PyTree, takes: Any) -> bool:
    return any(map(takes, jax.tree.leaves(template, is_leaf=takes)))


def floating(data: PyTree, template: PyTree) -> PyTree:
    """Integers where the template's leaves are real-valued become floats."""
    leaves = jax.tree.leaves(data)
    if len(leaves) != 1 or jnp.issubdtype(leaves[0].dtype, jnp.inexact):
        return data
    real = [reads_real(leaf) for leaf in take_apart(template).leaves if leaf.num_parameters]
    return jax.tree.map(lambda a: a.astype(float), data) if any(real) else data


class _OfDomain(Forwarding):
    """A user's density that refuses an array whose shape is not that of its domain."""

    density: Any
    forwarded = property(lambda self: self.density)

    def log_prob(self, x):
        domain = self.density.domain
        expected = () if domain.dim is None else (domain.dim,)
        if getattr(x, "shape", expected) != expected:
            raise ValueError(
                f"One event of this {type(self.density).__name__} is {domain.words}, of shape "
                f"{expected}; one row of the data has shape {x.shape}."
            )
        return self.density.log_prob(x)


def _has_domain(node: Any) -> bool:
    own = isinstance(node, LogDensity) and not type(node).__module__.startswith("jaxmix.")
    return own and isinstance(getattr(node, "domain", None), Domain)


@by_shapes
def check_event(one: PyTree, template: PyTree) -> None:
    """Refuse rows that are no events of the template, each like `one`: it is a trace."""
    check_declared(template)
    shapes = jax.tree.map(lambda a: tuple(a.shape), one)
    one_array = isinstance(shapes, tuple) and all(isinstance(size, int) for size in shapes)
    guard = lambda node: _OfDomain(node) if _has_domain(node) else node
    guarded = jax.tree.map(guard, template, is_leaf=_has_domain)
    try:
        out = eqx.filter_eval_shape(lambda m, x: m.log_prob(x), guarded, one)
    except BrokenContractError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        hint = " Events of tables, records and lists are made by jm.encode." if one_array else ""
        raise ValueError(
            f"One row of the data, of shape {shapes}, is no event of this "
            f"{type(template).__name__}: {error}{hint}"
        ) from error
    if getattr(out, "shape", None) != ():
        raise ValueError(
            f"log_prob of one event must be a scalar; for a row of shape {shapes} this "
            f"{type(template).__name__} gives shape {getattr(out, 'shape', None)}. "
            "Does the template have the dimension of the data?"
        )


def _module_of(array: Array) -> Any:
    """NumPy for few numbers, of which a look compiles nothing; JAX for many, where they lie."""
    return np if array.size <= FEW and len(array.devices()) == 1 else jnp


def _check_finite(array: Array, path: tuple, template: PyTree) -> None:
    if not jnp.issubdtype(array.dtype, jnp.inexact) or array.size == 0:
        return
    xp = _module_of(array)
    values = xp.asarray(array)
    bad = ~xp.isfinite(values)
    if not bool(xp.any(bad)):
        return
    # An interval may have no end, and what is missing may be NaN.
    takes_inf = _has(template, lambda node: isinstance(node, Censored))
    takes_nan = _has(template, lambda node: isinstance(node, TakesNaN) and node.nan_is_missing)
    bad &= ~((xp.isinf(values) & takes_inf) | (xp.isnan(values) & takes_nan))
    rows = xp.any(bad.reshape(array.shape[0], -1), axis=1)
    if bool(xp.any(rows)):
        row = int(xp.argmax(rows))
        value = np.asarray(array[row])
        raise ValueError(
            f"{where(path)}, row {row}: {value} is not finite ({int(rows.sum())} such rows). "
            "Missing values belong in jm.Optional, or in a family that marginalises them."
        )


def checked_weights(weights: Any, rows: int, dtype: Any) -> Any:
    """Case weights as an array, or a sentence; of traced ones the shape alone is looked at."""
    if weights is None:
        return None
    if isinstance(weights, jax.Array):
        host = numbers()(weights, "weights")
    else:
        host = in_doubles(weights, "weights").astype(dtype)
    if host.shape != (rows,):
        raise ValueError(f"weights must have shape ({rows},), one a row; it was {host.shape}.")
    if is_traced(host):
        return host
    xp = np if isinstance(host, np.ndarray) else _module_of(host)
    values = xp.asarray(host)
    bad = ~(values >= 0) | xp.isinf(values)
    if bool(xp.any(bad)):
        row = int(xp.argmax(bad))
        raise ValueError(
            f"weights[{row}] is {float(values[row])}: weights must be finite and non-negative."
        )
    if not bool(xp.any(values > 0)):
        raise ValueError("All weights are 0: there is nothing to fit to.")
    return constant(host, dtype) if isinstance(host, np.ndarray) else jnp.asarray(host, dtype)


def without_ignored(data: PyTree, weights: Any) -> PyTree:
    """Data whose rows of weight 0 are numbers: 0 times what is none is none either."""
    if weights is None or is_traced((data, weights)) or not weights.is_fully_addressable:
        return data
    off = _module_of(weights).asarray(weights) == 0
    if not bool(off.any()):
        return data

    def sound(array):
        xp = _module_of(array)
        rows = xp.isfinite(xp.asarray(array)).reshape(len(off), -1).all(1)
        return bool((rows | ~xp.asarray(off)).all())

    if all(map(sound, jax.tree.leaves(eqx.filter(data, eqx.is_inexact_array)))):
        return data
    return jax.tree.map(lambda a: a.at[off].set(a[int(off.argmin())]), data)


def of_dtype(template: PyTree, data: PyTree) -> PyTree:
    """The template in the dtype of the data: dtypes follow the data."""
    dtype = float_of(data)

    def cast(leaf):
        if not eqx.is_inexact_array_like(leaf):
            return leaf
        same = isinstance(leaf, jax.Array) and leaf.dtype == dtype
        if same or is_traced(leaf) or len(getattr(leaf, "devices", set)()) > 1:
            return jnp.asarray(leaf, dtype)
        return constant(leaf, dtype)

    return jax.tree.map(cast, of_arrays(template))
