"""Covariances in scikit-learn's four shapes: NumPy arrays outside, the house's densities inside.

full (k, d, d), tied (d, d), diag (k, d), spherical (k,). The factor W of a precision (upper
triangular, W W' its inverse covariance) is scikit-learn's `precisions_cholesky_`.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from scipy.linalg import solve_triangular

from ..combinators import MixtureSameFamily, gaussian_mixture, mixture_of
from ..families import PartialDiagonalNormal, PartialNormal

KINDS = ("full", "tied", "diag", "spherical")


def shape_of(kind: str, k: int, d: int) -> tuple[int, ...]:
    return {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]


def _singular(k: int) -> ValueError:
    return ValueError(
        f"The covariance of component {k} is singular at the start of the fit (a component on one "
        "row, or on rows in a plane). Raise reg_covar, use fewer components, or another start."
    )


def factors_of(covariances: np.ndarray, kind: str) -> np.ndarray:
    """Precision factors of covariances.

    Raises:
        ValueError: naming the component whose covariance is singular.
    """
    if kind in ("diag", "spherical"):
        bad = ~(covariances > 0)
        if bad.any():
            raise _singular(int(np.argwhere(bad)[0][0]))
        return 1 / np.sqrt(covariances)
    made = []
    for k, covariance in enumerate(covariances[None] if kind == "tied" else covariances):
        try:
            lower = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise _singular(k) from error
        made += [solve_triangular(lower, np.eye(len(lower), dtype=lower.dtype), lower=True).T]
    return made[0] if kind == "tied" else np.stack(made)


def factors_from_precisions(precisions: np.ndarray, kind: str) -> np.ndarray:
    """Precision factors of precisions: a Cholesky factor from the last row up."""
    if kind in ("diag", "spherical"):
        return np.sqrt(precisions)
    flipped = np.linalg.cholesky(precisions[..., ::-1, ::-1])
    return np.ascontiguousarray(flipped[..., ::-1, ::-1])


def precisions_of(factors: np.ndarray, kind: str) -> np.ndarray:
    return factors**2 if kind in ("diag", "spherical") else factors @ np.swapaxes(factors, -1, -2)


def roots_of(factors: np.ndarray, kind: str) -> np.ndarray:
    """R with R R' the covariance: what turns white noise into a draw."""
    if kind in ("diag", "spherical"):
        return 1 / factors
    return np.swapaxes(np.linalg.inv(factors), -1, -2)


def covariances_of(factors: np.ndarray, kind: str) -> np.ndarray:
    roots = roots_of(factors, kind)
    return roots**2 if kind in ("diag", "spherical") else roots @ np.swapaxes(roots, -1, -2)


def estimate(x: np.ndarray, groups: list[tuple[Any, np.ndarray]], ridge: float, kind: str) -> list:
    """Weights, means and covariances of groups of rows, each (which rows, their weights)."""
    counts = np.array([w.sum() for _, w in groups]) + 10 * np.finfo(x.dtype).eps
    means = np.stack([w @ x[rows] for rows, w in groups]) / counts[:, None]
    spread = []
    for (rows, w), mean, count in zip(groups, means, counts, strict=True):
        r = x[rows] - mean
        squares = (w[:, None] * r).T @ r if kind in ("full", "tied") else w @ (r * r)
        spread.append(squares / count)
    covariances = np.stack(spread)
    if kind == "tied":
        covariances = np.tensordot(counts, covariances, 1) / counts.sum()
    if kind == "spherical":
        covariances = covariances.mean(1)
    added = ridge * np.eye(x.shape[1]) if kind in ("full", "tied") else ridge
    found = counts / counts.sum(), means, covariances + added
    return [part.astype(x.dtype) for part in found]


@functools.lru_cache
def _template(kind: str, k: int, d: int, partial: bool) -> MixtureSameFamily:
    """The structure alone: shapes in place of every array."""

    def made():
        if not partial:
            return gaussian_mixture(k, d, kind)
        if kind in ("full", "tied"):
            return mixture_of(PartialNormal.template(d, tied=kind == "tied"), k)
        return mixture_of(PartialDiagonalNormal.template(d, spherical=kind == "spherical"), k)

    return jax.eval_shape(made)


def _whole(components: Any) -> Any:
    return getattr(components, "whole", components)


def mixture_from(arrays: tuple, kind: str, *, partial: bool = False) -> MixtureSameFamily:
    """The house's mixture of (weights, means, factors); `partial` for rows that may lack values."""
    weights, means, factors = arrays
    size, dim = means.shape
    if kind in ("full", "tied"):
        diagonal = np.log(np.diagonal(factors, axis1=-2, axis2=-1))
        stored = np.triu(factors, 1)
        stored[..., np.arange(dim), np.arange(dim)] = diagonal
        name = "factor"
    else:
        stored, name = -np.log(factors), "log_scale"
    model = _template(kind, size, dim, partial)
    with np.errstate(divide="ignore"):
        logits = np.log(weights)
    return eqx.tree_at(
        lambda m: (
            m.mixing.logits,
            _whole(m.components).mean,
            getattr(_whole(m.components), name),
        ),
        model,
        tuple(jnp.asarray(a, means.dtype) for a in (logits, means, stored)),
    )


def arrays_from(model: PyTree, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and precision factors of the house's mixture."""
    whole = _whole(model.components)
    if kind in ("full", "tied"):
        factors = np.triu(np.asarray(whole.factor))
        at = np.arange(factors.shape[-1])
        factors[..., at, at] = np.exp(factors[..., at, at])
    else:
        factors = np.exp(-np.asarray(whole.log_scale))
    logits = np.asarray(model.mixing.logits)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum(), np.array(whole.mean), factors
