"""scikit-learn's own contract, and its documented uses with the import changed."""

import numpy as np
import pytest
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxmix.sklearn import GaussianMixture, KMeans

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks([GaussianMixture(), KMeans(n_clusters=2)])
def test_check_estimator(estimator, check):
    check(estimator)


def test_the_docstring_examples():
    x = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    mixture = GaussianMixture(n_components=2, random_state=0).fit(x)
    order = np.argsort(mixture.means_[:, 0])
    np.testing.assert_allclose(mixture.means_[order], [[1, 2], [10, 2]], atol=1e-6)
    near, far = mixture.predict([[0, 0], [12, 3]])
    assert (near, far) == tuple(order)
    clusters = KMeans(n_clusters=2, random_state=0, n_init="auto").fit(x)
    assert len(set(clusters.labels_[:3])) == len(set(clusters.labels_[3:])) == 1
    np.testing.assert_allclose(np.sort(clusters.cluster_centers_[:, 0]), [1, 10])
    assert clusters.predict([[0, 0]]) == clusters.labels_[0]


def skewed(seed=0, n=125):
    """Two groups of the model-selection example: a sheared one and a round one."""
    rng = np.random.default_rng(seed)
    sheared = rng.normal(size=(n, 2)) @ np.array([[0.0, -0.1], [1.7, 0.4]])
    return np.r_[sheared, 0.7 * rng.normal(size=(n, 2)) + [-6, 3]]


def negative_bic(estimator, x):
    return -estimator.bic(x)


def test_selection_by_grid_search_chooses_as_theirs():
    grid = {"n_components": [1, 2], "covariance_type": ["spherical", "full"]}
    chosen = []
    for estimator in (GaussianMixture(random_state=0), Theirs(random_state=0)):
        search = GridSearchCV(estimator, grid, scoring=negative_bic).fit(skewed())
        chosen.append((search.best_params_, search.cv_results_["mean_test_score"]))
    assert chosen[0][0] == chosen[1][0] == {"n_components": 2, "covariance_type": "full"}
    np.testing.assert_allclose(chosen[0][1], chosen[1][1], rtol=1e-4)


def test_density_on_a_grid():
    """The example of the density's picture: minus log-likelihood over a grid."""
    mixture = GaussianMixture(n_components=2, random_state=0).fit(skewed())
    axes = np.linspace(-8, 4, 20)
    grid = np.stack(np.meshgrid(axes, axes), -1).reshape(-1, 2)
    theirs = Theirs(n_components=2)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(theirs, name, getattr(mixture, name))
    np.testing.assert_allclose(mixture.score_samples(grid), theirs.score_samples(grid), rtol=1e-8)
    np.testing.assert_allclose(mixture.predict_proba(grid), theirs.predict_proba(grid), atol=1e-10)
    assert mixture.bic(grid) == pytest.approx(theirs.bic(grid), rel=1e-10)
    assert mixture.aic(grid) == pytest.approx(theirs.aic(grid), rel=1e-10)


@pytest.mark.parametrize("start", ["kmeans", "k-means++", "random", "random_from_data"])
def test_starts_lie_in_the_data_and_differ(start):
    """The example of the four ways to start; max_iter = 0 gives the start itself."""
    x = skewed(1)
    mixture = GaussianMixture(2, init_params=start, max_iter=0, random_state=3).fit(x)
    assert mixture.n_iter_ == 0 and not mixture.converged_
    assert (mixture.means_ > x.min(0)).all() and (mixture.means_ < x.max(0)).all()
    assert not np.allclose(mixture.means_[0], mixture.means_[1])


def test_pipeline_and_frames():
    import pandas as pd

    frame = pd.DataFrame(skewed(), columns=["left", "up"])
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), GaussianMixture(2))
    pipe.set_params(gaussianmixture__random_state=0).fit(frame)
    assert list(pipe[-1].feature_names_in_) == ["left", "up"]
    distances = KMeans(2, random_state=0).set_output(transform="pandas").fit_transform(frame)
    assert list(distances.columns) == ["kmeans0", "kmeans1"]
    assert distances.index.equals(frame.index)


def test_k_means_takes_their_steps_from_their_start():
    x, _ = make_blobs(200, centers=4, random_state=5, cluster_std=2.0)
    start = x[[0, 1]]
    weights = np.random.default_rng(0).integers(0, 4, len(x)).astype(float)
    for w in (None, weights):
        ours = KMeans(2, init=start).fit(x, sample_weight=w)
        theirs = TheirKMeans(2, init=start, n_init=1).fit(x, sample_weight=w)
        np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-10)
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-10)
        assert ours.n_iter_ == theirs.n_iter_
        np.testing.assert_allclose(ours.transform(x), theirs.transform(x), rtol=1e-8)
        assert ours.score(x) == pytest.approx(theirs.score(x), rel=1e-8)


def test_k_means_seeds_are_as_good_as_theirs():
    """Over many seeds, one start each: the mean inertia is within four standard errors."""
    x = load_iris().data[:, :2]
    many = range(12)
    ours = [KMeans(3, n_init=1, random_state=s).fit(x).inertia_ for s in many]
    theirs = [TheirKMeans(3, n_init=1, random_state=s).fit(x).inertia_ for s in many]
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(len(many))
    assert np.mean(ours) < np.mean(theirs) + 4 * error + 1e-9
