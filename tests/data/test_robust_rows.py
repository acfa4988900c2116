"""Rows that can't be used are named before any step; rows that are merely odd are fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

TEMPLATE = jm.mixture_of(
    jm.Composite(
        {
            "size": jm.Optional(jm.Normal.template()),
            "count": jm.Poisson.template(),
            "kind": jm.Categorical.template(labels=("u", "v")),
            "path": jm.Sequence.template(jm.Normal.template(), jm.Poisson.template(), max_length=3),
        }
    ),
    2,
)
GOOD = {"size": 0.5, "count": 3, "kind": "u", "path": [0.1, 0.2]}
PAIR = jm.Composite((jm.Normal.template(), jm.Poisson.template()))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"size": "tall"}, r"Row 2, field size: 'tall' was given, a number was expected"),
        ({"count": -1}, r"Row 2, field count: -1 was given, a whole number from 0 up was expected"),
        ({"count": 2.5}, r"Row 2, field count: 2.5 was given, a whole number"),
        ({"count": None}, r"Row 2, field count: a missing value was given.*jm\.Optional"),
        (
            {"count": 2**40},
            r"Row 2, field count: 1099511627776 was given, a whole number below 2\^31",
        ),
        ({"kind": "w"}, r"Row 2, field kind: 'w' was given, one of the labels 'u', 'v'"),
        ({"kind": ["u"]}, r"Row 2, field kind: \['u'\] was given, one of the labels"),
        ({"path": [1.0] * 4}, r"Row 2, field path: .*4 items.* at most 3 items \(max_length\)"),
        ({"path": None}, r"Row 2, field path: a missing value was given"),
        ({"path": [0.1, "x"]}, r"Row 2, field path\.items: 'x' was given, a number"),
    ],
)
def test_a_bad_value_is_named(bad, words):
    with pytest.raises(ValueError, match=words):
        jm.encode(TEMPLATE, [GOOD, GOOD, GOOD | bad, GOOD])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0.5, 1), (0.5, 1, 2)], r"Row 1: \(0\.5, 1, 2\) was given, a tuple of 2 fields"),
        ([(0.5, 1), (0.5,)], r"Row 1: \(0\.5,\) was given, a tuple of 2 fields"),
        ([(0.5, 1), "ab"], r"Row 1: 'ab' was given, a tuple of 2 fields"),
        ([(0.5, 1), 7], r"Row 1: 7 was given, a tuple of 2 fields"),
    ],
)
def test_a_row_of_the_wrong_arity_is_named(rows, words):
    with pytest.raises(ValueError, match=words):
        jm.encode(PAIR, rows)


def test_digits_that_float32_loses_are_told():
    seconds = 1.7e9 + np.arange(100.0)
    with pytest.warns(UserWarning, match="field when: .*standard deviations.*Centre"):
        jm.encode(jm.Composite({"when": jm.Normal.template()}), {"when": seconds})
    with jax.enable_x64(True):
        events = jm.encode(jm.Composite({"when": jm.Normal.template()}), {"when": seconds})
    assert events["when"].dtype == np.float64


def test_a_field_that_no_row_has_and_sequences_that_are_empty_are_fitted():
    rows = [{"size": None, "count": c, "kind": "u", "path": []} for c in (0, 1, 0, 9, 8, 9)]
    fit = jm.fit(jax.random.key(0), TEMPLATE, jm.encode(TEMPLATE, rows), num_restarts=8)
    assert np.isfinite(fit.log_likelihood)
    # What no row tells of costs nothing: the counts alone are left, and lengths and kinds are sure.
    counts = jm.fit(
        jax.random.key(0), jm.mixture_of(jm.Poisson.template(), 2),
        jnp.array([row["count"] for row in rows]), num_restarts=4,
    )  # fmt: skip
    assert abs(fit.log_likelihood - counts.log_likelihood) < 1e-3
    for leaf in jax.tree.leaves(fit.model):
        assert not np.isnan(leaf).any()


def test_a_table_of_one_row_is_fitted_and_called_degenerate():
    data = jm.encode(PAIR, [(0.5, 3)])
    fit = jm.fit(jax.random.key(0), jm.mixture_of(PAIR, 2), data, num_restarts=2)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(fit.model))
    assert bool(fit.result == jm.RESULTS.degenerate)
