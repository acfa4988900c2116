"""What the estimators share: how parameters and rows are checked, and what a mixture answers."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ..em.parts import num_parameters

SMALLEST = 256  # rows to which fewer are filled up, so that tables of many sizes share a program


class MissingAllowed(BaseEstimator):
    """An estimator of rows of numbers, NaN where a value is missing."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: Any, *, fitting: bool = False, least: int = 1) -> np.ndarray:
        """X as an array (n, d) of float32 or float64, or scikit-learn's sentence."""
        if not fitting:
            check_is_fitted(self)
        x: Any = validate_data(
            self, X, reset=fitting, dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan", ensure_min_samples=least,
        )  # fmt: skip
        return x


class MixtureAnswers(DensityMixin, BaseEstimator):
    """What a fitted mixture says of rows; a class gives `_joint`, (n, k) log-probabilities."""

    fit: Callable[..., Any]
    _joint: Callable[[Any], np.ndarray]
    model_: Any

    def _n_parameters(self) -> int:
        return num_parameters(self.model_)

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, and give each row's most probable component: (n,)."""
        return self.fit(X, y, sample_weight).predict(X)

    def score_samples(self, X) -> np.ndarray:
        """Log-likelihood of each row, in nats: (n,)."""
        scores: Any = logsumexp(self._joint(X), axis=1)
        return scores

    def score(self, X, y=None, sample_weight=None) -> float:
        """Mean log-likelihood of the rows, in nats; weighted by `sample_weight` if given."""
        scores = self.score_samples(X)
        weights = checked_weights(sample_weight, len(scores), scores.dtype)
        return float(np.average(scores, weights=weights))

    def predict(self, X) -> np.ndarray:
        """The most probable component of each row: (n,)."""
        return np.argmax(self._joint(X), axis=1)

    def predict_proba(self, X) -> np.ndarray:
        """Probability of each component given each row: (n, k)."""
        return softmax(self._joint(X), axis=1)

    def bic(self, X) -> float:
        """-2 log-likelihood + parameters x log n of the rows (Schwarz 1978); lower is better."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum() + self._n_parameters() * np.log(len(scores)))

    def aic(self, X) -> float:
        """-2 log-likelihood + 2 parameters of the rows (Akaike 1974); lower is better."""
        return float(-2 * self.score_samples(X).sum() + 2 * self._n_parameters())


def precision(dtype: Any) -> Any:
    """A context in which JAX computes in the dtype of the data: float64 for this block alone."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def checked_weights(weights: Any, rows: int, dtype: Any) -> np.ndarray | None:
    """Case weights as an array (rows,) that is finite, non-negative and not all 0; or a sentence.

    Raises:
        ValueError: naming the row and its value.
    """
    if weights is None:
        return None
    weights = np.asarray(weights, dtype)
    if weights.ndim == 0:
        weights = np.full(rows, weights)
    if weights.ndim != 1:
        raise ValueError(
            f"sample_weight must be 1D array or scalar; it had {weights.ndim} dimensions."
        )
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight must have shape ({rows},); it was {weights.shape}.")
    bad = ~(weights >= 0) | np.isinf(weights)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"sample_weight[{row}] is {weights[row]}: weights must be finite and non-negative."
        )
    if not weights.any():
        raise ValueError("All of sample_weight is zero: there is nothing to fit to.")
    return weights


def filled(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """NaN replaced by the mean of what its column shows, 0 where it shows nothing."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    w = np.where(missing, 0, 1 if weights is None else weights[:, None])
    count = w.sum(0)
    mean = np.where(missing, 0, w * np.where(missing, 0, x)).sum(0) / np.where(count > 0, count, 1)
    return np.where(missing, mean, x).astype(x.dtype)
