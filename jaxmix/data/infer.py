"""A template from a table: which family serves each column, chosen by held-out score."""

from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Sequence as Rows
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .._progress import Bar
from .._refuse import on_host
from ..combinators import Composite, Sequence
from ..combinators import Optional as OptionalField
from ..em.search.padding import bucket_of_items
from ..families import BernoulliSet, Categorical, Poisson
from .candidates import MAX_LABELS, Chosen, choose_number, known_family
from .copies import copies_among
from .labels import OTHER
from .numbers import as_floats, in_python, is_date, present_values, there
from .responses import regression_of
from .tables import columns_of, is_table

RARE = 5  # rows below which a label of many goes to jm.data.OTHER


class Choice(NamedTuple):
    """What was chosen for a column, and why."""

    column: str
    family: str
    missing: int
    reason: str


class Inferred(NamedTuple):
    """A template, of records or a regression, the choices behind it, and the columns left out."""

    template: Any
    choices: list[Choice]
    ignored: list[Choice]

    def __str__(self) -> str:
        lines = [f"{c.column}: {c.family} ({c.reason})" for c in [*self.choices, *self.ignored]]
        return "\n".join(lines)


def _choose(values: Any, name: str = "", only: str | None = None) -> Chosen:
    """A family for a column's values, none of them missing."""
    if len(values) == 0:
        return Chosen("ignored", None, "no value at all")
    if (numbers := as_floats(values)) is not None:
        if only != "Categorical":
            return choose_number(numbers, name, only)
        return _labels([int(v) if v == int(v) else v for v in numbers.tolist()])
    if only not in (None, "Categorical") and all(isinstance(value, str) for value in values):
        return Chosen("ignored", None, "its values are texts")
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
    labels = sorted({in_python(v) for v in chain.from_iterable(values)}, key=str)
    if not 1 <= len(labels) <= MAX_LABELS:
        return Chosen("ignored", None, f"sets of {len(labels)} different members")
    return Chosen("BernoulliSet", BernoulliSet.template(labels=labels), _listed(labels))


def _sequence(values: Any) -> Chosen:
    item = _choose([in_python(v) for v in chain.from_iterable(values)])
    if item.template is None:
        return Chosen("ignored", None, f"its sequences: {item.reason}")
    longest = max(map(len, values))
    room = bucket_of_items(longest)  # so that tables of another longest compile nothing
    template = Sequence.template(item.template, Poisson.template(), max_length=room)
    return Chosen(f"Sequence of {item.family}", template, f"up to {longest} items; {item.reason}")


@on_host("infer the template before.")
def infer_template(
    table: Any,
    *,
    ignore: Collection[str] = (),
    families: Mapping[str, str] | None = None,
    response: str | None = None,
    given: Rows[str] | None = None,
) -> Inferred:
    """Propose a template for a table, one density a column, by held-out score.

    Text and truth values become a `Categorical` of their labels, rare ones of many together as
    `jm.data.OTHER`; lists a `Sequence`, sets a `BernoulliSet`; numbers of up to three distinct
    values a `Categorical` too. Of other numbers the family whose mixtures of one to three score
    best on the half of the column that they were not fitted to is taken, or the simplest within 2
    nats of it: whole numbers try a Poisson, Geometric, NegativeBinomial or Binomial, zero-inflated
    ones, and all that other numbers try: a Normal, Exponential, LogNormal, Gamma, of heavy tails a
    StudentT, of shares a Beta, of angles a VonMises. Values that many rows share are atoms of a
    `Hurdle`; those with few digits, so that most rows share theirs, are `Discretised`, and all are
    compared as probabilities of what was recorded. A column with missing entries becomes an
    `Optional`. Columns of one value, dates, texts that hardly repeat, numbers that name the rows
    and columns that copy or recode another one are left out.

    Args:
        table: a pandas, polars or Arrow table, a dict of columns, or a list of rows: of dicts, of
            tuples, of records within records.
        ignore: columns to leave out.
        families: from a column to the name of the family that it is to have, such as "Gamma".
        response: a column, or `column: label` for whether it has that label, to be regressed on
            others: the template is a `Regression` then, linear, logistic, of counts or of positive
            skewed numbers as the column asks for.
        given: names of the covariates, with `response`; None for all columns of use. Labels
            become fields of 0 and 1, each against the commonest.

    Returns:
        `Inferred(template, choices, ignored)`; `print` it to read what was chosen and why.

    Raises:
        ValueError: if it is no table, or no column can be used.

    Example:
        >>> import jaxmix as jm
        >>> print(jm.infer_template({"kind": ["a", "b", "a", None]}))
        kind: Optional Categorical (2 labels: a, b; 1 missing)
        >>> table = {"y": [-0.5, 1.5, 3.0, 5.5], "x": [0.0, 1.0, 2.0, 3.0]}
        >>> print(jm.infer_template(table, response="y"))
        y: LinearRegression (numbers)
        x: covariate (a number)
    """
    columns = columns_of(table)
    families = {} if families is None else families
    unknown = [name for name in families if name not in columns and name != response]
    if unknown:
        raise ValueError(f"There is no column {unknown[0]!r}; there are {list(columns)}.")
    if response is None:
        families = {name: known_family(family) for name, family in families.items()}
    kept = {name: values for name, values in columns.items() if name not in ignore}
    copies = copies_among(kept, {*families, *(given or ())})
    if response is not None:
        family = families.get(response)
        template, said, out = regression_of(kept, response, given, family, copies)
        lines = [Choice(name, *what[:1], 0, what[1]) for name, what in said.items()]
        return Inferred(template, lines, [Choice(n, "ignored", 0, why) for n, why in out.items()])
    if given is not None:
        raise ValueError("`given` names covariates of a response: say which column that is.")
    parts, choices, left = {}, [], []
    with Bar(None, desc="Choosing densities", unit="column") as bar:
        for at, (name, values) in enumerate(kept.items()):
            bar.at(at, len(kept))
            missing = int(np.sum(~present_values(values)))
            if name in copies:
                left.append(Choice(str(name), "ignored", missing, copies[name]))
                continue
            seen = there(values)
            if len(seen) and all(isinstance(value, Mapping) for value in seen):
                family, template, reason = _record(seen)
            else:
                family, template, reason = _choose(seen, str(name), families.get(name))
            if template is None:
                if name in families:
                    raise ValueError(f"Column {name!r} is no {families[name]}: {reason}.")
                left.append(Choice(str(name), family, missing, reason))
                continue
            if missing:
                family, template = f"Optional {family}", OptionalField(template)
                reason = f"{reason}; {missing} missing"
            parts[name] = template
            choices.append(Choice(str(name), family, missing, reason))
    if not kept:
        raise ValueError("All columns of the table are to be ignored.")
    if not parts:
        listed = "; ".join(f"{c.column}: {c.reason}" for c in left)
        raise ValueError(f"The table has no column that a density fits ({listed}).")
    positions = all(isinstance(name, int) for name in kept) and len(parts) == len(kept)
    of_tuples = positions and not is_table(table)
    return Inferred(Composite(tuple(parts.values()) if of_tuples else parts), choices, left)


def _record(rows: list) -> Chosen:
    inner = infer_template(rows)
    return Chosen("Composite", inner.template, str(inner).replace("\n", ", "))
