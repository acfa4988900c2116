"""Families for a column of numbers, judged as components of mixtures on values held out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..combinators import Discretised, Hurdle, Scaled, ZeroInflated
from ..families import (
    Beta,
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Geometric,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    VonMises,
)
from .column import Column, column_of, names_rows
from .score import held_out

MAX_LABELS = 50  # of texts
MAX_NUMBERS = 20  # of distinct numbers taken for labels
FEW = 3  # of them that are labels whatever the scores
ROWS_A_LABEL = 10
TIE = 2.0  # nats over the values scored, within which the simplest of the families is taken
ANGLES = ("angle", "direction", "bearing", "azimuth", "heading", "phase", "aspect", "dihedral")
PERCENT = ("%", "percent", "pct", "share", "rate", "proportion", "humidity", "fraction")


class Chosen(NamedTuple):
    """A family, its template, and why; no template where none serves."""

    family: str
    template: PyTree | None
    reason: str


class Candidate(NamedTuple):
    """A family, its template, whether it is of whole numbers, and when it is worth a trial."""

    name: str
    template: Callable[[Column], PyTree]
    worth: Callable[[Column], bool]
    whole: bool = False


def _zeros(c: Column) -> bool:
    """More zeros than a Poisson law has."""
    return float(np.mean(c.sample == 0)) > np.exp(-c.sample.mean()) + 0.05


def _spread(c: Column) -> float:
    return float(c.sample.var() / max(c.sample.mean(), 1e-12))


def _tails(c: Column) -> bool:
    """Rows further out than eight standard deviations, told by the quartiles."""
    low, middle, high = np.quantile(c.rest, [0.25, 0.5, 0.75])
    return bool(np.mean(np.abs(c.rest - middle) > 6 * (high - low)) > 0.002)


def _skewed(c: Column) -> bool:
    """Whether laws of positive numbers differ from a Normal."""
    if c.whole and c.heaped and c.labels[0] >= 0 and len(c.labels) <= MAX_NUMBERS:
        return False  # a few whole numbers: laws of counts, and labels
    x = c.rest
    skew = np.mean((x - x.mean()) ** 3) / max(x.std(), 1e-300) ** 3
    return bool(x.min() < 0.3 * x.mean() or skew > 0.8)


def _turn(c: Column) -> float | None:
    """The unit of an angle, in radians; None for what is no angle."""
    low, high = c.labels[0], c.labels[-1]
    named = any(word in c.name.lower() for word in ANGLES)
    degrees = named and 90 < high <= 360 and low >= -180
    radians = high <= 2 * np.pi + 1e-6 and low >= -np.pi - 1e-6
    # All around, a turn has values at both of its ends; a bell of width 1 has next to none.
    ends = min(np.mean(c.sample < low + 0.3), np.mean(c.sample > high - 0.3))
    about = radians and ((high - low > 6 and ends > 0.01) or (named and high - low > 1))
    return 180 / np.pi if degrees else 1.0 if about and low != 0 | named else None


def _part(c: Column) -> float | None:
    """What a share is a share of: 1 or 100; None for what is no share."""
    low, high = c.labels[0], c.labels[-1]
    if low <= 0 or (c.whole and not any(word in c.name.lower() for word in PERCENT)):
        return None
    if 0.3 < high < 1:
        return 1.0
    return 100.0 if 1 < high < 100 and any(w in c.name.lower() for w in PERCENT) else None


# A new family joins by a line, before those that it is simpler than. What it can't hold is told by
# its own domain.
CANDIDATES = (
    Candidate("Poisson", lambda c: Poisson.template(),
              lambda c: c.labels[0] < 30 and _spread(c) < 30, whole=True),
    Candidate("Geometric", lambda c: Geometric.template(), lambda c: c.labels[0] < 3, whole=True),
    Candidate("Categorical", lambda c: _labels(c), lambda c: _as_labels(c), whole=True),
    Candidate("NegativeBinomial", lambda c: NegativeBinomial.template(),
              lambda c: _spread(c) > 1.1 and c.labels[0] < 30, whole=True),
    Candidate("Binomial", lambda c: Binomial.template(int(c.labels[-1])),
              lambda c: _spread(c) < 0.9 and 1 < c.labels[-1] <= 100, whole=True),
    Candidate("ZeroInflated Poisson", lambda c: ZeroInflated.template(Poisson.template()),
              _zeros, whole=True),
    Candidate("ZeroInflated NegativeBinomial",
              lambda c: ZeroInflated.template(NegativeBinomial.template()), _zeros, whole=True),
    Candidate("Exponential", lambda c: Exponential.template(),
              lambda c: _skewed(c) and 0 <= c.rest.min() < 0.2 * c.rest.mean()),
    Candidate("Normal", lambda c: Normal.template(), lambda c: True),
    Candidate("LogNormal", lambda c: LogNormal.template(), _skewed),
    Candidate("Gamma", lambda c: Gamma.template(), _skewed),
    Candidate("StudentT", lambda c: StudentT.template(), _tails),
    Candidate("Beta", lambda c: Scaled.template(Beta.template(), _part(c) or 1.0),
              lambda c: _part(c) is not None),
    Candidate("VonMises", lambda c: Scaled.template(VonMises.template(), _turn(c) or 1.0),
              lambda c: _turn(c) is not None),
)  # fmt: skip


WRAPPERS = ("Optional", "Hurdle", "Discretised")  # which the values themselves ask for


def known_family(name: str) -> str:
    """The name of a family as it is listed here, from what a proposal calls it.

    Raises:
        ValueError: for a name that is none.

    Example:
        >>> known_family("Optional Hurdle Gamma")
        'Gamma'
    """
    plain = " ".join(word for word in name.split() if word not in WRAPPERS)
    names = [one.name for one in CANDIDATES]
    others = ("BernoulliSet", "Composite")
    if plain not in (*names, *others) and not plain.startswith("Sequence of "):
        raise ValueError(f"There is no family {name!r} for a column; there are {', '.join(names)}.")
    return plain


def _as_labels(c: Column) -> bool:
    return len(c.labels) <= min(MAX_NUMBERS, c.size // ROWS_A_LABEL)


def _labels(c: Column) -> PyTree:
    values = c.labels.astype(int) if c.whole else c.labels
    return Categorical.template(labels=tuple(values.tolist()))


def choose_number(x: np.ndarray, name: str = "", only: str | None = None) -> Chosen:
    """The family whose mixtures score best on the half of the column they were not fitted to.

    Args:
        x: the values that are there.
        name: of the column, which tells codes, angles and percentages.
        only: the family to take whatever the scores.
    """
    if not np.all(np.isfinite(x)):
        return Chosen("ignored", None, "it holds infinities")
    c = column_of(x, name)
    if len(c.labels) == 1:
        return Chosen("ignored", None, f"every value is {float(c.labels[0]):g}")
    if only is None:
        if (reason := names_rows(c, x)) is not None:
            return Chosen("ignored", None, reason)
        if (len(c.labels) <= FEW and _as_labels(c)) or len(c.labels) == 2:
            listed = ", ".join(f"{value:g}" for value in c.labels)
            return Chosen("Categorical", _labels(c), f"{len(c.labels)} values: {listed}")
    if len(c.rest) < 20:
        c = c._replace(atoms=())
    return _best(c, only)


def _best(c: Column, only: str | None) -> Chosen:
    """The simplest of the families whose scores are within a tie of the best."""
    scores, made = {}, {}

    def judge(one: Candidate, column: Column) -> None:
        plain = one.template(column)
        density = plain if one.whole else _recorded(plain, column)
        if one.name == "Categorical" or _holds(density, column):
            name = _called(one.name, density)
            scores[name] = (_score_whole if one.whole else _score)(plain, column)
            made[name] = density

    for one in CANDIDATES:
        if one.name == only or (only is None and one.worth(c)):
            if c.whole or not one.whole or one.name == "Categorical":
                judge(one, c)
    if c.atoms and c.step and scores:  # a lump is an atom, or it belongs to the best of laws
        best = max(scores, key=lambda name: np.nanmax(scores[name])).split()[-1]
        for one in CANDIDATES:
            if one.name == best and not one.whole:
                judge(one, c._replace(atoms=(), heaped=True))
    scores = {name: s for name, s in scores.items() if np.isfinite(s).any()}
    if not scores:
        return Chosen("ignored", None, f"{only or 'no family'} does not hold all of its values")
    top = max(np.nanmax(s) for s in scores.values())
    # How many densities a family needs to come so near; the first of those that need fewest.
    needs = {name: np.flatnonzero(s >= top - TIE / len(c.sample)) for name, s in scores.items()}
    best = min((name for name in needs if len(needs[name])), key=lambda name: needs[name][0])
    listed = ", ".join(f"{name} {np.nanmax(s):.3f}" for name, s in scores.items())
    reason = f"held-out nats a value: {listed}" if len(scores) > 1 else "the one family that fits"
    return Chosen(best, made[best], reason)


def _holds(density: PyTree, c: Column) -> bool:
    domain = getattr(density, "domain", None)
    return domain is None or bool(np.all(domain.holds(c.labels)))


def _recorded(plain: PyTree, c: Column) -> PyTree:
    """A family of a continuum as the column has it: rounded, and with its atoms."""
    density = Discretised.template(plain, c.step) if c.heaped and c.step else plain
    return Hurdle.template(density, c.atoms) if c.atoms else density


def _score(plain: PyTree, c: Column) -> np.ndarray:
    """Nats a value, as log-probabilities of what was recorded; of a continuum, of its spread.

    Atoms have a probability each, and the rest a family: no more of it need be fitted.
    """
    shares = np.array([np.mean(c.sample == atom) for atom in c.atoms])
    x, rest = c.rest, 1 - shares.sum()
    unit = c.step or float(c.sample.std())
    inner, own = (plain.value, plain.unit) if isinstance(plain, Scaled) else (plain, unit)
    rounded = Discretised.template(inner, unit / own) if c.heaped else inner
    # A mass under a rounded law; else a density, which over a step is one.
    scores = held_out(rounded, x / own) + (0 if c.heaped else np.log(unit / own))
    known = np.append(shares[shares > 0], rest)
    return rest * scores + np.sum(known * np.log(known))


def _score_whole(plain: PyTree, c: Column) -> np.ndarray:
    if isinstance(plain, Categorical):  # one program for any number of labels
        codes = np.searchsorted(c.labels, c.sample)
        return held_out(Categorical.template(max(MAX_NUMBERS, plain.size)), codes)
    return held_out(plain, c.sample)


def _called(name: str, template: PyTree) -> str:
    words = [type(template).__name__] if isinstance(template, Hurdle) else []
    inner = template.value if isinstance(template, Hurdle) else template
    words += [type(inner).__name__] if isinstance(inner, Discretised) else []
    return " ".join([*words, name])
