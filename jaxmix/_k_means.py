"""k-means on the host, many runs at once: NumPy alone, so that nothing is compiled for it.

A run is a lane. Rows are (lanes, n, d), or (1, n, d) where every lane has the same ones; weights
are (lanes, n) or (1, n).
"""

from typing import Any, NamedTuple

import numpy as np

ELEMENTS = 1 << 22  # numbers of a block of distances


class Lloyd(NamedTuple):
    """Where runs of k-means have ended: centres (lanes, k, d), a label a row, steps taken."""

    centres: np.ndarray
    labels: np.ndarray
    num_steps: np.ndarray


def canonical_order(x: np.ndarray) -> np.ndarray:
    """An order (n,) of rows (n, d) that their content determines: equal rows are neighbours.

    Columns may change places: rows differ by a sum over them, and only by the columns in turn
    where the sums are equal.
    """
    key = np.round((x + np.sin(3 * x)).sum(-1), 9)
    return np.lexsort((*x.T, key))


def plus_plus(
    x: np.ndarray,
    size: int,
    weights: np.ndarray,
    random: Any,
    *,
    many: int = 1,
    trials: int | None = None,
) -> np.ndarray:
    """Positions (many, size) of rows drawn by k-means++ (Arthur and Vassilvitskii 2007).

    Every draw is the best of `trials` (greedy, 2 + log size of them where None). Draws are
    quantiles of the weights summed up in the order of the rows: a row of weight 2 is drawn as the
    same row twice in succession, and one of weight 0 never.
    """
    trials = 2 + int(np.log(size)) if trials is None else trials
    lanes = np.arange(many)[:, None]
    squares = np.einsum("mnd,mnd->mn", x, x)
    rows_of = lanes if len(x) > 1 else np.zeros((many, 1), int)

    def draw(odds: np.ndarray, count: int) -> np.ndarray:
        total = np.cumsum(odds, -1)
        # Every row is at a centre already: any row will do.
        total = np.where(total[:, -1:] > 0, total, np.cumsum(weights, -1))
        level = random.uniform(size=(many, count)) * total[:, -1:]
        found = [np.searchsorted(t, u, side="right") for t, u in zip(total, level, strict=True)]
        return np.minimum(found, x.shape[1] - 1)

    def distances(which: np.ndarray) -> np.ndarray:
        at = x[rows_of, which]
        cross = at @ np.swapaxes(x, -1, -2)
        return np.maximum(squares[:, None] - 2 * cross + squares[rows_of, which][..., None], 0)

    chosen = np.empty((many, size), int)
    chosen[:, 0] = draw(np.broadcast_to(weights, (many, x.shape[1])), 1)[:, 0]
    nearest = distances(chosen[:, :1])[:, 0]
    for j in range(1, size):
        tried = draw(weights * nearest, trials)
        left = np.minimum(nearest[:, None], distances(tried))
        best = np.argmin((left @ weights[..., None])[..., 0], -1)
        chosen[:, j] = tried[lanes[:, 0], best]
        nearest = left[lanes[:, 0], best]
    return chosen


def lloyd(
    x: np.ndarray,
    centres: np.ndarray,
    weights: np.ndarray,
    *,
    tol: float = 0.0,
    max_steps: int = 300,
) -> Lloyd:
    """Lloyd's k-means (1982) from centres (lanes, k, d): each lane to its own end.

    The last step is that which moves the centres by at most `tol` (their summed square), or within
    rounding not at all. Missing coordinates (NaN) are left out of a distance and of a mean (Chi,
    Chi and Baraniuk 2016). A centre without rows takes the row that is worst served.
    """
    centres = np.array(centres)
    many, size, _ = centres.shape
    seen = None if not np.isnan(x).any() else (~np.isnan(x)).astype(x.dtype)
    x = x if seen is None else np.where(seen > 0, x, 0).astype(x.dtype)
    rounding = (8 * np.finfo(x.dtype).eps) ** 2
    steps = np.zeros(many, int)
    going = np.arange(many)
    pick = lambda a: a if len(a) == 1 else a[going]
    while len(going):
        part = centres[going]
        held, w = pick(x), pick(weights)
        mask = None if seen is None else pick(seen)
        _, sums, counts = _pass(held, part, w, mask)
        moved = np.where(counts > 0, sums / np.where(counts > 0, counts, 1), part)
        for lane in np.flatnonzero(~(counts > 0).any(-1).all(-1)):
            alone = lambda a, lane=lane: a if len(a) == 1 else a[lane : lane + 1]
            known = None if mask is None else alone(mask)
            far = _worst_served(alone(held), part[lane : lane + 1], alone(w), known)
            empty = np.flatnonzero(~(counts[lane] > 0).any(-1))[: len(far)]
            far = far[: len(empty)]
            rows = alone(held)[0, far]
            moved[lane, empty] = (
                rows if known is None else np.where(known[0, far] > 0, rows, part[lane, empty])
            )
        change = np.square(moved - part).sum((-1, -2))
        ended = change <= np.maximum(tol, rounding * np.square(part).sum((-1, -2)))
        centres[going] = moved
        steps[going] += 1
        going = going[~ended & (steps[going] < max_steps)]
    return Lloyd(centres, _pass(x, centres, weights, seen)[0], steps)


def _blocks(x, centres, seen):
    """Slices of the rows, and for each |centre|^2 - 2 <row, centre> over what the row shows."""
    across = np.swapaxes(centres, -1, -2)
    square = np.square(across)
    step = max(1, ELEMENTS // (len(centres) * across.shape[-1]))
    for begin in range(0, x.shape[1], step):
        part = slice(begin, begin + step)
        length = square.sum(-2, keepdims=True) if seen is None else seen[:, part] @ square
        yield part, length - 2 * (x[:, part] @ across)


def _pass(x, centres, weights, seen):
    """Labels, weighted sums of every cluster's coordinates, and their weights."""
    many, size, dim = centres.shape
    labels = np.empty((many, x.shape[1]), np.intp)
    sums = np.zeros((many, size, dim), x.dtype)
    counts = np.zeros((many, size, 1 if seen is None else dim), x.dtype)
    for part, score in _blocks(x, centres, seen):
        labels[:, part] = label = score.argmin(-1)
        hot = (label[..., None] == np.arange(size)) * weights[:, part, None].astype(x.dtype)
        turned = np.swapaxes(hot, -1, -2)
        sums += turned @ x[:, part]
        counts += hot.sum(-2)[..., None] if seen is None else turned @ seen[:, part]
    return labels, sums, counts


def _worst_served(x, centres, weights, seen):
    """Positions of the rows of one lane, that of the greatest distance to its centre first."""
    apart = np.concatenate(
        [
            np.square(x[:, part]).sum(-1) + score.min(-1)
            for part, score in _blocks(x, centres, seen)
        ],
        axis=1,
    )
    return np.argsort(-np.where(weights > 0, apart, -np.inf)[0], kind="stable")
