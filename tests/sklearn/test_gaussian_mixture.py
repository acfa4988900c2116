"""The Gaussian mixture against scikit-learn's own, and what scikit-learn's lacks."""

import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as Theirs

from jaxmix.sklearn import GaussianMixture, KMeans

KINDS = ("full", "tied", "diag", "spherical")
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
SETTLED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rows(seed=0, dtype=np.float64):
    """Two overlapping groups of unequal size and shape."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(150, 2)) @ np.array([[1.5, 0.4], [0.0, 0.6]])
    return np.r_[wide, rng.normal(size=(80, 2)) * [0.5, 1.2] + [2.5, 1.0]].astype(dtype)


def start(kind):
    precision = np.array([[1.0, 0.2], [0.2, 2.0]])
    shaped = {
        "full": np.stack([precision, np.eye(2)]),
        "tied": precision,
        "diag": np.array([[1.0, 2.0], [0.5, 1.0]]),
        "spherical": np.array([1.0, 2.0]),
    }
    return {
        "weights_init": np.array([0.3, 0.7]),
        "means_init": np.array([[0.0, 1.0], [1.0, -1.0]]),
        "precisions_init": shaped[kind],
    }


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, np.float64) for kind in KINDS] + [("full", np.float32), ("spherical", np.float32)],
)
def test_same_start_same_attributes(kind, dtype):
    x = rows(dtype=dtype)
    options = {"covariance_type": kind, "reg_covar": 0.05, "tol": 1e-4, **start(kind)}
    ours, theirs = (
        made(2, **{k: np.asarray(v, dtype) if "init" in k else v for k, v in options.items()}).fit(
            x
        )
        for made in (GaussianMixture, Theirs)
    )
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    for name in ATTRIBUTES:
        mine = getattr(ours, name)
        assert mine.dtype == dtype and mine.shape == getattr(theirs, name).shape
        np.testing.assert_allclose(mine, getattr(theirs, name), rtol=tolerance, atol=tolerance)
    assert ours.converged_ and theirs.converged_ and ours.result_ == "successful"
    # In float32 a gain of exactly tol may fall to either side by a rounding of the bound.
    assert abs(ours.n_iter_ - theirs.n_iter_) <= (dtype == np.float32)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=tolerance)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours._n_parameters() == theirs._n_parameters()
    steps = np.diff(ours.lower_bounds_)
    assert len(ours.lower_bounds_) == ours.n_iter_
    assert (steps > -tolerance).all()


@SETTLED
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_at_a_time_never_falls_and_equals_one_long_fit(kind):
    x = rows()
    options = {"covariance_type": kind, "reg_covar": 0.0, "tol": 1e-7, **start(kind)}
    slow = GaussianMixture(2, max_iter=1, warm_start=True, **options)
    bounds = []
    for _ in range(600):
        bounds.append(slow.fit(x).score(x))
        if slow.converged_:
            break
    assert slow.converged_
    assert (np.diff(bounds) > -1e-12).all()
    at_once = GaussianMixture(2, max_iter=600, **options).fit(x)
    assert at_once.n_iter_ == len(bounds)
    np.testing.assert_allclose(at_once.covariances_, slow.covariances_, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_another_scale_and_place_only_rescale_the_fit(kind):
    x = rows()
    options = {"covariance_type": kind, "reg_covar": 0.0, "tol": 1e-7, "max_iter": 600}
    here = GaussianMixture(2, **options, **start(kind)).fit(x)
    moved = start(kind)
    moved["means_init"] = 100 * moved["means_init"] + 7
    moved["precisions_init"] = moved["precisions_init"] / 100**2
    there = GaussianMixture(2, **options, **moved).fit(100 * x + 7)
    assert there.n_iter_ == here.n_iter_
    np.testing.assert_allclose(there.weights_, here.weights_, rtol=1e-8)
    np.testing.assert_allclose(there.means_, 100 * here.means_ + 7, rtol=1e-8)
    np.testing.assert_allclose(there.covariances_, 100**2 * here.covariances_, rtol=1e-7)
    assert there.lower_bound_ == pytest.approx(here.lower_bound_ - 2 * np.log(100), rel=1e-9)


@SETTLED
def test_kinds_of_covariance_agree_after_one_step_from_one_start():
    x = rows()
    same = {"weights_init": [0.3, 0.7], "means_init": [[0.0, 1.0], [1.0, -1.0]]}
    ones = {
        "full": np.stack([np.eye(2)] * 2), "tied": np.eye(2),
        "diag": np.ones((2, 2)), "spherical": np.ones(2),
    }  # fmt: skip
    full, tied, diag, spherical = (
        GaussianMixture(
            2, covariance_type=kind, reg_covar=0.0, max_iter=1, precisions_init=ones[kind], **same
        ).fit(x)
        for kind in KINDS
    )
    np.testing.assert_allclose(tied.means_, full.means_, rtol=1e-10)
    pooled = np.einsum("k,kij->ij", full.weights_, full.covariances_)
    np.testing.assert_allclose(tied.covariances_, pooled, rtol=1e-10)
    diagonals = np.diagonal(full.covariances_, axis1=1, axis2=2)
    np.testing.assert_allclose(diag.covariances_, diagonals, rtol=1e-10)
    np.testing.assert_allclose(spherical.covariances_, diagonals.mean(1), rtol=1e-10)


@SETTLED
@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights_are_repeats_and_zero_weights_are_absent(kind):
    x = rows()[::2]
    weights = np.random.default_rng(1).integers(0, 4, len(x))
    options = {"covariance_type": kind, "random_state": 0, "max_iter": 20, "tol": 0.0}
    weighted = GaussianMixture(2, **options).fit(x, sample_weight=weights)
    repeated = GaussianMixture(2, **options).fit(np.repeat(x, weights, axis=0))
    for name in ATTRIBUTES:
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8)
    plain = GaussianMixture(2, **options).fit(x)
    assert not np.allclose(plain.means_, weighted.means_, rtol=1e-3)
    assert weighted.score(x, sample_weight=weights) == pytest.approx(
        repeated.score(np.repeat(x, weights, axis=0)), rel=1e-9
    )
    same = KMeans(2, random_state=4).fit(x, sample_weight=weights).cluster_centers_
    np.testing.assert_allclose(
        same, KMeans(2, random_state=4).fit(np.repeat(x, weights, axis=0)).cluster_centers_
    )


def observed_log_likelihood(x, model, kind):
    """Mean log-density of the observed coordinates, term by term."""
    total = 0.0
    for row in x:
        seen = ~np.isnan(row)
        terms = []
        for k, weight in enumerate(model.weights_):
            c = model.covariances_ if kind == "tied" else model.covariances_[k]
            c = {"full": c, "tied": c, "diag": np.diag(c) if kind == "diag" else c}.get(
                kind, c * np.eye(2)
            )
            c, r = c[np.ix_(seen, seen)], row[seen] - model.means_[k][seen]
            log_density = -0.5 * (r @ np.linalg.solve(c, r) + np.linalg.slogdet(2 * np.pi * c)[1])
            terms.append(np.log(weight) + log_density)
        total += np.logaddexp.reduce(terms)
    return total / len(x)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_marginalised_and_their_fit_is_an_optimum(kind):
    x = rows()
    rng = np.random.default_rng(2)
    x[rng.random(x.shape) < 0.25] = np.nan
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0, tol=1e-8, max_iter=2000)
    mixture.set_params(reg_covar=0.0).fit(x)
    assert mixture.converged_ and np.all(np.diff(mixture.lower_bounds_) > -1e-12)
    best = mixture.score(x)
    assert best == pytest.approx(observed_log_likelihood(x, mixture, kind), rel=1e-10)
    for step in (-1e-3, 1e-3):  # a maximum: any move loses
        for name in ("means_", "precisions_cholesky_"):
            moved = pickle.loads(pickle.dumps(mixture))
            setattr(moved, name, getattr(moved, name) * (1 + step))
            assert moved.score(x) < best
    nothing = np.full((1, 2), np.nan)
    np.testing.assert_allclose(mixture.predict_proba(nothing)[0], mixture.weights_, rtol=1e-10)
    centres = KMeans(2, random_state=0).fit(x)
    assert np.isfinite(centres.cluster_centers_).all() and np.isfinite(centres.transform(x)).all()


def test_nan_free_fit_equals_a_fit_with_one_empty_row():
    """A row without any value adds nothing to means and covariances, and nothing to the fit."""
    x = rows()
    options = {"random_state": 0, "tol": 1e-10, "max_iter": 1000, **start("full")}
    whole = GaussianMixture(2, **options).fit(x)
    more = GaussianMixture(2, **options).fit(np.r_[x, np.full((1, 2), np.nan)])
    np.testing.assert_allclose(more.means_, whole.means_, atol=1e-3)
    np.testing.assert_allclose(more.covariances_, whole.covariances_, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_moments_of_the_mixture(kind):
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0, **start(kind))
    mixture.fit(rows())
    x, y = mixture.sample(20_000)
    assert x.shape == (20_000, 2) and np.all(np.diff(y) >= 0)
    for k in range(2):
        group = x[y == k]
        share = mixture.weights_[k]
        assert abs(len(group) / 20_000 - share) < 4 * np.sqrt(share * (1 - share) / 20_000)
        c = {"tied": mixture.covariances_}.get(kind)
        c = mixture.covariances_[k] if c is None else c
        c = {"full": c, "tied": c, "diag": np.diag(c) if kind == "diag" else c}.get(
            kind, c * np.eye(2)
        )
        error = np.sqrt(np.diag(c) / len(group))
        assert (np.abs(group.mean(0) - mixture.means_[k]) < 4 * error).all()
        spread = np.sqrt((np.outer(np.diag(c), np.diag(c)) + c**2) / len(group))
        assert (np.abs(np.cov(group.T) - c) < 4 * spread).all()


def test_the_model_is_a_density_of_the_package():
    x = rows(dtype=np.float32)
    mixture = GaussianMixture(2, **start("full")).fit(x)
    got = jax.vmap(mixture.model_.log_prob)(jnp.asarray(x))
    np.testing.assert_allclose(got, mixture.score_samples(x), rtol=1e-5, atol=1e-5)


@SETTLED
def test_a_collapse_is_told_and_survived():
    x = np.repeat([[0.0, 0.0], [5.0, 5.0]], 10, axis=0) + 0.0
    with pytest.raises(ValueError, match="component 0 is singular"):
        GaussianMixture(2, reg_covar=0.0, random_state=0).fit(x)
    fine = GaussianMixture(2, reg_covar=1e-6, random_state=0).fit(x)
    assert fine.converged_ and fine.result_ == "successful"
    with pytest.warns(ConvergenceWarning, match="collapsed"):
        late = GaussianMixture(2, reg_covar=0.0, **start("full")).fit(x)
    assert late.result_ == "degenerate" and not late.converged_
    assert all(np.isfinite(getattr(late, name)).all() for name in ATTRIBUTES)


def test_more_starts_are_never_worse_and_the_best_is_kept():
    x = rows()
    scores = []
    for many in (1, 6):
        mixture = GaussianMixture(2, n_init=many, random_state=0, init_params="random", tol=1e-6)
        scores.append(mixture.set_params(max_iter=500).fit(x).lower_bound_)
    assert scores[1] >= scores[0]


def test_nothing_compiles_a_second_time():
    x = rows()
    GaussianMixture(2, random_state=0).fit(x).predict(x)
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: seen.append(name) if "backend_compile" in name else None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        again = GaussianMixture(2, random_state=1, tol=1e-5, max_iter=7, reg_covar=0.1)
        again.fit(x[:200], sample_weight=np.ones(200)).predict(x[:10])
    assert not seen


BAD = [
    ({"n_components": 0}, "n_components"),
    ({"covariance_type": "round"}, "covariance_type"),
    ({"tol": -1}, "tol"),
    ({"reg_covar": np.nan}, "reg_covar"),
    ({"max_iter": 1.5}, "max_iter"),
    ({"n_init": True}, "n_init"),
    ({"init_params": "guess"}, "init_params"),
    ({"n_components": 400}, "n_samples >= n_components"),
    ({"weights_init": [0.5, 0.6]}, "add up to 1"),
    ({"weights_init": [1.0]}, r"shape \(2,\)"),
    ({"means_init": np.zeros((2, 3))}, r"shape \(2, 2\)"),
    ({"precisions_init": np.zeros((2, 2, 2))}, "positive definite"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_bad_parameters_get_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        GaussianMixture(**{"n_components": 2} | options).fit(rows())


def test_bad_rows_and_weights_get_a_sentence():
    x = rows()
    with pytest.raises(NotFittedError):
        GaussianMixture().predict(x)
    with pytest.raises(ValueError, match="infinity"):
        GaussianMixture().fit(np.where(x > 2, np.inf, x))
    for weights, words in (
        (-np.ones(len(x)), r"sample_weight\[0\]"),
        (np.zeros(len(x)), "zero"),
        (np.ones(3), "shape"),
    ):
        with pytest.raises(ValueError, match=words):
            GaussianMixture().fit(x, sample_weight=weights)
        for fitted in (GaussianMixture().fit(x), KMeans(2, random_state=0).fit(x)):
            with pytest.raises(ValueError, match=words):
                fitted.score(x, sample_weight=weights)
    with pytest.raises(ValueError, match="n_samples"):
        GaussianMixture(2, random_state=0).fit(x).sample(0)
    with pytest.raises(ValueError, match="3 features"):
        GaussianMixture().fit(x).predict(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("changed", "columns"), [({"n_components": 3}, 2), ({"covariance_type": "diag"}, 2), ({}, 3)]
)
def test_a_warm_start_from_another_kind_of_fit_is_refused(changed, columns):
    mixture = GaussianMixture(2, covariance_type="tied", warm_start=True, random_state=0)
    mixture.fit(rows()).set_params(**changed)
    with pytest.raises(ValueError, match="last fit, of 2 components of tied covariance over 2"):
        mixture.fit(np.resize(rows(), (30, columns)))
