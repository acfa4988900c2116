"""The rows from which each component of a Gaussian mixture starts."""

from typing import Any

import numpy as np

from ._k_means import lloyd_labels, plus_plus_rows

STARTS = ("kmeans", "k-means++", "random", "random_from_data")


def starting_groups(
    x: np.ndarray, k: int, way: str, weights: np.ndarray | None, random: Any
) -> list[tuple[Any, np.ndarray]]:
    """For each of k components the rows that it starts from, and their weights."""
    n = len(x)
    w = np.ones(n, x.dtype) if weights is None else weights
    if way == "random":
        share = random.uniform(size=(n, k)).astype(x.dtype)
        share = share / share.sum(1, keepdims=True) * w[:, None]
        return [(slice(None), share[:, j]) for j in range(k)]
    if way == "random_from_data":
        rows = random.choice(np.flatnonzero(w > 0), size=k, replace=False)
        return [([row], w[[row]]) for row in rows]
    if way == "k-means++":
        return [([row], w[[row]]) for row in plus_plus_rows(x, k, weights, random)]
    labels = lloyd_labels(x, k, weights, random)
    members = [np.flatnonzero((labels == j) & (w > 0)) for j in range(k)]
    return [(rows, w[rows]) for rows in members]
