"""Families whose maximum lies at infinity, where they are a simpler one: reached, and told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

LEVELS = (np.arange(1000) + 0.5) / 1000
ran = jax.jit(lambda model, x: jm.em.run(model, x, max_steps=60, history_size=60))


def best(law, x):
    return law.logpdf(x).sum() if hasattr(law, "pdf") else law.logpmf(x).sum()


FLAT = st.beta(0.7, 0.7).ppf(LEVELS)
BINOMIAL = st.binom(10, 0.4).ppf(LEVELS)
LIMITS = {
    "StudentT of uniform data": (jm.StudentT.template, 2 * LEVELS, st.norm(1, np.std(2 * LEVELS))),
    "NegativeBinomial of binomial counts": (
        jm.NegativeBinomial.template, BINOMIAL, st.poisson(BINOMIAL.mean())
    ),
    "Skellam of twos": (lambda: jm.Skellam(1.0, 1.0), np.full(1000, 2.0), st.poisson(2)),
    "TruncatedNormal of data at both ends": (
        lambda: jm.TruncatedNormal.template(low=0.0, high=1.0), FLAT, st.uniform(0, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_maximum_at_infinity_is_reached_and_told(name):
    make, values, limit = LIMITS[name]
    counts = hasattr(limit, "pmf") and not hasattr(limit.dist, "pdf")
    x = jnp.asarray(values, int if counts else jnp.float32)
    found = ran(make(), x)
    assert bool(found.result == jm.RESULTS.drifting)
    top = best(limit, np.asarray(x, float))
    assert abs(float(found.log_likelihood) - top) < 0.1
    if name.startswith("StudentT"):  # what runs to infinity has no error; the others have theirs
        errors = jm.em.standard_errors(found.model, x)
        assert errors.at_boundary == [".log_df"]
        np.testing.assert_allclose(errors.loc, x.std() / np.sqrt(1000), rtol=2e-2)


def test_finite_maxima_are_found_in_few_steps():
    """By BFGS on the log-likelihood of scipy: degrees of freedom, and successes, that are large."""
    x = st.t(20).ppf(LEVELS)
    found = ran(jm.StudentT.template(), jnp.asarray(x, jnp.float32))
    df, loc, scale = st.t.fit(x)
    assert bool(found.result == jm.RESULTS.successful) and int(found.num_steps) < 30
    assert float(found.log_likelihood) > best(st.t(df, loc, scale), x) - 0.01
    np.testing.assert_allclose(found.model.df, df, rtol=0.1)
    counts = st.nbinom(40, 0.8).ppf(LEVELS)
    found = ran(jm.NegativeBinomial.template(), jnp.asarray(counts, int))
    assert bool(found.result == jm.RESULTS.successful) and int(found.num_steps) < 20
    mean = counts.mean()
    sizes = np.geomspace(10, 400, 2000)
    levels = st.nbinom(sizes[:, None], sizes[:, None] / (sizes[:, None] + mean)).logpmf(counts)
    assert float(found.log_likelihood) > levels.sum(1).max() - 0.01
