"""Families for a column of numbers, and their held-out scores."""

from collections.abc import Callable
from math import lgamma
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..families import Categorical, Exponential, Gamma, Geometric, LogNormal, Normal, Poisson

MAX_LABELS = 50
ROWS_A_LABEL = 10
SCORED = 20_000  # values that a score is made from, spread evenly over a longer column


class Chosen(NamedTuple):
    """A family, its template, and why; no template where none serves."""

    family: str
    template: PyTree | None
    reason: str


def choose_number(x: np.ndarray) -> Chosen:
    """The family that scores best on the half of the column that it was not fitted to."""
    if not np.all(np.isfinite(x)):
        return Chosen("ignored", None, "it holds infinities")
    labels = np.unique(x)
    if len(labels) == 1:
        return Chosen("ignored", None, f"every value is {_short(labels[0])}")
    candidates: dict[str, tuple[Callable, PyTree]] = {"Normal": (_normal, Normal.template())}
    if np.all(x == np.floor(x)):
        if len(labels) == len(x) and np.ptp(x) == len(x) - 1:
            return Chosen("ignored", None, "it numbers the rows")
        if x.min() >= 0:
            candidates["Poisson"] = (_poisson, Poisson.template())
        if x.min() >= 1:
            candidates["Geometric"] = (_geometric, Geometric.template())
        if len(labels) <= min(MAX_LABELS, len(x) // ROWS_A_LABEL):
            coded = lambda a, b: _codes(*(np.searchsorted(labels, part) for part in (a, b)))
            template = Categorical.template(labels=tuple(labels.astype(int).tolist()))
            candidates["Categorical"] = (coded, template)
        # A density and a probability compare: whole numbers lie one apart.
        return _best(candidates, x)
    if x.min() > 0:
        candidates["LogNormal"] = (_log_normal, LogNormal.template())
        candidates["Gamma"] = (_gamma, Gamma.template())
    if x.min() >= 0:
        candidates["Exponential"] = (_exponential, Exponential.template())
    return _best(candidates, x)


def _short(value) -> str:
    return f"{float(value):g}"


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


def _best(candidates: dict[str, tuple[Callable, PyTree]], values: np.ndarray) -> Chosen:
    values = values[:: max(1, len(values) // SCORED)]
    scores = {name: _held_out(score, values) for name, (score, _) in candidates.items()}
    best = max(scores, key=lambda name: scores[name])
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    reason = f"held-out nats a value: {listed}" if len(scores) > 1 else "the one family that fits"
    return Chosen(best, candidates[best][1], reason)
