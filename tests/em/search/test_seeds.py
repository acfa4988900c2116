"""Rows that components start from: what changes nothing, what counts double, and what is absurd."""

import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans

from jaxmix._k_means import lloyd, plus_plus
from jaxmix.em.search.seeds import seeds

ROWS, SIZE, MANY = 60, 3, 8


def table(missing=0.0, rows=ROWS):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)) * [1, 2, 3, 4] + 4 * rng.integers(0, 3, (rows, 1))
    return np.where(rng.random(x.shape) < missing, np.nan, x)


def shares(x, weights=None, size=SIZE):
    return seeds(jax.random.key(1), x, size, MANY, weights).share


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_units_shifts_and_the_order_of_columns_change_nothing(missing):
    """Equivariance."""
    x = table(missing)
    here = shares(x)
    assert len({share.tobytes() for share in here}) == MANY
    np.testing.assert_array_equal(shares(x * [1e-3, 1, 1e4, 7] + [5, -3, 1e5, 0]), here)
    np.testing.assert_array_equal(shares(x[:, [2, 0, 3, 1]]), here)
    order = np.random.default_rng(1).permutation(ROWS)
    np.testing.assert_array_equal(shares(x[order]), here[:, order])


def test_a_row_of_weight_two_is_the_same_row_twice():
    """Of weight 0 it is none, and weights in other units are the same weights."""
    x, weights = table(), np.random.default_rng(2).integers(0, 3, ROWS)
    here = shares(x, weights)
    assert not here[:, weights == 0].any()
    np.testing.assert_allclose(shares(x, 1e6 * weights), here, rtol=1e-6)
    several = shares(np.repeat(x, weights, axis=0))
    totals = [share.sum(1) / share.sum((1, 2))[:, None] for share in (here, several)]
    np.testing.assert_allclose(*totals, rtol=1e-5)
    rows = lambda data, share: np.einsum("mnk,nd->mkd", share, data) / share.sum(1)[..., None]
    np.testing.assert_allclose(
        rows(x, here), rows(np.repeat(x, weights, axis=0), several), rtol=1e-4
    )


@pytest.mark.parametrize(
    "x", [np.ones((10, 2)), np.arange(2.0), np.ones((1, 1)), np.full((5, 2), np.nan)]
)
def test_fewer_rows_that_differ_than_components(x):
    share = shares(x, size=4)
    assert np.isfinite(share).all() and (share.sum((1, 2)) > 0).all()


def test_more_rows_than_are_looked_at_are_drawn_by_weight():
    """The share of draws on the first half is 0.9, within four standard errors."""
    rows = 10_000
    weights = np.where(np.arange(rows) < rows // 2, 9.0, 1.0)
    found = seeds(jax.random.key(0), {"a": np.zeros(rows, int)}, 2, 4, weights)
    assert found.rows is not None and found.share.shape == (4, 2048, 2)
    first = np.mean(found.rows < rows // 2)
    assert abs(first - 0.9) < 4 * np.sqrt(0.09 / found.rows.size)


def test_second_seeds_fall_by_squared_distance():
    """From the seed at 0, the rows at 1, 2, 3 are drawn in the ratio 1 : 4 : 9."""
    many = 20_000
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    random = np.random.default_rng(0)
    drawn = plus_plus(x[None], 2, np.ones((1, 4)), random, many=many, trials=1)
    second = drawn[drawn[:, 0] == 0, 1]
    assert abs(np.mean(drawn[:, 0] == 0) - 1 / 4) < 4 * np.sqrt(3 / 16 / many)
    for row in (1, 2, 3):
        share = row**2 / 14
        error = np.sqrt(share * (1 - share) / len(second))
        assert abs(np.mean(second == row) - share) < 4 * error


def test_every_lane_ends_where_scikit_learn_does():
    x, rng = table(rows=200), np.random.default_rng(3)
    starts = np.stack([x[rng.choice(200, 5, replace=False)] for _ in range(4)])
    weights = rng.integers(1, 4, 200).astype(float)
    found = lloyd(x[None], starts, weights[None])
    for centres, labels, start in zip(found.centres, found.labels, starts, strict=True):
        theirs = KMeans(5, init=start, n_init=1, tol=0, algorithm="lloyd").fit(
            x, sample_weight=weights
        )
        np.testing.assert_allclose(centres, theirs.cluster_centers_, rtol=1e-9)
        np.testing.assert_array_equal(labels, theirs.labels_)


def test_k_means_rests_on_what_rows_show():
    """At its end each row is nearest to its centre, and each centre the mean, of what is seen."""
    x = table(missing=0.3, rows=100)
    start = np.where(np.isnan(x[:3]), 0, x[:3])
    found = lloyd(x[None], start[None], np.ones((1, 100)))
    centres, labels = found.centres[0], found.labels[0]
    apart = np.nansum((x[:, None] - centres) ** 2, axis=-1)
    np.testing.assert_array_equal(labels, apart.argmin(1))
    for k in range(3):
        np.testing.assert_allclose(centres[k], np.nanmean(x[labels == k], axis=0), rtol=1e-9)
