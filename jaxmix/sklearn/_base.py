"""What the estimators share: how parameters and rows are checked, and what a mixture answers."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data


def not_negative(name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < np.inf:
        raise ValueError(f"{name} must be a number from 0 up; it was {value!r}.")


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

    def _joint(self, X: Any) -> np.ndarray:
        raise NotImplementedError

    def _n_parameters(self) -> int:
        raise NotImplementedError

    def fit(self, X, y=None, sample_weight=None) -> Any:
        raise NotImplementedError

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, and give each row's most probable component: (n,)."""
        return self.fit(X, y, sample_weight).predict(X)

    def score_samples(self, X) -> np.ndarray:
        """Log-likelihood of each row, in nats: (n,)."""
        scores: Any = logsumexp(self._joint(X), axis=1)
        return scores

    def score(self, X, y=None, sample_weight=None) -> float:
        """Mean log-likelihood of the rows, in nats; weighted by `sample_weight` if given."""
        return float(np.average(self.score_samples(X), weights=sample_weight))

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
