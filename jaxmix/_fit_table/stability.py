"""Whether the groups come back when the rows are drawn anew."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..combinators import mixture_of
from ..em.chunks import num_rows
from ..em.fit import fit_together
from .alive import at_work
from .choose import Found, is_sound
from .rows import rows_under

STARTS = 4  # of each refit
MANY = 5000  # rows beyond which refits take longer than they are worth


def overlaps(
    template: PyTree, found: Found, posterior: np.ndarray, resamples: int, seed: int
) -> list[float]:
    """How much of each group a fit to resampled rows gives back, in the mean over resamples.

    The Jaccard coefficient of a group's rows, among those drawn, with the most alike group of the
    refit, which has the same number of components and starts of its own (Hennig 2007,
    doi:10.1016/j.csda.2006.11.025).

    Returns:
        One number a group; none for one group, or where a refit is no matter of moments.
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
    shares = [share for share in shares if share is not None]
    return np.nanmean(shares, 0).tolist() if shares else []


def _jaccard(one: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    both = np.zeros((k, k))
    np.add.at(both, (one, other), 1)
    either = both.sum(1)[:, None] + both.sum(0)[None] - both
    best = (both / np.maximum(either, 1)).max(1)
    return np.where(both.sum(1) > 0, best, np.nan)
