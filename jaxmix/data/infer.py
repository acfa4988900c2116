"""A template from a table: which family serves each column, chosen by held-out score."""

from collections.abc import Callable
from math import lgamma
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..combinators import Composite
from ..combinators import Optional as OptionalField
from ..families import Categorical, Exponential, Gamma, Geometric, LogNormal, Normal, Poisson
from .encode import is_missing
from .tables import column, column_names, is_table

MAX_LABELS = 50


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


def _normal(x, y):
    return _gaussian(y, x.mean(), x.std())


def _gaussian(y, mean, sd):
    return np.mean(-0.5 * ((y - mean) / sd) ** 2 - np.log(sd)) - 0.5 * np.log(2 * np.pi)


def _log_normal(x, y):
    return _gaussian(np.log(y), np.log(x).mean(), np.log(x).std()) - np.mean(np.log(y))


def _exponential(x, y):
    return np.mean(-np.log(x.mean()) - y / x.mean())


def _gamma(x, y):
    gap = np.log(x.mean()) - np.log(x).mean()
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    rate = shape / x.mean()
    return np.mean(shape * np.log(rate) - lgamma(shape) + (shape - 1) * np.log(y) - rate * y)


def _poisson(x, y):
    return np.mean(y * np.log(x.mean()) - x.mean()) - np.mean([lgamma(v + 1) for v in y])


def _geometric(x, y):
    prob = 1 / x.mean()
    return np.mean((y - 1) * np.log1p(-prob) + np.log(prob))


def _codes(x, y):
    size = int(max(x.max(), y.max())) + 1
    counts = np.bincount(x, minlength=size) + 0.5
    return np.mean(np.log(counts[y] / counts.sum()))


def _held_out(score: Callable, values: np.ndarray) -> float:
    """Mean held-out log-density of a column's values over two halves, in nats."""
    order = np.random.default_rng(0).permutation(len(values))
    a, b = values[order[::2]], values[order[1::2]]
    with np.errstate(all="ignore"):
        total = 0.5 * (score(a, b) + score(b, a))
    return float(total) if np.isfinite(total) else -np.inf


def _best(candidates: dict[str, tuple[Callable, PyTree]], values: np.ndarray) -> tuple:
    scores = {name: _held_out(score, values) for name, (score, _) in candidates.items()}
    best = max(scores, key=lambda name: scores[name])
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    reason = f"held-out nats a value: {listed}" if len(scores) > 1 else "the one family that fits"
    return best, candidates[best][1], reason


def _labelled(values: list, labels: list) -> tuple:
    shown = ", ".join(map(str, labels[:4])) + (", ..." if len(labels) > 4 else "")
    template = Categorical.template(labels=labels)
    return "Categorical", template, f"{len(labels)} labels: {shown}"


def _choose(values: list) -> tuple[str, PyTree | None, str]:
    if not values:
        return "ignored", None, "no value at all"
    distinct = sorted(set(values), key=lambda v: (str(type(v)), str(v)))
    if len(distinct) == 1:
        return "ignored", None, f"every value is {distinct[0]!r}"
    numeric = all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values
    )
    if not numeric:
        if len(distinct) <= min(MAX_LABELS, max(2, len(values) // 2)):
            return _labelled(values, distinct)
        return "ignored", None, f"{len(distinct)} different texts"
    x = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(x)):
        return "ignored", None, "it holds infinities"
    if np.all(x == np.floor(x)):
        labels = sorted(set(x.astype(int).tolist()))
        candidates: dict[str, tuple[Callable, PyTree]] = {"Normal": (_normal, Normal.template())}
        if x.min() >= 0:
            candidates["Poisson"] = (_poisson, Poisson.template())
        if x.min() >= 1:
            candidates["Geometric"] = (_geometric, Geometric.template())
        if len(labels) <= min(MAX_LABELS, len(values) // 10):
            codes = {label: i for i, label in enumerate(labels)}
            coded = lambda a, b: _codes(*(np.array([codes[int(v)] for v in c]) for c in (a, b)))
            candidates["Categorical"] = (coded, Categorical.template(labels=labels))
        # A density and a probability compare: whole numbers lie one apart.
        return _best(candidates, x)
    candidates = {"Normal": (_normal, Normal.template())}
    if x.min() > 0:
        candidates["LogNormal"] = (_log_normal, LogNormal.template())
        candidates["Gamma"] = (_gamma, Gamma.template())
    if x.min() >= 0:
        candidates["Exponential"] = (_exponential, Exponential.template())
    return _best(candidates, x)


def infer_template(table: Any, *, ignore: tuple[str, ...] = ()) -> Inferred:
    """Propose a template for a table, one density a column, by held-out score.

    Text becomes a `Categorical` of its labels; whole numbers a Poisson, Geometric, Categorical or
    Normal, others a Normal, LogNormal, Gamma or Exponential, whichever scores best on the half of
    the column that it was not fitted to; a column with missing entries an `Optional` of these.

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
        values = list(column(table, name))
        there = [v.item() if isinstance(v, np.generic) else v for v in values if not is_missing(v)]
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
        raise ValueError("The table has no column that a density fits.")
    return Inferred(Composite(parts), choices, left)
