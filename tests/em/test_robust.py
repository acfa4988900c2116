"""Hard data end in a valid model with an honest code, bad data in a sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxmix as jm

KEY = 7


def fit(x, k=2, dim=2, **options):
    template = jm.gaussian_mixture(k, dim, covariance=options.pop("covariance", "full"))
    options = {"num_restarts": 4, "max_steps": 60} | options
    return jm.fit(jax.random.key(KEY), template, x, **options)


def valid(result):
    arrays = jax.tree.leaves(result.model)
    weights = result.model.weights
    return (
        not any(bool(jnp.isnan(a).any()) for a in arrays)
        and bool(jnp.isfinite(result.log_likelihood))
        and abs(float(weights.sum()) - 1) < 1e-4
    )


def points(seed=0, n=60):
    return np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


HARD = {
    "point masses": np.repeat(np.array([[0.0, 0], [5, 5]], np.float32), 30, 0),
    "duplicates": np.repeat(points(n=5), 12, 0),
    "constant column": np.c_[points()[:, :1], np.full((60, 1), 3, np.float32)],
    "outlier": np.r_[points(n=59), np.full((1, 2), 1e6, np.float32)],
    "one row many times": np.ones((60, 2), np.float32),
}


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("name", HARD)
def test_hard_data_end_in_a_valid_model(name, covariance):
    result = fit(HARD[name], covariance=covariance)
    assert valid(result)
    if name in ("point masses", "constant column", "one row many times"):
        assert bool(result.result == jm.RESULTS.degenerate)


def test_more_components_than_rows():
    result = fit(points(n=60)[:3].repeat(1, 0), k=5)
    assert valid(result)
    # Either a component sits on a point, and that is told, or all of them are wide.
    least = np.linalg.eigvalsh(np.asarray(result.model.components.covariance))[:, 0].min()
    assert bool(result.result == jm.RESULTS.degenerate) or least > 1e-3


def test_collapsed_restarts_rank_below_clean_ones():
    x = np.r_[points(n=58), np.full((2, 2), 9.0, np.float32)]
    result = fit(x, num_restarts=8)
    codes = np.array(result.restarts.result)
    if (codes != "degenerate").any():
        assert bool(result.result != jm.RESULTS.degenerate)


BAD = {
    "nan": (lambda x: np.where(np.arange(60)[:, None] == 7, np.nan, x), "row 7"),
    "inf": (lambda x: np.where(np.arange(60)[:, None] == 3, np.inf, x), "row 3"),
    "wrong dimension": (lambda x: np.c_[x, x], "dimension 2"),
    "no row axis": (lambda x: np.float32(1.0), "leading axis"),
    "flat": (lambda x: x[:, 0], "dimension 2"),
    "empty": (lambda x: x[:0], "0 rows"),
    "text": (lambda x: np.array([["a", "b"]] * 5), "numeric"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_get_a_sentence(name):
    spoil, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        fit(np.asarray(spoil(points()), np.float32) if name != "text" else spoil(None))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-np.ones(60), r"weights\[0\]"),
        (np.zeros(60), "All weights are 0"),
        (np.ones(59), "shape"),
        (np.full(60, np.nan), r"weights\[0\]"),
    ],
)
def test_bad_weights_get_a_sentence(weights, words):
    with pytest.raises(ValueError, match=words):
        fit(points(), weights=weights)


def test_integers_are_numbers():
    x = np.random.default_rng(0).integers(0, 50, (80, 2))
    assert valid(fit(x))


def test_doubles_are_rounded_with_a_notice():
    with pytest.warns(UserWarning, match="rounded to float32"):
        fit(points().astype(np.float64) + 1e6)


def test_off_support_rows_are_named():
    x = jnp.array([1.0, 2.0, -3.0, 0.5])
    with pytest.raises(ValueError, match="Row 2"):
        jm.fit(jax.random.key(0), jm.mixture_of(jm.LogNormal.template(), 2), x, num_restarts=2)


def test_options_are_checked():
    x = points()
    template = jm.gaussian_mixture(2, 2)
    for options, words in (
        ({"init": "guess"}, "init"),
        ({"assignment": "firm"}, "assignment"),
        ({"num_restarts": 0}, "num_restarts"),
    ):
        with pytest.raises(ValueError, match=words):
            jm.fit(jax.random.key(0), template, x, **options)
    with pytest.raises(ValueError, match="key"):
        jm.fit(None, template, x)
    with pytest.raises(RuntimeError, match="max_steps"):
        jm.fit(jax.random.key(0), template, x, max_steps=1, tol=None, num_restarts=2, throw=True)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.tuples(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32)),
        min_size=24,
        max_size=24,
    )
)
def test_any_finite_data_end_in_a_valid_model(rows):
    result = fit(np.array(rows, np.float32), covariance="diag", num_restarts=2, max_steps=50)
    assert valid(result)
