"""Missing coordinates against the marginal normal, and against Fisher's identity."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
