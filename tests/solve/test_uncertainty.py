"""How sure a fit is of its parameters, against textbook formulae."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm


def test_a_single_normal_has_textbook_errors_influence_and_profile(x64):
    x = jax.random.normal(jax.random.key(2), (40,))
    model = jm.em.solve(jm.Normal(0, 1), x, floor=0.0)
    errors = jm.em.standard_errors(model, x)
    sd, n = float(jnp.std(x)), len(x)
    np.testing.assert_allclose(errors.mean, sd / n**0.5, rtol=1e-8)
    np.testing.assert_allclose(errors.scale, sd / (2 * n) ** 0.5, rtol=1e-8)
    moves = jm.em.influence(model, x)
    np.testing.assert_allclose(moves.mean, (x - x.mean()) / n, atol=1e-10)
    ends = jm.em.profile(model, x, lambda m: m.mean)
    half = sd * np.sqrt(np.expm1(1.959963984540054**2 / n))
    np.testing.assert_allclose(ends, [x.mean() - half, x.mean() + half], rtol=1e-6)


def test_weights_of_a_categorical_have_multinomial_errors(x64):
    x = jnp.repeat(jnp.arange(3), jnp.array([20, 30, 50]))
    errors = jm.em.standard_errors(jm.Categorical(jnp.array([0.2, 0.3, 0.5])), x)
    p = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(errors.probs, np.sqrt(p * (1 - p) / 100), rtol=1e-8)
    matrix = (np.diag(p) - np.outer(p, p)) / 100
    np.testing.assert_allclose(errors.covariance_of(lambda m: m.probs), matrix, atol=1e-12)


def test_doubled_components_are_reported_as_singular(x64):
    x = jax.random.normal(jax.random.key(3), (50,))
    same = jax.vmap(jm.Normal)(jnp.full(2, x.mean()), jnp.full(2, x.std()))
    errors = jm.em.standard_errors(jm.MixtureSameFamily(jnp.array([0.5, 0.5]), same), x)
    assert bool(errors.result == jm.RESULTS.singular_information)
    assert bool(jnp.all(jnp.isnan(errors.components.mean)))
