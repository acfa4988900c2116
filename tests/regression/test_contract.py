"""What every regression keeps: its densities, its statistics by chunks, its dtypes, its file."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em import expected as passes

ROWS = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 2))


class Case(NamedTuple):
    """`make` gives one density from three numbers near 0; `off` is off its support."""

    name: str
    make: Callable[..., Any]
    y: np.ndarray
    off: Any = None


def line(a, b, c):
    return jnp.stack([a, b]), c


CASES = [
    Case("linear", lambda a, b, c: jm.LinearRegression(*line(a, b, c), jnp.exp(c)), X[:, 0] + 1),
    Case(
        "several",
        lambda a, b, c: jm.MultivariateLinearRegression(
            jnp.stack([jnp.stack([a, b]), jnp.stack([c, a])]),
            jnp.stack([b, c]),
            jnp.array([[2.0, 0.5], [0.5, 1.0]]),
        ),
        X + 1,
    ),
    Case("logistic", lambda *n: jm.LogisticRegression(*line(*n)), RNG.integers(0, 2, ROWS), 2),
    Case(
        "multinomial",
        lambda a, b, c: jm.MultinomialRegression(
            jnp.stack([jnp.stack([a, b]), jnp.stack([c, a])]), jnp.stack([b, c])
        ),
        RNG.integers(0, 3, ROWS),
        3,
    ),
    Case("poisson", lambda *n: jm.PoissonRegression(*line(*n)), RNG.poisson(2, ROWS), -1),
    Case("gamma", lambda *n: jm.GammaRegression(*line(*n), 2.0), RNG.gamma(2, 1, ROWS), -1.0),
    Case(
        "negative binomial",
        lambda *n: jm.NegativeBinomialRegression(*line(*n), 2.0),
        RNG.negative_binomial(2, 0.4, ROWS),
        0.5,
    ),
]


def mixture(case):
    numbers = [jnp.array(v) for v in ([0.2, -0.4], [0.5, 0.1], [-0.3, 0.6])]
    parts = jax.vmap(case.make)(*numbers)
    return jm.MixtureSameFamily(jnp.array([0.3, 0.7]), parts), (jnp.asarray(case.y), jnp.asarray(X))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_family_at_its_covariates(case, x64, tmp_path):
    one = case.make(jnp.array(0.2), jnp.array(0.5), jnp.array(-0.3))
    data = jnp.asarray(case.y), jnp.asarray(X)
    off = data[0][0] if case.off is None else jnp.asarray(case.off)
    both = eqx.filter_jit(
        lambda one, data, off: (
            jax.vmap(one.log_prob)(data),
            jax.vmap(lambda y, x: one.given(x).log_prob(y))(*data),
            one.log_prob((off, data[1][0])),
        )
    )
    found, wanted, outside = both(one, data, off)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    assert case.off is None or outside == -np.inf
    narrow = lambda tree: jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, tree
    )
    single = both(narrow(one), narrow(data), narrow(off))[0]
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, wanted, rtol=1e-4, atol=1e-5)
    jm.save(tmp_path / "one.npz", one)
    assert eqx.tree_equal(jm.load(tmp_path / "one.npz"), one)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whole_chunks_are_the_tilted_gradient(case, x64, monkeypatch):
    """Statistics by matrix products, and those by differentiation of each row."""
    model, data = mixture(case)
    weights = np.random.default_rng(1).uniform(0, 2, ROWS)
    weights[::5] = 0
    expect = lambda *args: passes.expect(*args, chunk_size=16)
    by_chunk = jax.jit(expect)(model, data, jnp.asarray(weights))
    unasked = [None] * len(passes.take_apart(model).leaves)
    monkeypatch.setattr(passes, "events_asked", lambda *_: unasked)
    by_row = jax.jit(lambda *args: expect(*args))(model, data, jnp.asarray(weights))
    for a, b in zip(jax.tree.leaves(by_chunk), jax.tree.leaves(by_row), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_an_unconstrained_entrance_gives_the_same_density():
    ours, number = (jnp.array([0.4, -2.0]), 0.7), jnp.float32(1.7)
    for family, name in [
        (jm.LinearRegression, "scale"),
        (jm.GammaRegression, "shape"),
        (jm.NegativeBinomialRegression, "successes"),
    ]:
        log = {f"log_{name}": jnp.log(number)}
        chex.assert_trees_all_close(family(*ours, **log), family(*ours, number), rtol=1e-6)
        with pytest.raises(TypeError, match=f"one of {name} and log_{name}.* both"):
            family(*ours, number, **log)
    covariance, place = jnp.array([[2.0, 0.3], [0.3, 0.5]]), (jnp.ones((2, 1)), jnp.zeros(2))
    right = jm.MultivariateLinearRegression(*place, covariance)
    for form, matrix in [
        ("scale_tril", jnp.linalg.cholesky(covariance)),
        ("precision", jnp.linalg.inv(covariance)),
        ("factor", right.factor),
    ]:
        got = jm.MultivariateLinearRegression(*place, **{form: matrix})
        chex.assert_trees_all_close(got, right, rtol=1e-5)
