"""k-means++ seeds that weights, repeats and the order of rows change nothing of."""

import numpy as np

from ._rows import filled


def canonical_order(x: np.ndarray) -> np.ndarray:
    """An order of rows that their content alone determines: equal rows are neighbours."""
    direction = np.random.RandomState(0).standard_normal(x.shape[1])
    return np.argsort(x @ direction, kind="stable")


def plus_plus(
    x: np.ndarray, size: int, weights: np.ndarray | None, random: np.random.RandomState
) -> np.ndarray:
    """Indices (size,) of rows drawn by greedy k-means++ (Arthur and Vassilvitskii 2007).

    A row of weight 2 is drawn as the same row twice would be, and one of weight 0 never: draws
    are quantiles of the weights summed up in an order that the rows' content determines.
    """
    x = filled(x, weights)
    x = x - np.average(
        x, axis=0, weights=weights
    )  # distances from products lose an offset's digits
    order = canonical_order(x)
    rows = x[order]
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, float)[order]
    squares = np.einsum("ij,ij->i", rows, rows)

    def draw(odds: np.ndarray, many: int) -> np.ndarray:
        total = np.cumsum(odds)
        if not total[-1] > 0:  # every row is at a centre already: any row will do
            total = np.cumsum(weights)
        found = np.searchsorted(total, random.uniform(size=many) * total[-1], side="right")
        return np.minimum(found, len(rows) - 1)

    def distances(which: np.ndarray) -> np.ndarray:
        cross = rows @ rows[which].T
        return np.maximum(squares[:, None] - 2 * cross + squares[which][None], 0)

    trials = 2 + int(np.log(size))
    chosen = [int(draw(weights, 1)[0])]
    nearest = distances(np.array(chosen))[:, 0]
    for _ in range(1, size):
        tried = draw(weights * nearest, trials)
        left = np.minimum(nearest[:, None], distances(tried))
        best = int(np.argmin(weights @ left))
        chosen.append(int(tried[best]))
        nearest = left[:, best]
    return order[chosen]
