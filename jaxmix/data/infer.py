"""A template from a table: which family serves each column, chosen by held-out score."""

from collections import Counter
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .._refuse import on_host
from ..combinators import Composite, Sequence
from ..combinators import Optional as OptionalField
from ..families import BernoulliSet, Categorical, Poisson
from .candidates import MAX_LABELS, Chosen, choose_number
from .labels import OTHER
from .numbers import is_date, is_missing
from .tables import column, column_names, is_table

RARE = 5  # rows below which a label of many goes to jm.data.OTHER


class Choice(NamedTuple):
    """What was chosen for a column, and why."""

    column: str
    family: str
    missing: int
    reason: str


class Inferred(NamedTuple):
    """A template, the choices behind it, and the columns that were left out."""

    template: Composite
    choices: list[Choice]
    ignored: list[Choice]

    def __str__(self) -> str:
        lines = [f"{c.column}: {c.family} ({c.reason})" for c in [*self.choices, *self.ignored]]
        return "\n".join(lines)


def _choose(values: Any) -> Chosen:
    """A family for a column's values, none of them missing."""
    if len(values) == 0:
        return Chosen("ignored", None, "no value at all")
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return choose_number(values.astype(np.float64))
    if all(_is_number(value) for value in values):
        return choose_number(np.array(values, dtype=np.float64))
    if any(is_date(value) for value in values):
        return Chosen("ignored", None, "dates and times; turn them into numbers to use them")
    collections = (list, tuple, np.ndarray, set, frozenset)
    if all(isinstance(value, collections) for value in values):
        is_set = all(isinstance(value, set | frozenset) for value in values)
        return _set(values) if is_set else _sequence(values)
    kinds = {type(value).__name__ for value in values}
    if any(not isinstance(value, str | bool | np.bool_ | int | float) for value in values):
        return Chosen("ignored", None, f"values of type {', '.join(sorted(kinds))}")
    if len(kinds) > 1:
        return Chosen("ignored", None, f"it mixes {' and '.join(sorted(kinds))}")
    return _labels(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _labels(values: Any) -> Chosen:
    """A Categorical: of all labels where they are few, else of the common ones and OTHER."""
    counts = Counter(values)
    labels = sorted(counts, key=str)
    if len(labels) == 1:
        return Chosen("ignored", None, f"every value is {labels[0]!r}")
    if len(labels) <= min(MAX_LABELS, max(2, len(values) // 2)):
        return Chosen("Categorical", Categorical.template(labels=labels), _listed(labels))
    common = sorted((v for v, n in counts.most_common(MAX_LABELS - 1) if n >= RARE), key=str)
    covered = sum(counts[label] for label in common)
    if covered < len(values) / 2:
        return Chosen("ignored", None, f"{len(labels)} different texts, too few of them repeated")
    reason = f"{_listed(common)}; {len(labels) - len(common)} rarer ones as {OTHER}"
    return Chosen("Categorical", Categorical.template(labels=(*common, OTHER)), reason)


def _listed(labels: list) -> str:
    shown = ", ".join(map(str, labels[:4])) + (", ..." if len(labels) > 4 else "")
    return f"{len(labels)} labels: {shown}"


def _set(values: Any) -> Chosen:
    labels = sorted({_python(v) for v in chain.from_iterable(values)}, key=str)
    if not 1 <= len(labels) <= MAX_LABELS:
        return Chosen("ignored", None, f"sets of {len(labels)} different members")
    return Chosen("BernoulliSet", BernoulliSet.template(labels=labels), _listed(labels))


def _sequence(values: Any) -> Chosen:
    item = _choose([_python(v) for v in chain.from_iterable(values)])
    if item.template is None:
        return Chosen("ignored", None, f"its sequences: {item.reason}")
    longest = max(map(len, values))
    template = Sequence.template(item.template, Poisson.template(), max_length=longest)
    return Chosen(f"Sequence of {item.family}", template, f"up to {longest} items; {item.reason}")


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@on_host("infer the template before.")
def infer_template(table: Any, *, ignore: tuple[str, ...] = ()) -> Inferred:
    """Propose a template for a table, one density a column, by held-out score.

    Text and truth values become a `Categorical` of their labels, rare ones of many together as
    `jm.data.OTHER`; lists a `Sequence`, sets a `BernoulliSet`; whole numbers a Poisson, Geometric,
    Categorical or Normal, other numbers an Exponential, Normal, LogNormal or Gamma: the family
    whose mixtures of one to three score best on the half of the column that they were not fitted
    to, the first of these within 2 nats of the best in total. A column with missing entries becomes an
    `Optional`. Columns of one value, dates, and texts that hardly repeat are left out.

    Args:
        table: a pandas, polars or Arrow table, or a dict of columns.
        ignore: columns to leave out.

    Returns:
        `Inferred(template, choices, ignored)`; `print` it to read what was chosen and why.

    Raises:
        ValueError: if it is no table, or no column can be used.

    Example:
        >>> import jaxmix as jm
        >>> print(jm.infer_template({"kind": ["a", "b", "a", None]}))
        kind: Optional Categorical (2 labels: a, b; 1 missing)
    """
    if not is_table(table):
        raise ValueError(
            f"A table or a dict of columns was expected; a {type(table).__name__} was given."
        )
    parts, choices, left = {}, [], []
    for name in column_names(table) or []:
        if name in ignore:
            continue
        values = column(table, name)
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            there = values[~np.isnan(values)]
        else:
            there = [_python(v) for v in values if not is_missing(v)]
        family, template, reason = _choose(there)
        missing = len(values) - len(there)
        if template is None:
            left.append(Choice(str(name), family, missing, reason))
            continue
        if missing:
            family, template = f"Optional {family}", OptionalField(template)
            reason = f"{reason}; {missing} missing"
        parts[name] = template
        choices.append(Choice(str(name), family, missing, reason))
    if not parts:
        listed = "; ".join(f"{c.column}: {c.reason}" for c in left)
        raise ValueError(f"The table has no column that a density fits ({listed}).")
    return Inferred(Composite(parts), choices, left)
