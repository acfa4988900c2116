"""Events from Python rows, dicts of columns, and tables."""

from collections.abc import Mapping
from itertools import chain, compress
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _events
from .._refuse import on_host
from ..combinators import (
    Censored,
    Composite,
    IntervalEvent,
    LabelledEvent,
    MarkovChain,
    OptionalEvent,
    Repeated,
    SemiSupervised,
    Sequence,
    SequenceEvent,
)
from ..combinators import Optional as OptionalField
from ..families import BernoulliSet, Categorical, NoisyEvent, NoisyNormal
from ..families._support import REAL, Domain
from ..regression import Regression
from .labels import expected_labels, label_codes, names_of
from .numbers import Where, encode_numbers, present_values
from .responses import of_field
from .structure import domain_of, response_of, structure
from .tables import as_columns, columns_of, is_table


@on_host("encode the rows before.")
def encode(model: PyTree, rows: Any) -> PyTree:
    """Events of a model, stacked along a leading axis, from Python rows or a table.

    A tuple of fields takes tuples, a dict of fields takes dicts or a table's columns by name; an
    `Optional` field takes None or NaN for missing; a `MarkovChain` or `Sequence` takes any
    sequence, a `BernoulliSet` any collection of labels; a `Regression` the columns of its fields;
    a `Repeated` its observations, a `SemiSupervised` pairs of a value and its label, or None.
    Labels are those that the template declares; others are refused, unless it declares
    `jm.data.OTHER`, which then stands for them.

    Args:
        model: a density, of which only the structure is used.
        rows: a list of rows; a dict of columns; or a pandas, polars or Arrow table.

    Returns:
        One pytree, in the rows' order. Sequences are padded to `max_length`, or to the longest.

    Raises:
        ValueError: for what a field can't hold, naming row, field, value and what was expected.

    Example:
        >>> import jaxmix as jm
        >>> record = jm.Composite((jm.Normal(0, 1), jm.Optional(jm.Poisson(1))))
        >>> jm.encode(record, [(0.5, 2), (1.5, None)])[1].present
        Array([ True, False], dtype=bool)
    """
    return jax.tree.map(_to_device, encoded(model, rows))


def encoded(model: PyTree, rows: Any, first: int = 0) -> PyTree:
    """As `encode`, arrays of the host; a refusal counts rows from the number of the first."""
    record = structure(model)
    if isinstance(record, Regression):
        columns = columns_of(rows)
        parts = [(record.response, response_of(record.family)), *((g, None) for g in record.given)]
        values = {name: of_field(columns, name) for name, _ in parts}
        where = _from(first, values[record.response])
        return {
            name: encode_numbers(REAL, values[name], where.inner(name))
            if part is None
            else _encode(part, values[name], where.inner(name))
            for name, part in parts
        }
    if is_table(rows):
        if not isinstance(record, Composite):
            raise ValueError(
                f"A table needs a Composite of its columns; the model's events are those of "
                f"{type(record).__name__}."
            )
        columns = as_columns(rows, [name for name, _ in record.items()])
        where = _from(first, next(iter(columns.values())))
        parts = [_encode(part, columns[name], where.inner(name)) for name, part in record.items()]
        return _record(record, parts)
    rows = rows if isinstance(rows, np.ndarray) and rows.ndim else _listed(rows)
    if len(rows) == 0:
        raise ValueError("There are no rows to encode.")
    return _encode(record, rows, _from(first, rows))


def _from(first: int, rows: Any) -> Where:
    return Where("", np.arange(first, first + len(rows)) if first else None)


def _listed(rows: Any) -> list:
    try:
        if isinstance(rows, str | bytes):
            raise TypeError
        return list(rows)
    except TypeError:
        raise TypeError(
            f"encode takes rows, in a list or an iterable, or a table; it was given a "
            f"{type(rows).__name__}."
        ) from None


def _to_device(array: np.ndarray) -> jax.Array:
    kind = {"f": float, "i": int, "b": bool}[array.dtype.kind]
    with np.errstate(over="ignore"):  # cast on the host, where no shape compiles anything
        return jax.device_put(array.astype(jax.dtypes.canonicalize_dtype(kind)))


def _encode(density: PyTree, values: Any, where: Where) -> PyTree:
    return _events.encode(structure(density), values, where)


@_events.encode.register(object)
def _encode_value(density: PyTree, values: Any, where: Where) -> np.ndarray:
    return encode_numbers(domain_of(density), values, where)


@_events.encode.register(Categorical)
def _codes(density: Categorical | BernoulliSet, labels: Any, where: Where) -> np.ndarray:
    codes, bad = label_codes(labels, names_of(density))
    if bad is not None:
        raise where.refuse(bad, labels[bad], expected_labels(names_of(density)))
    return codes


@_events.encode.register(Censored)
def _encode_interval(density: Censored, values: Any, where: Where) -> IntervalEvent:
    """Numbers, and pairs of ends: None or an infinite number where there is none."""
    pairs = [v if isinstance(v, tuple | list | np.ndarray) else (v, v) for v in values]
    _check_each(pairs, values, 2, where, "a number, or the two ends of an interval")
    low = [-np.inf if low is None else low for low, _ in pairs]
    high = [np.inf if high is None else high for _, high in pairs]
    ends = density.domain._replace(open=False, whole=False, also=(-np.inf, np.inf))
    low, high = (encode_numbers(ends, side, where) for side in (low, high))
    for bad in np.flatnonzero(low > high):
        words = "an interval whose low end is not above its high one"
        raise where.refuse(bad, values[bad], words)
    return IntervalEvent(low, high)  # pyright: ignore[reportArgumentType]


@_events.encode.register(NoisyNormal)
def _encode_noisy(density: NoisyNormal, values: Any, where: Where) -> NoisyEvent:
    """Pairs of a vector (d,) and the covariance (d, d) of its noise."""
    _check_each(values, values, 2, where, "a pair of a vector and the covariance of its noise")
    flat = density.dim**2
    matrix = Domain(f"a matrix of {flat} numbers", dim=flat)
    vector = Domain(f"a vector of {density.dim} numbers", dim=density.dim)
    noise = [np.reshape(noise, -1) for _, noise in values]
    noise = encode_numbers(matrix, noise, where.inner("noise"))
    value = encode_numbers(vector, [value for value, _ in values], where.inner("value"))
    return NoisyEvent(value, noise.reshape(-1, density.dim, density.dim))  # pyright: ignore[reportArgumentType]


def _record(density: Composite, parts: list) -> PyTree:
    names = [name for name, _ in density.items()]
    return dict(zip(names, parts, strict=True)) if isinstance(density.parts, dict) else tuple(parts)


@_events.encode.register(Composite)
def _encode_record(density: Composite, rows: Any, where: Where) -> PyTree:
    items = density.items()
    if isinstance(density.parts, dict):
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                names = [name for name, _ in items]
                raise where.refuse(i, row, f"a dict with the fields {names}")
        columns = [
            [_get(row, name, part, i, where) for i, row in enumerate(rows)] for name, part in items
        ]
    else:
        plain_rows = all(issubclass(kind, tuple | list) for kind in set(map(type, rows)))
        if not plain_rows or set(map(len, rows)) - {len(items)}:
            _check_each(rows, rows, len(items), where, f"a tuple of {len(items)} fields")
        columns = list(zip(*rows, strict=True)) or [()] * len(items)
    parts = [
        _encode(part, column, where.inner(name))
        for (name, part), column in zip(items, columns, strict=True)
    ]
    return _record(density, parts)


def _check_each(rows: Any, values: Any, size: int, where: Where, expected: str) -> None:
    """Refuse the first value whose row is no sequence of so many fields."""
    for i, row in enumerate(rows):
        if not (isinstance(row, tuple | list | np.ndarray) and len(row) == size):
            raise where.refuse(i, values[i], expected)


def _get(row, name, part, index, where):
    if name in row:
        return row[name]
    if isinstance(structure(part), OptionalField):
        return None
    raise where.refuse(index, dict(row), f"a dict with the field {name!r}")


@_events.encode.register(OptionalField)
def _encode_optional(density: OptionalField, values: Any, where: Where) -> OptionalEvent:
    present = present_values(values)
    rows = np.flatnonzero(present)
    if isinstance(values, np.ndarray):
        kept = values[rows]
    else:
        kept = list(compress(values, present.tolist()))
    inner = Where(where.field, rows if where.rows is None else where.rows[rows])
    some = _encode(density.value, kept, inner)

    def spread(array):
        out = np.zeros((len(values), *array.shape[1:]), array.dtype)
        out[rows] = array
        return out

    return OptionalEvent(jax.tree.map(spread, some), present)  # pyright: ignore[reportArgumentType]


def _lengths(values: Any, where: Where, what: str) -> np.ndarray:
    lengths = np.empty(len(values), np.int64)
    for i, value in enumerate(values):
        if not hasattr(value, "__len__") or isinstance(value, Mapping | bytes):
            raise where.refuse(i, value, what)
        lengths[i] = len(value)
    return lengths


@_events.encode.register(MarkovChain)
@_events.encode.register(Sequence)
def _encode_sequence(density: MarkovChain | Sequence, values: Any, where: Where) -> SequenceEvent:
    lengths = _lengths(values, where, "a sequence")
    longest = int(lengths.max(initial=0))
    capacity = max(longest, 1) if density.max_length is None else density.max_length
    if longest > capacity:
        bad = int(lengths.argmax())
        words = f"a sequence of at most {capacity} items (max_length)"
        raise where.refuse(bad, f"a sequence of {longest} items", words)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    flat, inner = list(chain.from_iterable(values)), where.inner("items", rows)
    chained = isinstance(density, MarkovChain)
    encoded = _codes(density, flat, inner) if chained else _encode(density.item, flat, inner)  # pyright: ignore[reportArgumentType]
    used = np.arange(capacity) < lengths[:, None]

    def pad(array):
        out = np.zeros((*used.shape, *array.shape[1:]), array.dtype)
        out[used] = array
        return out

    return SequenceEvent(jax.tree.map(pad, encoded), lengths)  # pyright: ignore[reportArgumentType]


@_events.encode.register(Repeated)
def _encode_repeated(density: Repeated, values: Any, where: Where) -> PyTree:
    _check_each(values, values, density.times, where, f"a list of {density.times} observations")
    rows = np.repeat(np.arange(len(values)), density.times)
    flat = _encode(density.item, list(chain.from_iterable(values)), where.inner("items", rows))
    return jax.tree.map(lambda a: a.reshape(len(values), density.times, *a.shape[1:]), flat)


@_events.encode.register(SemiSupervised)
def _encode_labelled(density: SemiSupervised, values: Any, where: Where) -> LabelledEvent:
    """Pairs of a value and its label, 0 to k - 1, or None where nothing is known of it."""
    _check_each(values, values, 2, where, "a pair of a value and its label, or None")
    value = _encode(density.mixture, [value for value, _ in values], where.inner("value"))
    labels, size = [label for _, label in values], density.mixture.num_components
    known = present_values(labels)
    codes = _codes(
        Categorical.template(size),
        list(compress(labels, known)),
        where.inner("label", np.flatnonzero(known)),
    )
    evidence = np.ones((len(labels), size))
    evidence[known] = np.eye(size)[codes]
    return LabelledEvent(value, evidence)  # pyright: ignore[reportArgumentType]


@_events.encode.register(BernoulliSet)
def _encode_set(density: BernoulliSet, values: Any, where: Where) -> np.ndarray:
    lengths = _lengths(values, where, "a collection of labels")
    rows = np.repeat(np.arange(len(lengths)), lengths)
    codes = _codes(density, list(chain.from_iterable(values)), where.inner("members", rows))
    out = np.zeros((len(values), density.size), bool)
    out[rows, codes] = True
    return out
