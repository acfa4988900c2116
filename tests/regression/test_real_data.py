"""Switching regressions against statsmodels, and mixtures of regressions climbed directly, on real data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import statsmodels.api as sm

import jaxmix as jm


def climbed(model, total):
    """The greatest total log-likelihood that a direct optimiser finds from a model."""
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    vector, unravel = jax.flatten_util.ravel_pytree(arrays)
    loss = lambda v: -total(eqx.combine(unravel(v), rest))
    found = scipy.optimize.minimize(
        jax.jit(jax.value_and_grad(loss)), vector, jac=True, method="BFGS"
    )
    return -found.fun


def test_a_switching_regression_is_that_of_statsmodels(x64):
    """Inflation on the rate of treasury bills, quarters of 1959 to 2009: two regimes, one variance."""
    table = sm.datasets.macrodata.load_pandas().data
    y, x = table.infl.to_numpy(), table.tbilrate.to_numpy()
    model = sm.tsa.MarkovRegression(y, k_regimes=2, exog=x)
    begin = np.array([0.9, 0.1, 2.0, 6.0, 0.3, 0.3, 4.0])
    theirs = model.fit(start_params=begin, disp=0, maxiter=1000, em_iter=20)
    data = jnp.asarray(y), jnp.asarray(x[:, None])

    def chain(rows, lines):
        stay, come = rows[0, 0], rows[1, 0]
        stationary = jnp.stack([come, 1 - stay]) / (1 - stay + come)
        return jm.HiddenMarkov(stationary, rows, lines)

    def lines(slopes, constants, variances):
        scales = np.sqrt(np.broadcast_to(variances, 2))
        slopes = np.reshape(slopes, (2, 1))
        parts = map(jnp.asarray, (slopes, constants, scales))
        return jax.vmap(jm.LinearRegression)(*parts)

    p = theirs.params
    rows = jnp.array([[p[0], 1 - p[0]], [p[1], 1 - p[1]]])
    ours = chain(rows, lines(p[4:6], p[2:4], p[6:]))
    seen = eqx.filter_jit(lambda m, x: (m.log_prob(x), m.filtered(x), m.smoothed(x)))
    value, filtered, smoothed = seen(ours, data)
    np.testing.assert_allclose(value, theirs.llf, rtol=1e-12)
    np.testing.assert_allclose(filtered, theirs.filtered_marginal_probabilities, atol=1e-12)
    np.testing.assert_allclose(smoothed, theirs.smoothed_marginal_probabilities, atol=1e-12)
    start = jm.tie(lines([0.3, 0.3], [2.0, 6.0], [4.0]), lambda m: m, "scale")
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    total = lambda m: chain(jax.nn.softmax(m[0]), m[1]).log_prob(data)
    np.testing.assert_allclose(climbed((logits, start), total), theirs.llf, atol=1e-4 * len(y))
    # From the same start with the chain's first law held at theirs, which ours does not tie to the
    # transitions: a little above, never below.
    held = jm.frozen(jm.Categorical(ours.initial.probs))
    fitted = jm.em.run(
        jm.HiddenMarkov(held, transition_logits=logits, emissions=start), data, tol=1e-10
    )
    gain = (float(fitted.log_likelihood) - theirs.llf) / len(y)
    assert 0 < gain < 2e-4


def expenses():
    """Engel's 235 households: the logarithm of what food costs on that of income."""
    table = np.log10(sm.datasets.engel.load_pandas().data)
    x = table.income.to_numpy()[:, None]
    lines = jax.vmap(jm.LinearRegression)(
        jnp.array([[0.9], [0.7]]), jnp.array([0.1, 0.6]), jnp.array([0.05, 0.1])
    )
    return lines, (jnp.asarray(table.foodexp.to_numpy()), jnp.asarray(x))


def visits():
    """Visits to a doctor in the health insurance experiment: 1000 rows, three covariates."""
    table = sm.datasets.randhie.load_pandas().data.iloc[::20][:1000]
    x = table[["lncoins", "hlthp", "disea"]].to_numpy() / [1, 1, 10]
    parts = jax.vmap(jm.PoissonRegression)(
        jnp.array([[0.0, 0.1, 0.2], [0.0, 0.3, 0.3]]), jnp.array([0.0, 1.5])
    )
    return parts, (jnp.asarray(table.mdvis.to_numpy()), jnp.asarray(x))


@pytest.mark.parametrize("case", [expenses, visits])
def test_a_mixture_ends_where_a_direct_optimiser_does(case, x64):
    parts, data = case()
    start = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
    fitted = jm.em.run(start, data, tol=1e-10, max_steps=2000)
    best = climbed(start, lambda m: jnp.sum(jax.vmap(m.log_prob)(data)))
    count = len(data[0])
    np.testing.assert_allclose(fitted.log_likelihood / count, best / count, atol=1e-5)
