"""Priors of coefficients against scikit-learn's penalised fits, and in mixtures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

import jaxmix as jm

ROWS, STRENGTH = 200, 20.0
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 2)) * [1, 3] + [0, 2]
ETA = X @ [0.5, 0.2] - 0.5
EXACT = {"tol": 1e-12, "max_iter": 10000}
LABEL = (RNG.random(ROWS)[:, None] < [0.3, 0.6]).sum(1)
LINE = ETA + RNG.normal(size=ROWS)


def binary():
    y = (RNG.random(ROWS) < 1 / (1 + np.exp(-ETA))).astype(int)
    found = linear_model.LogisticRegression(C=1 / STRENGTH, **EXACT).fit(X, y)
    return jm.LogisticRegression.template(2), y, found.coef_[0], found.intercept_[0]


def labels():
    found = linear_model.LogisticRegression(C=1 / STRENGTH, **EXACT).fit(X, LABEL)
    slopes, constants = found.coef_, found.intercept_
    return (
        jm.MultinomialRegression.template(2, 3),
        LABEL,
        slopes[1:] - slopes[0],
        constants[1:] - constants[0],
    )


def counts():
    y = RNG.poisson(np.exp(ETA))
    found = linear_model.PoissonRegressor(alpha=STRENGTH / ROWS, **EXACT).fit(X, y)
    return jm.PoissonRegression.template(2), y, found.coef_, found.intercept_


def lines():
    found = linear_model.Ridge(alpha=STRENGTH, solver="cholesky").fit(X, LINE)
    return jm.LinearRegression.template(2), LINE, found.coef_, found.intercept_


def planes():
    y = np.stack([LINE, 1 - X[:, 0] + RNG.normal(size=ROWS)], 1)
    found = linear_model.Ridge(alpha=STRENGTH, solver="cholesky").fit(X, y)
    return jm.MultivariateLinearRegression.template(2, 2), y, found.coef_, found.intercept_


@pytest.mark.parametrize("case", [binary, labels, counts, lines, planes])
def test_a_ridge_is_that_of_scikit_learn(case, x64):
    template, y, slopes, constants = case()
    prior = jm.em.conjugate_prior(
        template, None, [(type(template), jm.em.Ridge(STRENGTH))], floor=0.0
    )
    model = jm.em.run(template, (jnp.asarray(y), jnp.asarray(X)), prior=prior, tol=1e-14).model
    np.testing.assert_allclose(model.coefficients, slopes, atol=1e-5)
    np.testing.assert_allclose(model.intercept, constants, atol=1e-5)


def log_law(m):
    """The ridges of a stack of linear, and of one of Poisson regressions, with all their terms."""
    square = STRENGTH / 2 * jnp.sum(m.coefficients**2, -1)
    if isinstance(m, jm.PoissonRegression):
        return -jnp.sum(square)
    return -jnp.sum(square / m.scale**2 + 2 * m.log_scale)


@pytest.mark.parametrize("family", [jm.LinearRegression, jm.PoissonRegression])
def test_a_mixture_ends_at_the_mode(family, x64):
    more = (jnp.ones(2),) if family is jm.LinearRegression else ()
    parts = jax.vmap(family)(jnp.array([[0.5, 0.1], [-0.5, 0.2]]), jnp.array([1.0, -0.5]), *more)
    start = jm.MixtureSameFamily(jnp.array([0.6, 0.4]), parts)
    group = RNG.random(ROWS) < 0.4
    eta = np.where(group, 1.5 - X[:, 0], ETA)
    y = eta + 0.3 * RNG.normal(size=ROWS) if more else RNG.poisson(np.exp(eta))
    data = (jnp.asarray(y), jnp.asarray(X))
    prior = jm.em.conjugate_prior(start, data, [(family, jm.em.Ridge(STRENGTH))], floor=0.0)
    found = jm.em.run(start, data, prior=prior, tol=1e-13, max_steps=1000)
    objective = np.asarray(found.history.objective)[: int(found.num_steps)]
    assert np.all(np.diff(objective) > -1e-9)

    @eqx.filter_jit
    def posterior(model):
        return jnp.sum(jax.vmap(model.log_prob)(data)) + log_law(model.components)

    # The objective is the posterior but for a constant.
    rise = posterior(found.model) - posterior(start)
    first = jm.em.priors.prior.log_prior(start, prior) + jnp.sum(jax.vmap(start.log_prob)(data))
    np.testing.assert_allclose(objective[-1] - first, rise, rtol=1e-8)
    slope = eqx.filter_grad(posterior)(found.model)
    assert all(np.max(np.abs(a)) < 1e-3 for a in jax.tree.leaves(slope.components))


@pytest.mark.parametrize("law", ["rows", "events"])
def test_pseudo_rows_pull_towards_the_fit_to_all(law, x64):
    """Rows like the data leave their own fit where it is, and draw that of a few rows to it."""
    template = jm.PoissonRegression.template(2)
    y = jnp.asarray(np.random.default_rng(1).poisson(np.exp(ETA)))
    data, few = (y, jnp.asarray(X)), (y[:20], jnp.asarray(X[:20]))
    made = jm.em.PseudoRows(1e6) if law == "rows" else jm.em.PseudoEvents(data, 1e6)
    prior = jm.em.conjugate_prior(template, data, [(jm.PoissonRegression, made)], floor=0.0)
    whole = jm.em.run(template, data, tol=1e-13).model
    drawn = jm.em.run(template, few, prior=prior, tol=1e-13).model
    np.testing.assert_allclose(drawn.coefficients, whole.coefficients, atol=1e-4)


def test_a_ridge_that_is_none_is_told():
    template = jm.LinearRegression.template(2)
    for strength, words in ((-1.0, "0 or more; it was -1"), (jnp.ones(3), "each of the 2")):
        with pytest.raises(ValueError, match=words):
            jm.em.conjugate_prior(
                template, None, [(jm.LinearRegression, jm.em.Ridge(strength))], floor=0.0
            )
