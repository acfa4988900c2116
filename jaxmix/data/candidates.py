"""Families for a column of numbers, and their held-out scores."""

import functools
from collections.abc import Callable
from math import lgamma, pi
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..families import Categorical, Exponential, Gamma, Geometric, LogNormal, Normal, Poisson

MAX_LABELS = 50
ROWS_A_LABEL = 10
SCORED = 10_000  # values that a score is made from, spread evenly over a longer column
MIXTURES = (1, 2, 3)
STEPS = 25
TIE = 2.0  # nats over the whole column, within which the first of the families is taken
NARROWEST = 1e-3  # of the whole column's standard deviation


class Chosen(NamedTuple):
    """A family, its template, and why; no template where none serves."""

    family: str
    template: PyTree | None
    reason: str


def choose_number(x: np.ndarray) -> Chosen:
    """The family whose mixtures score best on the half of the column they were not fitted to."""
    if not np.all(np.isfinite(x)):
        return Chosen("ignored", None, "it holds infinities")
    labels = np.unique(x)
    if len(labels) == 1:
        return Chosen("ignored", None, f"every value is {float(labels[0]):g}")
    x = x[:: max(1, len(x) // SCORED)]
    # Values known to a last digit are compared as probabilities of that digit: nothing narrower
    # than half of one, or a mixture could stand on them.
    rounding = float(np.diff(labels).min()) / 2
    normal = ("Normal", functools.partial(_normal, least=rounding), Normal.template())
    candidates: list[tuple[str, Callable, PyTree]] = []
    if np.all(labels == np.floor(labels)):
        if len(labels) >= len(x) > 2 and np.ptp(labels) == len(labels) - 1:
            return Chosen("ignored", None, "it numbers the rows")
        if labels[0] >= 0:
            candidates.append(("Poisson", _poisson, Poisson.template()))
        if labels[0] >= 1:
            candidates.append(("Geometric", _geometric, Geometric.template()))
        if len(labels) <= min(MAX_LABELS, len(x) // ROWS_A_LABEL):
            template = Categorical.template(labels=tuple(labels.astype(int).tolist()))
            candidates.append(("Categorical", _categorical(labels), template))
        candidates.append(normal)
    else:
        if labels[0] >= 0:
            candidates.append(("Exponential", _exponential, Exponential.template()))
        candidates.append(normal)
        if labels[0] > 0:
            relative = rounding / float(np.median(x))
            of_log = functools.partial(_log_normal, least=relative)
            candidates.append(("LogNormal", of_log, LogNormal.template()))
            candidates.append(("Gamma", _gamma, Gamma.template()))
    # A density and a probability compare: whole numbers lie one apart.
    scores = {name: held_out(family, x) for name, family, _ in candidates}
    top = max(scores.values())
    # Those that come first are simpler, or have the column's own support.
    best, template = next((n, t) for n, _, t in candidates if scores[n] >= top - TIE / len(x))
    listed = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    reason = f"held-out nats a value: {listed}" if len(scores) > 1 else "the one family that fits"
    return Chosen(best, template, reason)


def held_out(family: Callable, x: np.ndarray) -> float:
    """Best mean held-out log-density of mixtures of one to three, over two halves, in nats.

    A column of a table that is a mixture is one too: a family is judged as a component.
    """
    order = np.random.default_rng(0).permutation(len(x))
    halves = (order[::2], order[1::2])
    with np.errstate(all="ignore"):
        scores = [
            np.mean([_mixture(family, k, x[a], x[b]) for a, b in (halves, halves[::-1])])
            for k in MIXTURES
        ]
    scores = [score if np.isfinite(score) else -np.inf for score in scores]
    return float(max(scores))


def _mixture(family: Callable, k: int, x: np.ndarray, y: np.ndarray) -> float:
    """Mean log-density of y under a mixture of k fitted to x by EM, from groups of like size."""
    if len(x) < 10 * k and k > 1:
        return -np.inf
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable")
    share = (rank * k // len(x) == np.arange(k)[:, None]).astype(float)
    refit = lambda share: (np.log(share.mean(1))[:, None], family(x, share))
    weights, log_density = refit(share)
    for _ in range(STEPS if k > 1 else 0):
        joint = weights + log_density(x)
        weights, log_density = refit(np.exp(joint - np.logaddexp.reduce(joint, axis=0)))
    return float(np.mean(np.logaddexp.reduce(weights + log_density(y), axis=0)))


# A family takes values (n,) and weights (k, n), and gives the function of the log-densities
# (k, m) of the k densities fitted to them.


def _mean(x, w):
    return (w @ x / w.sum(1))[:, None]


def _normal(x, w, least=0.0):
    mean = _mean(x, w)
    variance = np.sum(w * (x - mean) ** 2, 1, keepdims=True) / w.sum(1, keepdims=True)
    sd = np.maximum(np.sqrt(variance), max(least, NARROWEST * x.std()))
    return lambda y: -0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * pi)


def _log_normal(x, w, least=0.0):
    of_log = _normal(np.log(x), w, least)
    return lambda y: of_log(np.log(y)) - np.log(y)


def _exponential(x, w):
    mean = _mean(x, w)
    return lambda y: -np.log(mean) - y / mean


def _gamma(x, w):
    mean = _mean(x, w)
    gap = np.maximum(np.log(mean) - _mean(np.log(x), w), NARROWEST**2)
    # To 1.5 % of the maximum-likelihood shape (Minka 2002).
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    rate = shape / mean
    head = shape * np.log(rate) - np.vectorize(lgamma)(shape)
    return lambda y: head + (shape - 1) * np.log(y) - rate * y


def _poisson(x, w):
    mean = _mean(x, w)
    return lambda y: y * np.log(mean) - mean - np.vectorize(lgamma)(y + 1)


def _geometric(x, w):
    prob = 1 / _mean(x, w)
    return lambda y: (y - 1) * np.log1p(-prob) + np.log(prob)


def _categorical(labels):
    def family(x, w):
        # Half a row more of each: a label may be held out altogether.
        counts = w @ (x[:, None] == labels) + 0.5
        log_probs = np.log(counts / counts.sum(1, keepdims=True))
        return lambda y: log_probs[:, np.searchsorted(labels, y)]

    return family
