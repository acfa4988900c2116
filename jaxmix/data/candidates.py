"""Families for a column of numbers, judged as components of mixtures on values held out."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from .._density import LogDensity
from .._hooks import SaysDomain
from ..combinators import Discretised, Hurdle, Scaled, ZeroInflated
from ..families import (
    Beta,
    Binomial,
    Categorical,
    CensoredNormal,
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
from .column import Column, cells, column_of, names_rows
from .trial import MAX_NUMBERS, held_out, part, skewed, spread, tails, turn, zeros

MAX_LABELS = 50  # of texts
MAX_LEVELS = 12  # of numbers with decimals: no hours or days
FEW = 3  # of them that are labels whatever the scores
ROWS_A_LABEL = 10
ROUNDED = 0.02  # nats a value that a rounded law has to gain over those of counts, for a count
LEAST_SIZE = 1e-100  # of numbers, as of their reciprocals
DIGITS_LEFT = 100  # places between the least and the largest value, below which these are lost
TIE = 2.0  # nats over the values scored, within which the simplest of the families is taken


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


# In the order of their simplicity; what one can't hold is told by its own domain.
CANDIDATES = (
    Candidate("Poisson", lambda c: Poisson.template(),
              lambda c: c.labels[0] < 30 and spread(c) < 30, whole=True),
    Candidate("Geometric", lambda c: Geometric.template(), lambda c: c.labels[0] < 3, whole=True),
    Candidate("Categorical", lambda c: _labels(c), lambda c: _as_labels(c), whole=True),
    Candidate("NegativeBinomial", lambda c: NegativeBinomial.template(),
              lambda c: spread(c) > 1.1 and c.labels[0] < 30, whole=True),
    Candidate("Binomial", lambda c: Binomial.template(int(c.labels[-1])),
              lambda c: spread(c) < 0.9 and 1 < c.labels[-1] <= 100, whole=True),
    Candidate("ZeroInflated Poisson", lambda c: ZeroInflated.template(Poisson.template()),
              zeros, whole=True),
    Candidate("ZeroInflated NegativeBinomial",
              lambda c: ZeroInflated.template(NegativeBinomial.template()), zeros, whole=True),
    Candidate("Exponential", lambda c: Exponential.template(),
              lambda c: skewed(c) and 0 <= c.rest.min() < 0.2 * c.rest.mean()),
    Candidate("Normal", lambda c: Normal.template(), lambda c: True),
    Candidate("LogNormal", lambda c: LogNormal.template(), skewed),
    Candidate("Gamma", lambda c: Gamma.template(), skewed),
    Candidate("StudentT", lambda c: StudentT.template(), tails),
    Candidate("Beta", lambda c: Scaled.template(Beta.template(), part(c) or 1.0),
              lambda c: part(c) is not None),
    Candidate("VonMises", lambda c: Scaled.template(VonMises.template(), turn(c) or 1.0),
              lambda c: turn(c) is not None),
)  # fmt: skip


KINDS = {
    "numbers": lambda c: True,
    "skewed": skewed,
    "tails": tails,
    "shares": lambda c: part(c) == 1,
    "counts": lambda c: c.labels[0] >= 0,
}
WRAPPERS = ("Optional", "Hurdle", "Discretised")  # which the values themselves ask for


def candidates() -> list[Candidate]:
    """The families above, and after them those that declare themselves: `candidate = "skewed"`."""
    known, own = {one.name: one for one in CANDIDATES}, {}
    for family in _below(LogDensity):
        kind = vars(family).get("candidate")
        if kind is not None and kind not in KINDS:
            raise ValueError(
                f"{family.__name__} is a candidate for columns of kind {kind!r}; the kinds are "
                f"{', '.join(KINDS)}."
            )
        if kind is not None:
            plain = lambda c, family=family: family.template()
            own[family.__name__] = Candidate(family.__name__, plain, KINDS[kind], kind == "counts")
    return list((known | own | known).values())


def _below(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def known_family(name: str) -> str:
    """The name of a family as it is listed here, from what a proposal calls it."""
    plain = " ".join(word for word in name.split() if word not in WRAPPERS)
    names = [one.name for one in candidates()]
    others = ("BernoulliSet", "CensoredNormal", "Composite")
    if plain not in (*names, *others) and not plain.startswith("Sequence of "):
        raise ValueError(f"There is no family {name!r} for a column; there are {', '.join(names)}.")
    return plain


def _as_labels(c: Column) -> bool:
    most = MAX_NUMBERS if c.whole else MAX_LEVELS
    return len(c.labels) <= min(most, c.size // ROWS_A_LABEL)


def _labels(c: Column) -> PyTree:
    values = c.labels.astype(int) if c.whole else c.labels
    return Categorical.template(labels=tuple(values.tolist()))


def choose_number(x: np.ndarray, name: str = "", only: str | None = None) -> Chosen:
    """The family whose mixtures score best on the half of the column they were not fitted to."""
    if not np.all(np.isfinite(x)):
        return Chosen("ignored", None, "it holds infinities")
    size = float(np.abs(x).max())
    if size and not LEAST_SIZE < size < 1 / LEAST_SIZE:
        return Chosen("ignored", None, "its squares have no place in 64 bits: take another unit")
    if 0 < np.ptp(x) < DIGITS_LEFT * np.spacing(size):
        return Chosen("ignored", None, "its values differ in digits alone that 64 bits do not hold")
    c = column_of(x, name)
    if len(c.labels) == 1:
        return Chosen("ignored", None, f"every value is {float(c.labels[0]):g}")
    if only is None:
        if (reason := names_rows(c, x)) is not None:
            return Chosen("ignored", None, reason)
        if ((len(c.labels) <= FEW or c.coarse) and _as_labels(c)) or len(c.labels) == 2:
            listed = ", ".join(f"{value:g}" for value in c.labels)
            return Chosen("Categorical", _labels(c), f"{len(c.labels)} values: {listed}")
    if len(c.rest) < 20:
        c = c._replace(atoms=())
    return _best(c, only)


def _best(c: Column, only: str | None) -> Chosen:
    """The simplest of the families whose scores are within a tie of the best."""
    tried: dict[str, tuple[PyTree, Callable[[], np.ndarray]]] = {}

    def judge(one: Candidate, column: Column) -> None:
        plain = one.template(column)
        density = plain if one.whole else _recorded(plain, column)
        told = one.name != "Categorical" and isinstance(density, SaysDomain)
        if not told or np.all(density.domain.holds(column.labels)):
            score = _score_whole if one.whole else _score
            tried[_called(one.name, density)] = density, lambda: score(plain, column)

    ends = _ends(c)
    if ends is not None and only in (None, "CensoredNormal"):
        censored = CensoredNormal.template(**ends)
        tried["CensoredNormal"] = censored, lambda: _score_censored(c, ends)
    families = candidates()
    for one in families:
        if one.name == only or (only is None and one.worth(c)):
            if (c.whole and not c.coarse) or not one.whole or one.name in ("Categorical", only):
                judge(one, c)
    lumps = bool(c.atoms and c.step)
    if len(tried) == 1 and not lumps:
        (name, (density, _)) = tried.popitem()
        return Chosen(name, density, "the one family that fits")
    scores = {name: score() for name, (_, score) in tried.items()}
    if lumps and scores:  # a lump is an atom, or it belongs to the best of laws
        best = max(scores, key=lambda name: np.nanmax(scores[name])).split()[-1]
        for one in families:
            if one.name == best and not one.whole:
                judge(one, c._replace(atoms=(), heaped=True))
        scores |= {name: score() for name, (_, score) in tried.items() if name not in scores}
    scores = {name: s for name, s in scores.items() if np.isfinite(s).any()}
    if not scores:
        one = next((f for f in families if f.name == only), None)
        held = one is None or one.template(c).domain.holds(c.labels)
        value = "" if np.all(held) else f", such as {c.labels[np.argmin(held)]:g}"
        named = f"{only} does not hold" if only else "no family holds"
        return Chosen("ignored", None, f"{named} all of its values{value}")
    listed = ", ".join(f"{name} {np.nanmax(s):.3f}" for name, s in scores.items())
    reason = f"held-out nats a value: {listed}" if len(scores) > 1 else "the one family that fits"
    if c.counted:
        whole = [one.name for one in families if one.whole]
        gain = max(ROUNDED, TIE / len(c.sample))
        scores = {name: s - gain * (name not in whole) for name, s in scores.items()}
    top = max(np.nanmax(s) for s in scores.values())
    # How many densities a family needs to come so near; the first of those that need fewest.
    needs = {name: np.flatnonzero(s >= top - TIE / len(c.sample)) for name, s in scores.items()}
    best = min((name for name in needs if len(needs[name])), key=lambda name: needs[name][0])
    if c.marks:
        listed = ", ".join(f"{mark:g}" for mark in c.marks)
        reason += f"; {listed} stands apart, as a mark of what is missing does (--na)"
    return Chosen(best, tried[best][0], reason)


def _ends(c: Column) -> dict[str, float] | None:
    """The ends of a range at which values of a continuum lie in lumps, where they do nowhere else."""
    low, high = float(c.labels[0]), float(c.labels[-1])
    ends = {name: end for name, end in (("low", low), ("high", high)) if end in c.atoms}
    return ends if ends and len(ends) == len(c.atoms) and not (c.heaped or c.marks) else None


def _score_censored(c: Column, ends: dict[str, float]) -> np.ndarray:
    """As `_score`, of a range whose ends are at 0 and 1, or at 0: few programs serve all columns."""
    begin = ends.get("low", ends.get("high", 0.0))
    scale = ends["high"] - begin if len(ends) == 2 else float(c.sample.std())
    moved = {name: (end - begin) / scale for name, end in ends.items()}
    scores = held_out(CensoredNormal.template(**moved), (c.sample - begin) / scale)
    inside = 1 - np.mean(np.isin(c.sample, c.atoms))
    return scores + inside * np.log((c.step or float(c.sample.std())) / scale)


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
    if isinstance(plain, StudentT):  # its scale begins at 1, and moves by a factor a step
        own = float(np.subtract(*np.quantile(x, [0.75, 0.25]))) or unit
    elif plain.candidate is not None:
        own = 1.0  # what declares itself may hold in the column's own unit alone
    rounded = Discretised.template(inner, unit / own) if c.heaped and c.step else inner
    # A mass under a rounded law; else a density, which over a step, or over each value's part of
    # the line, is one.
    scores = held_out(rounded, x / own)
    if c.coarse:
        scores = scores + np.mean(np.log(cells(c.labels)[np.searchsorted(c.labels, x)] / unit))
    elif not (c.heaped and c.step):
        scores = scores + np.log(unit / own)
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
