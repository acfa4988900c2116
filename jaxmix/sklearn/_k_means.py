"""k-means with scikit-learn's interface."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils import Tags, check_random_state

from .._arguments import real, whole
from .._k_means import canonical_order, lloyd, plus_plus
from .._warn import warn
from ._base import MissingAllowed, checked_weights, filled


def _spread(x: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean variance of the columns."""
    x = filled(x, weights)
    centre = np.average(x, axis=0, weights=weights)
    return float(np.average((x - centre) ** 2, axis=0, weights=weights).mean())


def run_lloyd(x, centres, weights, *, tol=1e-4, max_iter=300) -> tuple[np.ndarray, int]:
    """Centres at the end of k-means from given ones, and its steps.

    `tol` is relative to the columns' mean variance.
    """
    shift = filled(x, weights).mean(0)  # distances from products lose an offset's digits
    case = np.ones(len(x), x.dtype) if weights is None else weights.astype(x.dtype)
    found = lloyd(
        (x - shift)[None], (centres - shift)[None], case[None],
        tol=tol * _spread(x, weights), max_steps=max_iter,
    )  # fmt: skip
    return (found.centres[0] + shift).astype(x.dtype), int(found.num_steps[0])


def plus_plus_rows(x: np.ndarray, size: int, weights: np.ndarray | None, random: Any) -> np.ndarray:
    """Positions of the rows that greedy k-means++ draws, by what rows hold, not where they lie."""
    whole = filled(x, weights)
    whole = whole - np.average(whole, axis=0, weights=weights)
    order = canonical_order(whole)
    case = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    return order[plus_plus(whole[order][None], size, case[order][None], random)[0]]


def squares(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances over each row's observed coordinates: (n, k)."""
    return np.stack([np.nansum((x - centre) ** 2, axis=1) for centre in centres], axis=1)


def nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre of each row over its observed coordinates: (n,)."""
    if np.isnan(x).any():
        return squares(x, centres).argmin(1).astype(np.int32)
    return pairwise_distances_argmin(x, centres).astype(np.int32)


@dataclasses.dataclass(eq=False, repr=False)
class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, MissingAllowed):
    """k-means with the interface of `sklearn.cluster.KMeans`, in NumPy, as `jm.fit` seeds mixtures.

    It minimises the sum of weights[i] |x_i - nearest centre|^2 (Lloyd 1982). Missing coordinates
    (NaN) are left out of the distance and filled in by the centre (Chi, Chi and Baraniuk 2016).
    A row of weight 2 counts, and is drawn as a seed, as the same row twice.

    Args:
        n_clusters: number of clusters.
        init: "k-means++", "random", or centres (k, d).
        n_init: number of starts, of which the best is kept; "auto" for 1 from k-means++ or given
            centres, else 10.
        max_iter: at most so many steps a start.
        tol: stop when centres move less, relative to the columns' mean variance.
        verbose: print a line a start.
        random_state: seed, `numpy.random.RandomState` or None.
        copy_x: accepted for scikit-learn's sake: the data are never changed.
        algorithm: accepted for scikit-learn's sake: "lloyd" is run, and "elkan" gives the same.

    Attributes:
        cluster_centers_: (k, d).
        labels_: cluster of each row (n,).
        inertia_: the sum that was minimised.
        n_iter_: steps of the best start.
        n_features_in_: number of columns seen in `fit`.
        feature_names_in_: their names, where they have some.

    Example:
        >>> import numpy as np
        >>> from jaxmix.sklearn import KMeans
        >>> x = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> np.sort(KMeans(n_clusters=2, random_state=0).fit(x).cluster_centers_[:, 0])
        array([ 1., 10.])
    """

    n_clusters: int = 8
    _: dataclasses.KW_ONLY
    init: Any = "k-means++"
    n_init: Any = "auto"
    max_iter: int = 300
    tol: float = 1e-4
    verbose: int = 0
    random_state: Any = None
    copy_x: bool = True
    algorithm: str = "lloyd"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X, y=None, sample_weight=None):
        """Fit to rows (n, d), NaN where a value is missing, with case weights (n,).

        Raises:
            ValueError: for bad rows, weights or parameters, by a sentence that names them.
        """
        whole(1)(self.n_clusters, "n_clusters")
        whole(1)(self.max_iter, "max_iter")
        real(0, ends=True)(self.tol, "tol")
        x = self._rows(X, fitting=True)
        weights = checked_weights(sample_weight, len(x), x.dtype)
        if len(x) < self.n_clusters:
            raise ValueError(f"n_samples={len(x)} should be >= n_clusters={self.n_clusters}.")
        random = check_random_state(self.random_state)

        def start(number: int) -> tuple:
            seeds = self._seeds(x, weights, random)
            centres, steps = run_lloyd(x, seeds, weights, tol=self.tol, max_iter=self.max_iter)
            labels = nearest(x, centres)
            apart = np.nansum((x - centres[labels]) ** 2, axis=1)
            inertia = float(np.sum(apart if weights is None else weights * apart))
            if self.verbose:
                print(f"Start {number}: inertia {inertia:.6g} after {steps} steps.")
            return inertia, centres, labels, steps

        best = min(map(start, range(self._num_starts())), key=lambda found: found[0])
        self.inertia_, self.cluster_centers_, self.labels_, self.n_iter_ = best
        self._n_features_out = self.n_clusters
        distinct = len(np.unique(self.labels_))
        if distinct < self.n_clusters:
            warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
            )
        return self

    def _num_starts(self) -> int:
        if not isinstance(self.init, str):
            return 1
        if self.init not in ("k-means++", "random"):
            raise ValueError(
                f'init must be "k-means++", "random" or centres (k, d); it was {self.init!r}.'
            )
        if isinstance(self.n_init, str):
            if self.n_init != "auto":
                raise ValueError(f'n_init must be "auto" or a number; it was {self.n_init!r}.')
            return 1 if self.init == "k-means++" else 10
        whole(1)(self.n_init, "n_init")
        return self.n_init

    def _seeds(self, x, weights, random) -> np.ndarray:
        if not isinstance(self.init, str):
            centres = np.asarray(self.init, x.dtype)
            wanted = (self.n_clusters, x.shape[1])
            if centres.shape != wanted:
                raise ValueError(f"init must have shape {wanted}; it was {centres.shape}.")
            return centres
        if self.init == "k-means++":
            rows = plus_plus_rows(x, self.n_clusters, weights, random)
        else:
            odds = None if weights is None else weights.astype(float) / weights.sum(dtype=float)
            rows = random.choice(len(x), self.n_clusters, replace=False, p=odds)
        return filled(x, weights)[rows]

    def predict(self, X):
        """The nearest cluster of each row: (n,)."""
        return nearest(self._like_fitted(X), self.cluster_centers_)

    def transform(self, X):
        """Distance of each row to each centre, over its observed coordinates: (n, k)."""
        return np.sqrt(squares(self._like_fitted(X), self.cluster_centers_))

    def score(self, X, y=None, sample_weight=None):
        """Minus the weighted sum of squared distances to the nearest centres."""
        least = squares(self._like_fitted(X), self.cluster_centers_).min(1)
        weights = checked_weights(sample_weight, len(least), least.dtype)
        return float(-np.sum(least if weights is None else weights * least))

    def _like_fitted(self, X) -> np.ndarray:
        return self._rows(X).astype(self.cluster_centers_.dtype, copy=False)
