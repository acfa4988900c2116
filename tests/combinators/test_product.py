"""Products of experts whose supports differ, and what a quadrature cannot see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats as st

import jaxmix as jm


@pytest.mark.parametrize(("mean", "high"), [(-3.0, np.inf), (0.5, np.inf), (0.5, 1.0)])
def test_experts_of_different_supports(mean, high):
    """A normal that lies mostly off the other's support: value and slope by quadrature."""
    bounded = np.isfinite(high)
    other = jm.Beta(2.0, 3.0) if bounded else jm.Exponential(1.0)
    law = st.beta(2, 3) if bounded else st.expon()

    def right(mean):
        product = lambda x: st.norm.pdf(x, mean) * law.pdf(x)
        return np.log(product(0.5) / scipy.integrate.quad(product, 0, high)[0])

    found = lambda mean: jm.ProductOfExperts([jm.Normal(mean, 1.0), other]).log_prob(0.5)
    value, slope = jax.value_and_grad(found)(jnp.asarray(mean))
    np.testing.assert_allclose(value, right(mean), rtol=1e-4)
    np.testing.assert_allclose(slope, (right(mean + 1e-4) - right(mean - 1e-4)) / 2e-4, rtol=1e-3)


def test_atoms_are_refused():
    hurdle = jm.Hurdle(jm.LogNormal(0.0, 1.0), jnp.array([0.3, 0.7]))
    for make in (jm.Censored, lambda d: jm.Truncated(d, 0.5, 1.0)):
        with pytest.raises(ValueError, match=r"without atoms.*this Hurdle has some at 0\.0"):
            make(hurdle)
