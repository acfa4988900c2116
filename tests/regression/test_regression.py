"""Regressions against statsmodels, and against the same likelihood climbed by a direct optimiser."""

import functools
import re
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import statsmodels.api as sm

import jaxmix as jm

ROWS = 300


@functools.cache
def covariates():
    """Three covariates in units and places of their own, and a linear predictor of them."""
    x = np.random.default_rng(0).normal(size=(ROWS, 3)) * [1, 10, 0.1] + [0, 5, 2]
    return x, x @ [0.5, 0.05, 3.0] - 6.5


@functools.cache
def drawn(name):
    """A response of each kind, and statsmodels' fit of it."""
    with warnings.catch_warnings():  # of the reference's own optimiser, which is at its optimum
        warnings.simplefilter("ignore")
        return _drawn(name)


def _drawn(name):
    x, eta = covariates()
    rng, design = np.random.default_rng(1), sm.add_constant(x, prepend=False)
    if name == "linear":
        return (y := eta + 0.7 * rng.normal(size=ROWS)), sm.OLS(y, design).fit()
    if name == "logistic":
        y = (rng.random(ROWS) < 1 / (1 + np.exp(-eta))).astype(int)
        return y, sm.Logit(y, design).fit(disp=0, tol=1e-14)
    if name == "poisson":
        y = rng.poisson(np.exp(eta + 3))
        return y, sm.GLM(y, design, family=sm.families.Poisson()).fit(tol=1e-14)
    if name == "gamma":
        y = rng.gamma(2.0, np.exp(eta) / 2)
        family = sm.families.Gamma(sm.families.links.Log())
        return y, sm.GLM(y, design, family=family).fit(tol=1e-14)
    if name == "negative binomial":
        y = rng.negative_binomial(2, 1 / (1 + np.exp(eta + 2) / 2))
        return y, sm.NegativeBinomial(y, design).fit(disp=0, gtol=1e-10, maxiter=500)
    odds = np.exp(np.c_[0 * eta, eta / 2, 1 - 0.3 * eta])
    y = np.array([rng.choice(3, p=p) for p in odds / odds.sum(1, keepdims=True)])
    return y, sm.MNLogit(y, design).fit(disp=0, tol=1e-14, method="newton")


FAMILIES = {
    "linear": lambda: jm.LinearRegression.template(3),
    "logistic": lambda: jm.LogisticRegression.template(3),
    "poisson": lambda: jm.PoissonRegression.template(3),
    "gamma": lambda: jm.GammaRegression.template(3),
    "negative binomial": lambda: jm.NegativeBinomialRegression.template(3),
    "multinomial": lambda: jm.MultinomialRegression.template(3, 3),
}


def flat(model):
    both = [np.atleast_2d(model.coefficients).T, np.atleast_2d(model.intercept)]
    return np.concatenate(both).squeeze()


@pytest.mark.parametrize("name", FAMILIES)
def test_coefficients_log_likelihood_and_errors_are_those_of_statsmodels(name, x64):
    y, reference = drawn(name)
    data = (jnp.asarray(y), jnp.asarray(covariates()[0]))
    solution = jm.em.run(FAMILIES[name](), data, tol=1e-13, max_steps=100)
    model, shapes = solution.model, len(getattr(FAMILIES[name](), "shapes", ()))
    assert bool(solution.result == jm.RESULTS.successful)
    wanted = np.asarray(reference.params)[: 4 if shapes else None]
    np.testing.assert_allclose(flat(model), wanted, rtol=1e-6, atol=1e-7)
    if name != "gamma":  # there statsmodels holds the shape at its moment estimate
        np.testing.assert_allclose(solution.log_likelihood, reference.llf, rtol=1e-10)
        errors = jm.em.standard_errors(model, data)
        unbiased = (ROWS / (ROWS - 4)) ** 0.5 if name == "linear" else 1
        wanted = np.asarray(reference.bse)[: 4 if shapes else None]
        np.testing.assert_allclose(flat(errors) * unbiased, wanted, rtol=1e-5)


def test_the_shape_of_a_gamma_is_at_its_maximum(x64):
    y, _ = drawn("gamma")
    data = (jnp.asarray(y), jnp.asarray(covariates()[0]))
    model = jm.em.run(FAMILIES["gamma"](), data, tol=1e-13).model
    total = eqx.filter_jit(lambda m: jnp.sum(jax.vmap(m.log_prob)(data)))
    slope = eqx.filter_grad(total)(model)
    # Of 300 rows the slope of the total is rounding alone.
    assert all(np.max(np.abs(a)) < 1e-4 for a in jax.tree.leaves(slope))


def test_several_responses_are_one_regression_each_and_a_covariance(x64):
    x, eta = covariates()
    y = np.stack([eta, -2 * eta + 1], 1) + np.random.default_rng(2).normal(size=(ROWS, 2))
    template = jm.MultivariateLinearRegression.template(3, 2)
    model = jm.em.run(template, (jnp.asarray(y), jnp.asarray(x))).model
    design = sm.add_constant(x, prepend=False)
    solved, *_ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(model.origin, solved.T, rtol=1e-8)
    rest = y - design @ solved
    np.testing.assert_allclose(model.covariance, rest.T @ rest / ROWS, rtol=1e-8)


def test_weights_are_rows_counted_so_often(x64):
    x, _ = covariates()
    y, _ = drawn("poisson")
    often = np.random.default_rng(3).integers(0, 3, ROWS)
    run = lambda y, x, w: jm.em.run(
        FAMILIES["poisson"](), (jnp.asarray(y), jnp.asarray(x)), weights=w, tol=1e-13
    )
    weighed = run(y, x, jnp.asarray(often, float))
    repeated = run(np.repeat(y, often), np.repeat(x, often, 0), None)
    np.testing.assert_allclose(flat(weighed.model), flat(repeated.model), rtol=1e-8)


def test_an_offset_is_a_coefficient_held_at_one(x64):
    x, _ = covariates()
    y, _ = drawn("poisson")
    exposure = np.random.default_rng(4).uniform(0.5, 2, ROWS)
    design = sm.add_constant(x, prepend=False)
    reference = sm.GLM(y, design, family=sm.families.Poisson(), offset=np.log(exposure)).fit()
    data = tuple(map(jnp.asarray, (y, x, np.log(exposure))))
    model = jm.em.run(jm.PoissonRegression.template(3, offset=True), data, tol=1e-13).model
    np.testing.assert_allclose(flat(model), reference.params, rtol=1e-6)


def test_float32_refines_itself_in_units_far_from_one():
    """Years near 2000 and a column of 1e-4: least squares about the coefficients before."""
    rng = np.random.default_rng(5)
    x = np.stack([rng.integers(1990, 2020, ROWS), 1e-4 * rng.normal(size=ROWS)], 1)
    y = 0.3 * (x[:, 0] - 2005) + 5e4 * x[:, 1] + rng.normal(size=ROWS)
    solved, *_ = np.linalg.lstsq(sm.add_constant(x, prepend=False), y, rcond=None)
    data = (jnp.asarray(y, jnp.float32), jnp.asarray(x, jnp.float32))
    model = jm.em.run(jm.LinearRegression.template(2), data, tol=None, max_steps=10).model
    np.testing.assert_allclose(model.coefficients, solved[:2], rtol=2e-3)


def two_experts():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(400, 1))
    first = rng.random(400) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(first, 1 + 2 * x[:, 0], -1 - x[:, 0]) + 0.4 * rng.normal(size=400)
    gate = jm.MultinomialRegression(jnp.array([[-1.0]]), jnp.zeros(1))
    lines = jax.vmap(jm.LinearRegression)(
        jnp.array([[1.0], [-0.5]]), jnp.array([0.5, -0.5]), jnp.ones(2)
    )
    return jm.Gated(gate, lines), (jnp.asarray(y), jnp.asarray(x))


def test_two_experts_end_where_a_direct_optimiser_does(x64):
    model, data = two_experts()
    fitted = jm.em.run(model, data, tol=1e-12, max_steps=500)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    vector, unravel = jax.flatten_util.ravel_pytree(arrays)
    loss = lambda v: -jnp.sum(jax.vmap(eqx.combine(unravel(v), rest).log_prob)(data))
    found = scipy.optimize.minimize(jax.jit(jax.value_and_grad(loss)), vector, jac=True)
    np.testing.assert_allclose(fitted.log_likelihood, -found.fun, atol=1e-4 * 400 / 100)
    best = eqx.combine(unravel(jnp.asarray(found.x)), rest)
    np.testing.assert_allclose(
        fitted.model.mixing.coefficients, best.mixing.coefficients, atol=1e-3
    )
    np.testing.assert_allclose(
        fitted.model.components.coefficients, best.components.coefficients, atol=1e-4
    )


def test_a_gate_without_covariates_is_a_mixture(x64):
    parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 2.0]), jnp.ones(2))
    gate = jm.MultinomialRegression(jnp.zeros((1, 0)), jnp.zeros(1))
    y = jnp.asarray(np.random.default_rng(7).normal(size=60) * 2)
    gated = jm.em.run(jm.Gated(gate, parts, experts=False), (y, jnp.zeros((60, 0))), tol=1e-12)
    plain = jm.em.run(jm.MixtureSameFamily(jnp.ones(2) / 2, parts), y, tol=1e-12)
    np.testing.assert_allclose(gated.log_likelihood, plain.log_likelihood, rtol=1e-9)


def test_a_missing_response_says_nothing_and_is_filled_in_by_its_mean():
    line = jm.LinearRegression(jnp.array([2.0]), 1.0, 0.5)
    model = jm.Regression(line, response="y", given=["x"])
    row = {"y": jm.OptionalEvent(jnp.array(0.0), jnp.array(False)), "x": jnp.array(3.0)}
    assert float(model.log_prob(row)) == 0
    assert float(model.impute(row)["y"]) == 7
    mixture = jm.mixture_of(model, 2)
    assert float(mixture.impute(row)["y"]) == 7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jm.LogisticRegression.template(2).log_prob(jnp.zeros(3)), "(y, x)"),
        (lambda: jm.LinearRegression.template(2).log_prob((jnp.array(0.0), jnp.zeros(3))), "2 cov"),
        (
            lambda: jm.PoissonRegression.template(2).log_prob((jnp.zeros(5), jnp.zeros((5, 2)))),
            "jax.vmap",
        ),
        (
            lambda: jm.Regression(jm.LinearRegression.template(1), response="y", given="x"),
            "list of names",
        ),
        (
            lambda: jm.Regression(
                jm.LinearRegression.template(1), response="y", given=["z"]
            ).log_prob({"y": jnp.array(0.0), "x": jnp.array(0.0)}),
            "'z'",
        ),
        (lambda: jm.Gated.template(jm.Normal.template(), 2, 1).weights, "weights_given"),
    ],
)
def test_what_means_nothing_is_told(call, words):
    with pytest.raises((ValueError, AttributeError), match=re.escape(words)):
        call()
