"""What sets a mixture's groups apart, which rows fit badly, and whether the groups come back."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from .._results import message
from .._results import name as name_of
from .._trees import num_rows
from ..combinators import OptionalEvent, mixture_of
from ..em.fit import fit_together
from ..em.solver import at_limit
from .choose import Found, is_sound
from .describe import probs_of
from .rows import Rows, rows_under
from .work import at_work

OUTLIERS = 5
LEAST = 20  # rows of a correlation
STRONG = 0.3  # correlation within the groups, from which it is told
SURE = 0.9
STARTS = 4  # of each refit to resampled rows
MANY = 5000  # rows beyond which refits take longer than they are worth


class Summary(NamedTuple):
    """`separation`: nats that a field alone tells of the group, by field, the most telling first;
    `outliers`: the least likely rows and their log-densities; `correlated`: pairs of fields whose
    correlation within the groups is strong, the groups taken together; `tails`: of each field of
    numbers and each group, the fourth central moment over the squared variance; `overlaps`: of
    each group, how much of it resamples of the rows give back.
    """

    separation: dict[str, float]
    outliers: list[tuple[int, float]]
    correlated: list[tuple[str, str, float]]
    tails: dict[str, list[float]]
    overlaps: list[float]


def summary(rows: Rows, data: Any, fields: list[str], overlaps: list[float]) -> Summary:
    """All of it, from what the mixture says of the rows; of its `fields` those of numbers."""
    residuals, tails = moments(data, fields, rows.posterior)
    outliers = [(int(row), float(rows.level[row])) for row in np.argsort(rows.level)[:OUTLIERS]]
    return Summary(rows.told, outliers, correlated(residuals), tails, overlaps)


def moments(
    data: Any, fields: list[str], posterior: np.ndarray
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, list[float]]]:
    """Numbers about their groups' own means, and where they are there; and the groups' tails."""
    residuals, tails = {}, {}
    for field in fields:
        event = data[field]
        value, there = event if isinstance(event, OptionalEvent) else (event, None)
        if getattr(value, "ndim", 0) != 1 or value.dtype.kind not in "fi":
            continue
        value = np.asarray(value)
        there = np.ones(len(value), bool) if there is None else np.asarray(there)
        share = posterior * there[:, None]
        size = np.maximum(share.sum(0), 1e-300)
        means = share.T @ value / size
        residuals[field] = np.where(there, value - posterior @ means, 0.0), there
        away = value[:, None] - means
        square, fourth = (np.sum(share * away**power, 0) / size for power in (2, 4))
        tails[field] = np.where(square > 0, fourth / np.maximum(square, 1e-300) ** 2, 3.0).tolist()
    return residuals, tails


def correlated(
    residuals: dict[str, tuple[np.ndarray, np.ndarray]],
) -> list[tuple[str, str, float]]:
    """Pairs of fields of numbers that are strongly correlated within the groups."""
    if len(residuals) < 2:
        return []
    names = list(residuals)
    x = np.stack([residuals[name][0] for name in names])
    here = np.stack([residuals[name][1] for name in names]).astype(float)
    products = x @ x.T
    sizes = (x * x) @ here.T  # the squares of one where the other is there
    scale = np.sqrt(np.maximum(sizes * sizes.T, 1e-300))
    r = np.where(here @ here.T >= LEAST, products / scale, 0.0)
    pairs = zip(*np.nonzero(np.triu(np.abs(r) > STRONG, 1)), strict=True)
    found = [(names[i], names[j], float(r[i, j])) for i, j in pairs]
    return sorted(found, key=lambda one: -abs(one[2]))


def doubt(found: Any) -> str:
    """Why a fit is not simply the best of its kind; nothing, where it ended by its own rule."""
    code, result = name_of(found.best.result), found.best.result
    part = f" It is of a part of the rows alone: {found.failed}." if found.failed else ""
    size, rows = found.best.num_parameters, found.best.num_data
    if found.chosen > 1 and size >= rows:
        part += f" It has {size} parameters for {rows:.0f} rows, too few for BIC to be more than a hint."
    if code == "successful":
        return part
    fields = getattr(found.best.model.components, "items", tuple)()
    limits = [name for name, law in fields if code == "drifting" and bool(at_limit(law))]
    where = f" (in {', '.join(limits)})" if limits else ""
    return f"{part} The fit ended as `{code}`{where}: {message(result)}"


def paragraph(name: str, rows: int, found: Any, told: Summary, posterior: np.ndarray) -> str:
    """What an analyst would paste: how many groups, how sure, what sets them apart."""
    k = found.chosen
    least, most = min(found.fits), max(found.fits)
    by = "as was asked" if least == most else f"chosen by BIC among {least} to {most}"
    if k == 1:
        said = f"are described by one group, {by}"
        if least < most:
            among = f"mixtures of {least} to {most} components"
            said = f"form one group: among {among} BIC prefers a single one"
        return f"The {rows} rows of {name} {said}.{doubt(found)}"
    shares = ", ".join(f"{share:.0%}" for share in probs_of(found.best.model.mixing))
    sure = float(np.mean(posterior.max(1) >= SURE))
    bits = [f for f, nats in told.separation.items() if nats > 0.05 * np.log(k)][:3]
    apart = (
        f" They differ most in {', '.join(bits)}." if bits else " No column alone tells them apart."
    )
    scores = sorted(fit.bic for fit in found.fits.values() if np.isfinite(fit.bic))
    gap = f" The next best number is {scores[1] - scores[0]:.1f} BIC behind." if scores[1:] else ""
    first = found.fits[k]  # of a long table, the fit to a part of it
    near = first.restarts.log_likelihood > float(first.log_likelihood) - 1e-3 * first.num_data
    ended = f"{int(near.sum())} of {len(near)} starts ended at this same mixture."
    back = doubt(found)
    if told.overlaps:
        listed = ", ".join(f"{overlap:.2f}" for overlap in told.overlaps)
        back = (
            f" Fitted to resamples of the rows, the groups came back with overlaps of {listed} "
            f"(the mean Jaccard coefficient; above 0.75 a group is stable, below 0.5 it dissolves).{back}"
        )
    return (
        f"The {rows} rows of {name} form {k} groups ({shares} of the rows), {by}.{gap} {sure:.0%} of "
        f"them belong to one group with a probability of {SURE} or more.{apart} {ended}{back}"
    )


def overlaps(
    template: PyTree, found: Found, posterior: np.ndarray, resamples: int, seed: int
) -> list[float]:
    """How much of each group a fit to resampled rows gives back, in the mean over resamples.

    The Jaccard coefficient of a group's rows, among those drawn, with the most alike group of the
    refit, which has the same number of components and starts of its own (Hennig 2007,
    doi:10.1016/j.csda.2006.11.025).
    """
    rows, k = num_rows(found.data), found.chosen
    if k < 2 or rows > MANY or not resamples:
        return []
    model, group = mixture_of(template, k), posterior.argmax(1)

    def one(number):
        drawn = np.random.default_rng([seed, number]).integers(0, rows, rows)
        data: Any = jax.tree.map(lambda a: np.asarray(a)[drawn], found.data)
        key = jax.random.key(seed + 1 + number)
        # Of the program that chose the number of components, with room for the most of them.
        fits = fit_together([key], [model], data, num_restarts=STARTS, room=max(found.fits))
        if fits is None or not is_sound(fits[0]):
            return None
        return _jaccard(group[drawn], rows_under(fits[0].model, data).posterior.argmax(1), k)

    at_work("Fitting to resamples")
    shares = [one(number) for number in range(resamples)]
    known = np.array([share for share in shares if share is not None])
    drawn = np.maximum(np.sum(~np.isnan(known), 0), 1)
    return (np.nansum(known, 0) / drawn).tolist() if known.size else []


def _jaccard(one: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    both = np.zeros((k, k))
    np.add.at(both, (one, other), 1)
    either = both.sum(1)[:, None] + both.sum(0)[None] - both
    best = (both / np.maximum(either, 1)).max(1)
    return np.where(both.sum(1) > 0, best, np.nan)
