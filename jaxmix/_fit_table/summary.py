"""What sets a mixture's groups apart, which rows fit badly, and what the groups leave unsaid."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ..combinators import OptionalEvent
from .rows import Rows

OUTLIERS = 5
STRONG = 0.3  # correlation within the groups, from which it is told
SURE = 0.9


class Summary(NamedTuple):
    """`separation`: nats that a field alone tells of the group, by field, the most telling first;
    `outliers`: the least likely rows and their log-densities; `correlated`: pairs of fields whose
    correlation within the groups is strong, the groups taken together.
    """

    separation: dict[str, float]
    outliers: list[tuple[int, float]]
    correlated: list[tuple[str, str, float]]


def summary(rows: Rows, data: Any, fields: list[str]) -> Summary:
    """All of it, from what the mixture says of each row."""
    told = {}
    for field, share in rows.alone.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(share > 0, share * np.log(share / rows.weights), 0.0)
        told[field] = max(0.0, float(np.mean(terms.sum(1))))
    least = np.argsort(rows.log_prob)[:OUTLIERS]
    return Summary(
        dict(sorted(told.items(), key=lambda pair: -pair[1])),
        [(int(row), float(rows.log_prob[row])) for row in least],
        correlated(data, fields, rows.posterior),
    )


def correlated(data: Any, fields: list[str], posterior: np.ndarray) -> list[tuple[str, str, float]]:
    """Correlations of numbers about their groups' own means."""
    residuals = {}
    for field in fields:
        value, there = data[field], np.ones(len(posterior), bool)
        if isinstance(value, OptionalEvent):
            value, there = value.value, np.asarray(value.present)
        if getattr(value, "ndim", 0) != 1 or np.asarray(value).dtype.kind != "f":
            continue
        share = posterior * there[:, None]
        means = share.T @ np.asarray(value) / np.maximum(share.sum(0), 1e-300)
        residual = np.where(there, np.asarray(value) - posterior @ means, 0.0)
        residuals[field] = residual, there
    found = []
    for (a, (x, here)), (b, (y, also)) in combinations(residuals.items(), 2):
        both = here & also
        size = np.sqrt(np.sum(x[both] ** 2) * np.sum(y[both] ** 2))
        if both.sum() >= 20 and size > 0 and abs(r := np.sum(x[both] * y[both]) / size) > STRONG:
            found.append((a, b, float(r)))
    return sorted(found, key=lambda one: -abs(one[2]))


def paragraph(name: str, found: Any, told: Summary, rows: Rows) -> str:
    """What an analyst would paste: how many groups, how sure, what sets them apart."""
    many, k = rows.posterior.shape
    least, most = min(found.fits), max(found.fits)
    by = "as was asked" if least == most else f"chosen by BIC among {least} to {most}"
    if k == 1 and least == most:
        return f"The {many} rows of {name} are described by one group, {by}."
    if k == 1:
        return (
            f"The {many} rows of {name} form one group: among mixtures of {least} to {most} components BIC "
            "prefers a single one."
        )
    shares = ", ".join(f"{share:.0%}" for share in rows.weights.tolist())
    sure = float(np.mean(rows.posterior.max(1) >= SURE))
    bits = [f for f, nats in told.separation.items() if nats > 0.05 * np.log(k)][:3]
    apart = (
        f" They differ most in {', '.join(bits)}." if bits else " No column alone tells them apart."
    )
    scores = sorted(fit.bic for fit in found.fits.values() if np.isfinite(fit.bic))
    gap = f" The next best number is {scores[1] - scores[0]:.1f} BIC behind." if scores[1:] else ""
    near = found.best.restarts.log_likelihood > float(found.best.log_likelihood) - 1e-3 * many
    ended = f"{int(near.sum())} of {len(near)} starts ended at this same mixture."
    return (
        f"The {many} rows of {name} form {k} groups ({shares} of the rows), {by}.{gap} {sure:.0%} of "
        f"them belong to one group with a probability of {SURE} or more.{apart} {ended}"
    )
