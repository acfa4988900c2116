"""Python rows from events."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _events
from .._refuse import on_host
from .._trees import take
from ..combinators import (
    Censored,
    Composite,
    MarkovChain,
    OptionalEvent,
    Repeated,
    SemiSupervised,
    Sequence,
)
from ..combinators import Optional as OptionalField
from ..families import BernoulliSet, Categorical, NoisyNormal
from .labels import names_of
from .structure import domain_of, structure


@on_host("decode what the transformed function returns.")
def decode(model: PyTree, events: PyTree, *, columns: bool = False) -> Any:
    """The Python rows of stacked events: what `jm.encode` takes.

    Missing values are None, sequences lists, sets of labels sets (lists in columns). What
    `model.impute` filled in comes back as values, with nothing missing.

    Args:
        model: a density, of which only the structure is used.
        events: events, stacked along a leading axis.
        columns: give a record's columns by name rather than its rows: what `pandas.DataFrame`,
            `polars.DataFrame` and `pyarrow.table` make a table of; in the template's own order.

    Returns:
        A list of rows, or a dict of columns.

    Raises:
        ValueError: for columns of events that are no records.

    Example:
        >>> import jaxmix as jm
        >>> record = jm.Composite((jm.Poisson(1), jm.BernoulliSet.template(labels=("a", "b"))))
        >>> jm.decode(record, jm.encode(record, [(2, {"b"}), (0, set())]))
        [(2, {'b'}), (0, set())]
    """
    record = structure(model)
    if columns and not isinstance(record, Composite):
        raise ValueError(
            f"Only a Composite has columns; the model's events are those of {type(record).__name__}."
        )
    try:
        events = jax.tree.map(np.asarray, events)
        if not columns:
            return _decode(record, events)
        decoded = {name: _decode(part, events[name]) for name, part in record.items()}
    except (TypeError, IndexError, KeyError, AttributeError) as error:
        raise ValueError(
            f"decode takes events of the model, a {type(record).__name__}, stacked along a leading "
            f"axis as `encode` gives them; these are none ({type(error).__name__}: {error})."
        ) from error
    listed = lambda value: sorted(value, key=str) if isinstance(value, set) else value
    return {name: [listed(value) for value in values] for name, values in decoded.items()}


def _decode(density: PyTree, events: Any) -> list:
    return _events.decode(structure(density), events)


@_events.decode.register(object)
def _decode_value(density: PyTree, events: Any) -> list:
    domain_of(density)
    return [tuple(row) if isinstance(row, list) else row for row in events.tolist()]


@_events.decode.register(Composite)
def _decode_record(density: Composite, events: Any) -> list:
    columns = [_decode(part, events[name]) for name, part in density.items()]
    rows = list(zip(*columns, strict=True))
    if isinstance(density.parts, dict):
        names = [name for name, _ in density.items()]
        return [dict(zip(names, row, strict=True)) for row in rows]
    return rows


@_events.decode.register(OptionalField)
def _decode_optional(density: OptionalField, events: Any) -> list:
    if not isinstance(events, OptionalEvent):
        return _decode(density.value, events)  # filled in
    values = _decode(density.value, events.value)
    there = zip(values, events.present.tolist(), strict=True)
    return [value if present else None for value, present in there]


@_events.decode.register(MarkovChain)
@_events.decode.register(Sequence)
def _decode_sequence(density: MarkovChain | Sequence, events: Any) -> list:
    items, lengths = events
    used = np.arange(jax.tree.leaves(items)[0].shape[1]) < lengths[:, None]
    flat = take(items, used)
    chained = isinstance(density, MarkovChain)
    values = _decode_label(density, flat) if chained else _decode(density.item, flat)
    ends = np.cumsum(lengths).tolist()
    return [values[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@_events.decode.register(Repeated)
def _decode_repeated(density: Repeated, events: Any) -> list:
    values = _decode(density.item, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), events))
    starts = range(0, len(values), density.times)
    return [tuple(values[start : start + density.times]) for start in starts]


@_events.decode.register(SemiSupervised)
def _decode_labelled(density: SemiSupervised, events: Any) -> list:
    values = _decode(density.mixture, events.value)
    known = (events.labels > 0).sum(-1) == 1
    labels = [int(e.argmax()) if one else None for e, one in zip(events.labels, known, strict=True)]
    return list(zip(values, labels, strict=True))


@_events.decode.register(BernoulliSet)
def _decode_set(density: BernoulliSet, events: Any) -> list:
    names = names_of(density)
    return [{names[i] for i in np.flatnonzero(row).tolist()} for row in events]


@_events.decode.register(Categorical)
def _decode_label(density: Categorical | MarkovChain, events: Any) -> list:
    codes = events.tolist()
    return codes if density.labels is None else [density.labels[code] for code in codes]


@_events.decode.register(Censored)
def _decode_interval(density: Censored, events: Any) -> list:
    ends = zip(*(end.tolist() for end in events), strict=True)
    return [low if low == high else (low, high) for low, high in ends]


@_events.decode.register(NoisyNormal)
def _decode_noisy(density: NoisyNormal, events: Any) -> list:
    return list(zip(map(tuple, events.value.tolist()), events.noise, strict=True))
