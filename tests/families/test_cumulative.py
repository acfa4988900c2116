"""Distribution functions and quantiles of every family that has them, and of mixtures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats as st

import jaxmix as jm

from .registry import CASES, named

WITH_CDF = [
    c for c in CASES
    if c.scipy is not None
    and (type(c.make()).cdf, type(c.make()).log_cdf) != (jm.LogDensity.cdf, jm.LogDensity.log_cdf)
]  # fmt: skip
LEVELS = np.array([0.0, 1e-4, 0.03, 0.5, 0.8, 0.999, 1.0])


def test_most_families_have_one():
    assert len({type(c.make()) for c in WITH_CDF}) >= 15


@pytest.mark.parametrize("case", WITH_CDF, ids=named)
def test_they_are_scipys(case, x64):
    density = case.make()
    x = case.grid[:: max(1, len(case.grid) // 60)].astype(float)
    x = np.concatenate([x, x + 0.4, [-1e9, 1e9]])
    below, at = eqx.filter_jit(lambda d, x, p: (jax.vmap(d.cdf)(x), jax.vmap(d.quantile)(p)))(
        density, x, LEVELS
    )
    np.testing.assert_allclose(below, case.scipy.cdf(x), rtol=1e-7, atol=1e-12)
    inner = LEVELS[1:-1]
    wanted = case.scipy.ppf(inner)
    np.testing.assert_allclose(at[1:-1], wanted, rtol=1e-7, atol=1e-9)


def test_of_a_mixture(x64):
    weights, parts = np.array([0.3, 0.7]), [jm.Normal(-1.0, 1.0), jm.Laplace(2.0, 0.5)]
    laws = [st.norm(-1, 1), st.laplace(2, 0.5)]
    mixture = jm.Mixture(jnp.asarray(weights), parts)
    total = lambda x: sum(w * law.cdf(x) for w, law in zip(weights, laws, strict=True))
    found = eqx.filter_jit(
        lambda m, p: (m.quantile(p), m.cdf(p), m.log_cdf(-40.0 * p), m.variance)
    )(mixture, jnp.asarray(0.9))
    np.testing.assert_allclose(found[0], scipy.optimize.brentq(lambda x: total(x) - 0.9, -9, 9))
    np.testing.assert_allclose(found[1], total(0.9), rtol=1e-12)
    far = [np.log(w) + law.logcdf(-36) for w, law in zip(weights, laws, strict=True)]
    np.testing.assert_allclose(found[2], np.logaddexp(*far), rtol=1e-10)
    mean = 0.3 * -1 + 0.7 * 2
    second = 0.3 * (1 + 1) + 0.7 * (2 * 0.25 + 4)
    np.testing.assert_allclose(found[3], second - mean**2, rtol=1e-12)
    stack = jm.MixtureSameFamily(
        jnp.asarray(weights), jax.vmap(jm.Normal)(jnp.array([-1.0, 2.0]), jnp.array([1.0, 3.0]))
    )
    np.testing.assert_allclose(stack.variance, 0.3 * 2 + 0.7 * 13 - mean**2, rtol=1e-12)


def test_a_quantile_moves_with_the_level_and_the_parameters(x64):
    at = lambda mean, scale, p: jm.Normal(mean, scale).quantile(p)
    slopes = jax.jit(jax.grad(at, (0, 1, 2)))(1.0, 2.0, 0.9)
    z = st.norm.ppf(0.9)
    np.testing.assert_allclose(slopes, [1, z, 2 / st.norm.pdf(z)], rtol=1e-10)


@pytest.mark.parametrize("density", [jm.Gamma(2.0, 1.0), jm.Beta(2.0, 3.0)], ids=["gamma", "beta"])
def test_its_slope_is_the_density_and_none_off_the_support(density):
    x = jnp.array([-3.0, 0.3])
    slopes = jax.jit(jax.vmap(jax.grad(density.cdf)))(x)
    np.testing.assert_allclose(slopes, [0, np.exp(density.log_prob(0.3))], rtol=1e-5)


def test_where_there_is_none_it_is_said():
    with pytest.raises(NotImplementedError, match="cdf"):
        jm.MultivariateNormal.template(2).cdf(0.0)


def test_the_logarithm_reaches_the_tails_of_a_student_and_a_slope_its_centre():
    log_cdf = jax.jit(lambda df, x: jm.StudentT(df, 1.0, 2.0).log_cdf(x))
    for df in (0.5, 2.0, 3.0):
        z = np.array([-1e30, -1e20, -1e10, -40.0, -1.0, 0.0, 5.0])
        got = [log_cdf(df, np.float32(1 + 2 * v)) for v in z]
        np.testing.assert_allclose(got, st.t(df).logcdf(z), rtol=2e-4, atol=1e-5)
    z = np.array([-30.0, -10.0, -3.0, -0.01, 4.0])
    for df in (100.0, 1e4, 1e6):
        got = [log_cdf(df, np.float32(1 + 2 * v)) for v in z]
        np.testing.assert_allclose(got, st.t(df).logcdf(z), rtol=2e-5)
    got = jax.vmap(jm.Normal(0.0, 1.0).log_cdf)(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(got, st.norm.logcdf(z), rtol=2e-6)
    slope = jax.grad(lambda x: jm.StudentT(3.0, 0.0, 1.0).cdf(x))
    np.testing.assert_allclose(slope(0.0), st.t(3).pdf(0), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(jm.Laplace(1.0, 2.0).log_cdf)(1.0), 0.5, rtol=1e-5)


LARGE = [  # in float32, where a library's incomplete gamma and beta functions lose up to a tenth
    (jm.Gamma(1e6, 1e3), st.gamma(1e6, scale=1e-3), 999.0),
    (jm.Gamma(1e-3, 1.0), st.gamma(1e-3), 1e-30),
    (jm.Poisson(1e6), st.poisson(1e6), 10**6),
    (jm.Beta(0.5, 1e5), st.beta(0.5, 1e5), 1e-10),
    (jm.Beta(1e5, 30.0), st.beta(1e5, 30), 0.999),
    (jm.NegativeBinomial(1e4, 0.999), st.nbinom(1e4, 0.999), 5),
    (jm.Binomial(10**4, 0.3), st.binom(10**4, 0.3), 2900),
    (jm.InverseGaussian(1.0, 100.0), st.invgauss(0.01, scale=100), 0.2),
    (jm.Exponential(1e-15), st.expon(scale=1e15), 1e-30),
]


def test_large_parameters_and_far_tails_in_float32():
    events = [jnp.asarray(x, jnp.result_type(x)) for _, _, x in LARGE]
    found = jax.jit(lambda ds, xs: [d.log_cdf(x) for d, x in zip(ds, xs, strict=True)])(
        [d for d, _, _ in LARGE], events
    )
    for got, (density, law, x) in zip(found, LARGE, strict=True):
        at = float(np.float32(x)) if isinstance(x, float) else x
        np.testing.assert_allclose(got, law.logcdf(at), rtol=1e-3, err_msg=type(density).__name__)


def test_every_parameter_has_a_slope(x64):
    levels = {
        "beta": (lambda a, b: jm.Beta(a, b).cdf(0.6), lambda a, b: st.beta(a, b).cdf(0.6)),
        "t": (lambda a, b: jm.StudentT(a, 0.0, b).cdf(1.7), lambda a, b: st.t(a, 0, b).cdf(1.7)),
        "nb": (
            lambda a, b: jm.NegativeBinomial(a, b / 4).cdf(3),
            lambda a, b: st.nbinom(a, b / 4).cdf(3),
        ),
    }
    found = jax.jit(lambda: {k: jax.grad(f, (0, 1))(2.5, 1.5) for k, (f, _) in levels.items()})()
    for name, (_, law) in levels.items():
        steps = [
            (law(2.5 + h, 1.5 + g) - law(2.5 - h, 1.5 - g)) / 2e-5
            for h, g in ((1e-5, 0.0), (0.0, 1e-5))
        ]
        np.testing.assert_allclose(found[name], steps, rtol=1e-6, err_msg=name)
