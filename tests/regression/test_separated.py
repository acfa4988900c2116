"""Covariates that foretell responses for certain: the maximum is at infinity, told, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

ROWS = 200
RNG = np.random.default_rng(0)
X, FEW = RNG.normal(size=(ROWS, 2)), RNG.random(ROWS) < 0.1
ODDS = 1 / (1 + np.exp(-2 * X[:, 0]))
YES = X[:, 0] > -0.3
NEAR = YES ^ np.isin(np.arange(ROWS), np.argsort(np.abs(X[:, 0] + 0.3))[[0, 1, 2, 3, 20]])
HALF, CELL = RNG.random(ROWS) < ODDS, np.stack([X[:, 0], FEW], 1)
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0] + 1))
ran = jax.jit(lambda model, data: jm.em.run(model, data))
found = jax.jit(lambda model, data: jm.em.standard_errors(model, data))
LOGISTIC, POISSON = jm.LogisticRegression.template(2), jm.PoissonRegression.template(2)


def of(y, x):
    return jnp.asarray(y, int), jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize(
    ("template", "y", "x", "named"),
    [
        (LOGISTIC, YES, X, [".coefficients[0]", ".intercept"]),
        (LOGISTIC, HALF | FEW, CELL, [".coefficients[1]"]),
        (LOGISTIC, NEAR, X, []),
        (POISSON, np.where(FEW, 0, COUNTS), CELL, [".coefficients[1]"]),
        (POISSON, COUNTS, CELL, []),
    ],
)
def test_a_maximum_at_infinity_is_told_and_named(template, y, x, named):
    import statsmodels.api as sm

    solution, data = ran(template, of(y, x)), of(y, x)
    drifts = bool(solution.result == jm.RESULTS.drifting)
    assert drifts == bool(named)
    assert drifts or bool(solution.result == jm.RESULTS.successful)
    errors = found(solution.model, data)
    assert errors.at_boundary == named
    if len(named) != 1:
        return
    # The others have the errors that they have among the rows which are not foretold.
    family = sm.families.Poisson() if template is POISSON else sm.families.Binomial()
    inside = sm.GLM(y[~FEW], sm.add_constant(X[~FEW, :1]), family=family).fit()
    own = [errors.intercept, errors.coefficients[0]]
    np.testing.assert_allclose(own, inside.bse, rtol=1e-3)


def test_gates_labels_and_shapes_run_to_infinity_too():
    labels = np.where(FEW, 2, RNG.integers(0, 3, ROWS))
    template = jm.MultinomialRegression.template(2, 3)
    assert ran(template, of(labels, CELL)).result == jm.RESULTS.drifting
    parts = jax.vmap(jm.Normal)(jnp.array([-5.0, 5.0]), jnp.ones(2))
    gate = jm.Gated(jm.MultinomialRegression.template(2, 2), parts, experts=False)
    y = np.where(YES, 5, -5) + X[:, 1]
    assert ran(gate, (jnp.asarray(y, jnp.float32), of(y, X)[1])).result == jm.RESULTS.drifting
    counts = ran(jm.NegativeBinomialRegression.template(2), of(COUNTS, X))
    assert counts.result == jm.RESULTS.drifting


def test_covariates_far_from_0_are_the_same_fit():
    """By what the rounded covariates themselves tell NumPy's least squares."""
    away = 1e4
    x = jnp.asarray(X[:, :1] + away, jnp.float32)
    own = np.asarray(x, float)[:, 0] - away
    y = 2 * own + RNG.normal(size=ROWS)
    solution = ran(jm.LinearRegression.template(1), (jnp.asarray(y, jnp.float32), x))
    assert solution.result == jm.RESULTS.successful
    slope, _ = np.polyfit(own, y, 1)
    np.testing.assert_allclose(solution.model.coefficients, [slope], rtol=1e-4)
