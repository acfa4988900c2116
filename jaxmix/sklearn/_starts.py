"""Where a Gaussian mixture's steps begin: from what the user gives, and from groups of the rows."""

from typing import Any

import numpy as np

from . import _covariances as cov
from ._base import filled
from ._k_means import nearest, plus_plus_rows, run_lloyd

STARTS = ("kmeans", "k-means++", "random", "random_from_data")


def given_start(mixture: Any, dim: int, dtype: Any) -> tuple:
    """The user's start: weights, means and precision factors, None where there is none."""
    k = mixture.n_components
    shapes = ((k,), (k, dim), cov.shape_of(mixture.covariance_type, k, dim))
    names = ("weights_init", "means_init", "precisions_init")
    found = []
    for name, shape in zip(names, shapes, strict=True):
        value = getattr(mixture, name)
        if value is None:
            found.append(None)
            continue
        value = np.asarray(value, dtype)
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; it was {value.shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds values that are not finite.")
        found.append(value)
    weights, means, precisions = found
    if weights is not None and ((weights < 0).any() or abs(weights.sum() - 1) > 1e-4):
        raise ValueError(f"weights_init must be probabilities that add up to 1; it was {weights}.")
    if precisions is None:
        return weights, means, None
    try:
        factors = cov.factors_from_precisions(precisions, mixture.covariance_type)
    except np.linalg.LinAlgError as error:
        raise ValueError("precisions_init must be positive definite.") from error
    if not np.isfinite(factors).all() or (
        mixture.covariance_type in ("diag", "spherical") and (precisions <= 0).any()
    ):
        raise ValueError("precisions_init must be positive.")
    return weights, means, factors


def start_of(mixture: Any, x, weights, given: tuple, random) -> tuple:
    """Weights, means and precision factors of a start; what the user gave comes first."""
    if all(part is not None for part in given):
        return given
    groups = _groups(x, mixture.n_components, mixture.init_params, weights, random)
    found = cov.estimate(filled(x, weights), groups, mixture.reg_covar, mixture.covariance_type)
    if given[2] is None:
        found[2] = cov.factors_of(found[2], mixture.covariance_type)
    return tuple(b if a is None else a for a, b in zip(given, found, strict=True))


def _groups(
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
    labels = np.zeros(n, int)
    if way == "k-means++" or k > 1:
        seeds = plus_plus_rows(x, k, weights, random)
        if way == "k-means++":
            return [([row], w[[row]]) for row in seeds]
        labels = nearest(x, run_lloyd(x, filled(x, weights)[seeds], weights)[0])
    members = [np.flatnonzero((labels == j) & (w > 0)) for j in range(k)]
    return [(rows, w[rows]) for rows in members]
