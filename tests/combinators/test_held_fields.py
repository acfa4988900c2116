"""Some parameters of a family frozen: the others against closed forms given these."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

RNG = np.random.default_rng(0)
X = RNG.gamma(3, 2, 200)
PLANE = RNG.normal(size=(200, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]]) + [1, -1]


def ran(model, data):
    found = jm.em.run(model, jax.tree.map(jnp.asarray, data), tol=1e-13)
    assert bool(found.result == jm.RESULTS.successful)
    return found.model


def test_normal_families(x64):
    model = ran(jm.frozen(jm.Normal(1.0, 1.0), "mean"), X)
    assert float(model.mean) == 1
    np.testing.assert_allclose(model.variance, np.mean((X - 1) ** 2))
    model = ran(jm.frozen(jm.Normal(1.0, 3.0), "scale"), X)
    assert (float(model.mean), float(model.scale)) == pytest.approx((X.mean(), 3.0))
    model = ran(jm.frozen(jm.MultivariateNormal.template(2), "mean"), PLANE)
    np.testing.assert_allclose(model.covariance, PLANE.T @ PLANE / 200)


def test_other_families_climb_over_what_is_free(x64):
    start = jm.frozen(jm.Gamma(2.5, 1.0), "shape")
    model = ran(start, X)
    np.testing.assert_allclose(model.rate, 2.5 / X.mean())
    errors = jm.em.standard_errors(model, jnp.asarray(X))
    np.testing.assert_allclose(errors.rate, model.rate / np.sqrt(2.5 * 200))
    assert float(errors.shape) == 0 and start.num_parameters == 1
    y = RNG.poisson(np.exp(PLANE @ [0.3, 0.2]))
    known = jm.PoissonRegression(jnp.array([0.3, 0.2]), 0.0)
    model = ran(jm.frozen(known, ["coefficients"]), (y, PLANE))
    want = np.log(y.sum() / np.exp(PLANE @ [0.3, 0.2]).sum())
    np.testing.assert_allclose(model.intercept, want)


def test_a_mixture_of_known_places_is_fitted_and_thawed(x64):
    y = jnp.asarray(np.where(RNG.random(400) < 0.3, RNG.normal(0, 0.3, 400), RNG.normal(0, 3, 400)))
    template = jm.mixture_of(jm.frozen(jm.Normal(0.0, 1.0), "mean"), 2)
    fit = jm.fit(jax.random.key(0), template, y)
    assert bool(fit.result == jm.RESULTS.successful) and fit.num_parameters == 3
    plain = jm.unwrap(fit.model)
    assert isinstance(plain.components, jm.Normal) and not np.any(plain.components.mean)
    weights, scales = np.asarray(plain.weights), np.asarray(plain.components.scale)
    density = weights @ np.stack([st.norm(0, s).pdf(y) for s in scales])
    np.testing.assert_allclose(fit.log_likelihood, np.log(density).sum())
    np.testing.assert_allclose(np.sort(scales), [0.3, 3], rtol=0.3)
    mask = jm.trainable(template).components.part
    assert (mask.mean, mask.log_scale) == (False, True)


def test_priors_are_of_what_is_free(x64):
    template = jm.frozen(jm.Normal(1.0, 1.0), "mean")
    prior = jm.em.conjugate_prior(
        template, None, [(jm.Normal, jm.em.InverseGamma(2.0, 3.0))], floor=0.0
    )
    model = jm.em.run(template, jnp.asarray(X), prior=prior).model
    want = (6 + np.sum((X - 1) ** 2)) / (200 + 6)
    np.testing.assert_allclose(model.variance, want)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jm.frozen(jm.Normal(0.0, 1.0), "rate"), "no parameter 'rate' to freeze"),
        (lambda: jm.frozen(jm.Normal(0.0, 1.0), ["mean", "scale"]), "jm.frozen(density)"),
        (lambda: jm.frozen(jm.mixture_of(jm.Normal.template(), 2), "mean"), "family's density"),
    ],
)
def test_what_cannot_be_frozen_is_told(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
