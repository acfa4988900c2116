"""Missing coordinates against the marginal normal, and against Fisher's identity."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm
from jaxmix.em.expected import expect

MEAN = np.array([1.0, -1.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, 0.3], [0.6, 1.0, -0.2], [0.3, -0.2, 0.7]])
NAN = np.nan
ROWS = np.array([[0.5, 1, 0], [NAN, 0.5, 1], [1, NAN, NAN], [NAN, NAN, NAN], [2, 0, NAN]])


def density():
    return jm.PartialNormal(jnp.array(MEAN), jnp.array(COVARIANCE))


def test_marginal_and_completion(x64):
    model = density()
    got = eqx.filter_jit(lambda d: jax.vmap(d.log_prob)(jnp.array(ROWS)))(model)
    means, covariances = eqx.filter_jit(lambda d: jax.vmap(d.completed)(jnp.array(ROWS)))(model)
    for i, row in enumerate(ROWS):
        o = np.flatnonzero(~np.isnan(row))
        m = np.flatnonzero(np.isnan(row))
        law = st.multivariate_normal(MEAN[o], COVARIANCE[np.ix_(o, o)]) if o.size else None
        expected = law.logpdf(row[o]) if o.size else 0.0
        np.testing.assert_allclose(got[i], expected, rtol=1e-10, atol=1e-12)
        link = COVARIANCE[np.ix_(m, o)] @ np.linalg.inv(COVARIANCE[np.ix_(o, o)])
        np.testing.assert_allclose(means[i][m], MEAN[m] + link @ (row[o] - MEAN[o]), rtol=1e-9)
        rest = COVARIANCE[np.ix_(m, m)] - link @ COVARIANCE[np.ix_(o, m)]
        np.testing.assert_allclose(covariances[i][np.ix_(m, m)], rest, rtol=1e-9, atol=1e-12)


def test_expected_moments_obey_fishers_identity(x64):
    """The slope of the observed log-likelihood is that of the expected complete one."""
    model, data = density(), jnp.array(ROWS)
    stats = eqx.filter_jit(expect)(model, data).stats[0]
    seen = eqx.filter_jit(jax.grad(lambda d: jnp.sum(jax.vmap(d.log_prob)(data))))(model)
    complete = eqx.filter_jit(jax.grad(lambda d: d.expected_log_prob(stats, model.origin)))(model)
    np.testing.assert_allclose(seen.whole.mean, complete.whole.mean, rtol=1e-8)
    upper = np.triu_indices(3)
    np.testing.assert_allclose(
        seen.whole.factor[upper], complete.whole.factor[upper], rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("scale", [np.array([1.0, 2.0, 0.5]), np.array(0.7)])
def test_independent_coordinates_are_those_of_a_diagonal_covariance(x64, scale):
    """Densities and expected moments of the diagonal families from the full one's."""
    data = jnp.array(ROWS)
    diagonal = jm.PartialDiagonalNormal(jnp.array(MEAN), jnp.array(scale))
    full = jm.PartialNormal(jnp.array(MEAN), jnp.diag(jnp.full(3, scale) ** 2))
    both = eqx.filter_jit(lambda d: (jax.vmap(d.log_prob)(data), expect(d, data).stats[0]))
    (got, mine), (expected, theirs) = both(diagonal), both(full)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mine.first, theirs.first, rtol=1e-10)
    second = jnp.diagonal(theirs.second) if scale.ndim else jnp.trace(theirs.second)
    np.testing.assert_allclose(mine.second, second, rtol=1e-10)


def test_a_fit_takes_missing_coordinates():
    """A tied mixture over rows with holes, from the host's search; no row is refused."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) + 6].astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    template = jm.mixture_of(jm.PartialNormal.template(2, tied=True), 2)
    fit = jm.fit(jax.random.key(0), template, jnp.asarray(x), num_restarts=2)
    assert bool(fit.result == jm.RESULTS.successful)
    assert fit.num_parameters == 1 + 4 + 3
    np.testing.assert_allclose(np.sort(fit.model.components.mean[:, 0]), [0, 6], atol=0.6)
    covariance = fit.model.components.covariance
    np.testing.assert_array_equal(covariance[0], covariance[1])


def test_beside_a_frozen_component_a_step_is_the_closed_form(x64):
    """Responsibilities of both from what is seen; only the free component is moved."""
    rng = np.random.default_rng(1)
    x = np.r_[rng.normal(size=(30, 3)) + 2, rng.normal(size=(20, 3)) - 1]
    x[rng.random(x.shape) < 0.3] = np.nan
    fixed = np.full(3, 2.0)
    start = jm.Mixture(
        jnp.array([0.4, 0.6]),
        [jm.frozen(jm.PartialNormal(jnp.array(fixed), jnp.eye(3))), density()],
    )
    moved = jm.unwrap(eqx.filter_jit(lambda m, x: jm.em.step(m, x)[0])(start, jnp.array(x)))
    shares, completed, seconds = [], [], []
    for row in x:
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        law = lambda mean, c, o=o, row=row: (
            st.multivariate_normal(mean[o], c[np.ix_(o, o)]).pdf(row[o]) if o.size else 1.0
        )
        both = np.array([0.4 * law(fixed, np.eye(3)), 0.6 * law(MEAN, COVARIANCE)])
        shares.append(both / both.sum())
        link = COVARIANCE[np.ix_(m, o)] @ np.linalg.inv(COVARIANCE[np.ix_(o, o)])
        whole, spread = row.copy(), np.zeros((3, 3))
        whole[m] = MEAN[m] + link @ (row[o] - MEAN[o])
        spread[np.ix_(m, m)] = COVARIANCE[np.ix_(m, m)] - link @ COVARIANCE[np.ix_(o, m)]
        completed.append(whole)
        seconds.append(spread)
    r = np.array(shares)
    np.testing.assert_allclose(moved.weights, r.mean(0), rtol=1e-9)
    np.testing.assert_array_equal(moved.components[0].mean, fixed)
    mean = r[:, 1] @ np.array(completed) / r[:, 1].sum()
    np.testing.assert_allclose(moved.components[1].mean, mean, rtol=1e-8)
    about = np.array(completed) - mean
    second = np.einsum("n,nij->ij", r[:, 1], about[:, :, None] * about[:, None] + np.array(seconds))
    np.testing.assert_allclose(moved.components[1].covariance, second / r[:, 1].sum(), rtol=1e-7)
