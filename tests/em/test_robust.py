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


@pytest.mark.parametrize("rows", [5, 3], ids=["as many as rows", "more than rows"])
def test_as_many_components_as_rows_or_more(rows):
    # Rows of weight 0 are no rows; one compilation serves both.
    weights = (np.arange(5) < rows).astype(np.float32)
    result = fit(points(n=60)[:5], k=5, weights=weights)
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
    "wrong dimension": (lambda x: np.c_[x, x], r"has shape \(2,\); shape \(4,\)"),
    "no row axis": (lambda x: np.float32(1.0), "leading axis"),
    "flat": (lambda x: x[:, 0], r"has shape \(2,\); shape \(\)"),
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
    with pytest.raises(ValueError, match="history_size"):
        jm.em.run(jm.Normal(0.0, 1.0), jnp.asarray(x[:, 0]), history_size=0)
    with pytest.raises(RuntimeError, match="max_steps"):
        jm.fit(jax.random.key(0), template, x, max_steps=1, tol=None, num_restarts=2, throw=True)


NUMBERS = st.one_of(
    st.floats(-1e4, 1e4, width=32),
    st.integers(-3, 3).map(float),  # duplicates, constant columns, rows in a line
    st.sampled_from([0.0, 1e6, -1e6, 1e-6]),  # outliers, and spreads far below them
)
SETTINGS = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@SETTINGS
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=24, max_size=24),
    weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=24, max_size=24),
)
def test_any_finite_data_end_in_a_valid_model(covariance, rows, weights):
    weights = np.array(weights, np.float32)
    weights[0] = 1
    x = np.array(rows, np.float32)
    result = fit(x, covariance=covariance, weights=weights, num_restarts=2, max_steps=50)
    assert valid(result)
    # What the steps optimise never falls, but for rounding of float32.
    trace = np.asarray(result.history.objective)[: result.num_steps]
    assert not np.isnan(trace).any()
    # A floor of 1e-9 of the variance lies below the rounding of a singular matrix in float32, whose
    # log-determinant is told to mean nothing. Doubles have 7 digits there (see below).
    if covariance in ("diag", "spherical") or bool(result.result != jm.RESULTS.degenerate):
        assert (np.diff(trace) >= -1e-4 * np.abs(trace).max(initial=1)).all()
    # A component on one point is told, and a clean restart goes before such a one.
    codes = list(result.restarts.result)
    if bool(result.result == jm.RESULTS.degenerate):
        assert set(codes) <= {"degenerate", "nonfinite"}
    if bool(result.result == jm.RESULTS.successful):
        # In units of the columns' own spread, in which floors are.
        scale = np.average((x - np.average(x, 0, weights)) ** 2, 0, weights) ** 0.5
        white = np.asarray(result.model.components.covariance) / scale[:, None] / scale
        assert np.linalg.eigvalsh(white).min() > 1e-10


LEVELS = {  # where float32 falls by as much as 6 nats
    "few rows": [[-1e6, 1], [-1e6, 2], [-2389, 0], [0, 9137], [2, -9421]],
    "a line": [[-1e6, -7803], [-1e6, -3], [-1e6, 3935], [-9033, 1], [3, 3360], [1e6, -3993]],
    "three rows": [[3, -1], [43, -1e6], [1e6, -9211]],
}


@pytest.mark.parametrize("name", LEVELS)
def test_a_step_onto_a_floor_climbs_in_doubles(name, x64):
    """Two components that collapse: floor, its prior density and the M-step are of one objective."""
    points = np.resize(np.array(LEVELS[name], float), (24, 2))
    start = jm.MixtureSameFamily(
        jnp.array([0.5, 0.5]),
        jax.vmap(jm.MultivariateNormal)(
            jnp.asarray(points[:2]),
            jnp.broadcast_to(jnp.diag(1e-3 * jnp.var(points, 0)), (2, 2, 2)),
        ),
    )
    got = jm.em.run(start, jnp.asarray(points), max_steps=50, history_size=50)
    trace = np.asarray(got.history.objective)[: int(got.num_steps)]
    assert len(trace) > 1 and bool(got.result == jm.RESULTS.degenerate)
    assert (np.diff(trace) >= -1e-6 * np.abs(trace).max()).all()


@SETTINGS
@given(
    rows=st.lists(
        st.tuples(st.none() | NUMBERS, st.sampled_from("abc"), st.integers(0, 10**6)),
        min_size=20,
        max_size=20,
    )
)
def test_any_records_end_in_a_valid_model(rows):
    """Columns all missing, of one label, of one count or of counts up to a million."""
    record = jm.Composite(
        (
            jm.Optional(jm.Normal.template()),
            jm.Categorical.template(labels=tuple("abc")),
            jm.Poisson.template(),
        )
    )
    template = jm.mixture_of(record, 2)
    result = jm.fit(
        jax.random.key(KEY), template, jm.encode(template, rows), num_restarts=2, max_steps=30
    )
    assert valid(result)
