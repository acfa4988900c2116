"""Several coordinates given others, of normal densities and of mixtures: against quadrature."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = np.array([[0.0, 0.0, 1.0], [2.0, 1.0, -1.0], [-1.0, 3.0, 0.0]])
ROOTS = np.random.default_rng(0).normal(size=(3, 3, 3)) + 1.5 * np.eye(3)
COVARIANCES = ROOTS @ ROOTS.transpose(0, 2, 1)
LAWS = [st.multivariate_normal(m, c) for m, c in zip(MEANS, COVARIANCES, strict=True)]
EVENT = np.array([np.nan, 0.7, np.nan])


def joint(x):
    return sum(w * law.pdf(x) for w, law in zip(WEIGHTS, LAWS, strict=True))


def mixture(family):
    parts = jax.vmap(family)(jnp.asarray(MEANS), jnp.asarray(COVARIANCES))
    return jm.MixtureSameFamily(jnp.asarray(WEIGHTS), parts)


def listed():
    laws = zip(MEANS, COVARIANCES, strict=True)
    return jm.Mixture(jnp.asarray(WEIGHTS), [jm.MultivariateNormal(*law) for law in laws])


@pytest.mark.parametrize(
    "make", [lambda: mixture(jm.MultivariateNormal), lambda: mixture(jm.PartialNormal), listed]
)
def test_two_given_one_against_quadrature(make, x64):
    side = np.linspace(-16, 16, 161)
    first, last = (a.ravel() for a in np.meshgrid(side, side, indexing="ij"))
    density = joint(np.stack([first, np.full_like(first, 0.7), last], 1))
    density = density / density.sum()
    places = np.stack([first, last], 1)
    mean = density @ places
    covariance = (density[:, None] * (places - mean)).T @ (places - mean)
    law = eqx.filter_jit(lambda m, x: m.conditional(x, [0, 2]))(make(), jnp.asarray(EVENT))
    np.testing.assert_allclose(law.mean, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(law.covariance, covariance, rtol=1e-6)
    np.testing.assert_allclose(law.variance, np.diag(covariance), rtol=1e-6)
    at = np.array([0.4, 0.7, -0.3])
    under = sum(w * st.norm(m[1], c[1, 1] ** 0.5).pdf(0.7) for w, m, c in moments())
    np.testing.assert_allclose(law.log_prob(jnp.asarray(at[[0, 2]])), np.log(joint(at) / under))
    if isinstance(law, jm.MixtureSameFamily):
        area = (side[1] - side[0]) ** 2
        inside = density > 0
        exact = -np.sum(density[inside] * np.log(density[inside] / area))
        bounds = jm.divergences.entropy_bounds(law)
        assert exact - 0.35 < bounds.lower < exact < bounds.upper < exact + 0.35
    draw = eqx.filter_jit(lambda law, keys: jax.vmap(law.sample)(keys))
    drawn = draw(law, jax.random.split(jax.random.key(0), 4000))
    z = (np.mean(drawn, 0) - mean) / np.sqrt(np.diag(covariance) / 4000)
    assert np.max(np.abs(z)) < 4


def moments():
    return zip(WEIGHTS, MEANS, COVARIANCES, strict=True)


def test_intervals_of_one_coordinate_given_two(x64):
    event = np.array([1.0, np.nan, 0.5])
    side = np.linspace(-25, 25, 200001)
    density = joint(np.stack([np.full_like(side, 1.0), side, np.full_like(side, 0.5)], 1))
    below = np.cumsum(density) / density.sum() - 0.5 * density / density.sum()
    given = eqx.filter_jit(lambda m, x: m.conditional(x, 1))
    law = given(mixture(jm.MultivariateNormal), jnp.asarray(event))
    ps = np.array([0.05, 0.5, 0.9])
    found = jax.jit(jax.vmap(law.quantile))(jnp.asarray(ps))
    np.testing.assert_allclose(found, np.interp(ps, below, side), atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(law.log_cdf))(found), np.log(ps), atol=1e-9)
    alone = jm.MultivariateNormal(jnp.asarray(MEANS[0]), jnp.asarray(COVARIANCES[0]))
    np.testing.assert_allclose(jm.divergences.entropy(alone), LAWS[0].entropy())
    assert jm.divergences.entropy_bounds(alone).lower == jm.divergences.entropy(alone)


def test_bounds_meet_where_components_coincide_or_lie_apart(x64):
    for place, value in ((0.0, 0.0), (60.0, np.log(2))):
        parts = jax.vmap(jm.Normal)(jnp.array([0.0, place]), jnp.ones(2))
        bounds = jm.divergences.entropy_bounds(jm.MixtureSameFamily(jnp.ones(2) / 2, parts))
        np.testing.assert_allclose(bounds, [np.log(2 * np.pi * np.e) / 2 + value] * 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("density", "reference"),
    [
        (jm.Scaled(jm.Beta(2.5, 1.5), 100.0), lambda x: st.beta(2.5, 1.5).cdf(x / 100)),
        (
            jm.ZeroInflated(jm.Poisson(3.0), 0.3),
            lambda x: np.where(x < 0, 0, 0.3 + 0.7 * st.poisson(3).cdf(x)),
        ),
        (
            jm.Hurdle(jm.Exponential(0.1), jnp.array([0.3, 0.2, 0.5]), atoms=(0.0, 9.0)),
            lambda x: 0.3 * (x >= 0) + 0.2 * (x >= 9) + 0.5 * st.expon(scale=10).cdf(x),
        ),
        (
            jm.Discretised(jm.Gamma(2.0, 0.1), 0.1),
            lambda x: st.gamma(2, scale=10).cdf((np.floor(x * 10 + 1e-9) + 0.5) / 10) * (x >= 0),
        ),
        (jm.frozen(jm.Normal(3.0, 4.0)), st.norm(3, 4).cdf),
        (
            jm.tie(jm.Mixture(jnp.ones(2) / 2, [jm.Normal(3.0, 4.0)] * 2), lambda m: m.components),
            st.norm(3, 4).cdf,
        ),
    ],
)
def test_distribution_functions_of_what_wraps_a_density(density, reference):
    x = np.array([-1.0, 0.0, 0.3, 7.0, 9.0, 30.0])
    found = eqx.filter_jit(lambda d, x: jax.vmap(d.cdf)(x))(density, jnp.asarray(x))
    np.testing.assert_allclose(found, reference(x), atol=2e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.conditional(jnp.zeros(3), [0, 3]), "coordinates 0 to 2"),
        (lambda m: m.conditional(jnp.zeros(3), [0, 0]), "different ones"),
        (lambda m: m.conditional(jnp.zeros(3), "size"), "'size' was given"),
        (lambda m: m.conditional(jnp.zeros(4), [0]), "shape (4,) was given"),
        (lambda m: m.conditional(jnp.zeros((5, 3)), [0]), "jax.vmap"),
        (lambda m: jm.divergences.entropy(jm.Gamma(1.0, 1.0)), "normal families"),
    ],
)
def test_what_means_nothing_is_told(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call(mixture(jm.MultivariateNormal))
