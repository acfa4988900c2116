"""Which model: against published tables, exact laws and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from sklearn.datasets import load_iris

import jaxmix as jm


def test_bic_of_iris_is_mclusts_and_cross_validation_is_of_rows_left_out(x64):
    # Scrucca et al. (2016), mclust 5: BIC of model VVV (full) on iris, their sign turned.
    published = {1: 829.9782, 2: 574.0178}
    x = jnp.asarray(load_iris().data)
    templates = jm.choice.gaussian_templates(4, [1, 2], ["full"])
    found = jm.choice.sweep(
        jax.random.key(0), templates, x, validation=x[:50], folds=3, num_restarts=4, tol=1e-9
    )
    for k, bic in published.items():
        np.testing.assert_allclose(found.criterion("bic")["full", k], bic, atol=1e-3)
    assert found.best("bic") == ("full", 2)
    # One normal leaves each fold out by a formula: its own mean and covariance.
    one = found.pointwise["full", 1]
    assert np.isfinite(one).all()
    law = st.multivariate_normal(x.mean(0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(found.held_out["full", 1], law.logpdf(x[:50]).mean(), rtol=1e-6)
    inside = np.asarray(law.logpdf(x))
    assert one.mean() < inside.mean()  # what was left out had no say
    gap, error = found.behind(("full", 1))
    paired = found.pointwise["full", 2] - one
    np.testing.assert_allclose([gap, error], [paired.mean(), paired.std() / 150**0.5])
    table = str(found)
    assert table.count("*") >= 5 and "full 2" in table
    assert len(found.columns["bic"]) == 2


def test_a_sweep_refuses_what_it_cannot_do():
    x = jnp.linspace(-1.0, 1.0, 10)
    templates = {"normal": jm.Normal.template()}
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="at least one template"):
        jm.choice.sweep(key, {}, x)
    with pytest.raises(ValueError, match="from 2 to the 10 rows; it was 11"):
        jm.choice.sweep(key, templates, x, folds=11)
    with pytest.raises(ValueError, match="init"):
        jm.choice.sweep(key, templates, x, init="given")
    found = jm.choice.sweep(key, templates, x, num_restarts=1)
    with pytest.raises(ValueError, match="folds=5"):
        found.best("cross_validated")
    with pytest.raises(ValueError, match="criterion must be one of"):
        found.best("dic")


def test_a_likelihood_ratio_has_its_exact_law_under_the_null(x64):
    # Independent coordinates against correlated ones: LR = -n log(1 - r^2), r^2 a beta variable.
    n = 40
    x = jax.random.normal(jax.random.key(1), (n, 2)) * jnp.array([[1.0, 3.0]])
    sd = x.std(0)
    null = jm.DiagonalNormal(x.mean(0), sd)
    full = jm.MultivariateNormal(x.mean(0), jnp.cov(x.T, bias=True))
    test = jm.choice.likelihood_ratio_test(
        jax.random.key(2), null, full, x, num=400, num_restarts=0, floor=1e-12
    )
    r = float(jnp.corrcoef(x.T)[0, 1])
    np.testing.assert_allclose(test.statistic, -n * np.log1p(-(r**2)), rtol=1e-8)
    law = st.beta(0.5, n / 2 - 1)
    shares = -np.expm1(-np.asarray(test.replicates) / n)
    assert st.kstest(shares, law.cdf).pvalue > 1e-3
    assert int(test.num_failed) == 0
    assert abs(float(test.p_value) - law.sf(r**2)) < 4 * float(test.std_error)


def test_merging_takes_the_best_pair_and_keeps_the_density(x64):
    means = jnp.array([-9.0, 0.0, 1.0, 12.0, 13.5])
    weights = jnp.array([0.3, 0.2, 0.1, 0.3, 0.1])
    model = jm.MixtureSameFamily(weights, jax.vmap(jm.Normal)(means, jnp.ones(5)))
    x = jax.vmap(model.sample)(jax.random.split(jax.random.key(3), 200))
    merging = jm.choice.merge_components(model, x)
    share = np.asarray(jax.vmap(model.posterior)(x), float)

    def entropy(labels):
        joined = np.stack([share[:, labels == c].sum(1) for c in np.unique(labels)], 1)
        return st.entropy(joined, axis=1).sum()

    for g in range(5, 0, -1):
        labels = merging.labels[g - 1]
        np.testing.assert_allclose(merging.entropy[g - 1], entropy(labels), rtol=1e-5, atol=1e-8)
        if g > 1:
            tried = []
            for a, b in itertools.combinations(range(g), 2):
                tried.append(entropy(np.where(labels == b, a, labels)))
            np.testing.assert_allclose(merging.entropy[g - 2], min(tried), rtol=1e-5, atol=1e-8)
    assert merging.labels[2].tolist() == [0, 1, 1, 2, 2]
    assert merging.elbow == 3
    merged = merging.model(3)
    np.testing.assert_allclose(jax.vmap(merged.log_prob)(x), jax.vmap(model.log_prob)(x), 1e-5)
    np.testing.assert_allclose(
        merging.responsibilities(3), jax.vmap(merged.posterior)(x), atol=1e-5
    )
    with pytest.raises(ValueError, match="from 1 to 5"):
        merging.assignments(6)
    with pytest.raises(ValueError, match="Normal has none"):
        jm.choice.merge_components(jm.Normal(0, 1), x)


def test_split_and_merge_leaves_an_optimum_that_em_cannot(x64):
    # Two components share one cluster, and one covers two: EM stays there.
    rng = np.random.default_rng(0)
    centres = np.array([[-10.0, 0.0], [-3.0, 4.0], [10.0, 0.0]])
    x = jnp.asarray(np.concatenate([c + rng.normal(size=(60, 2)) for c in centres]))
    means = jnp.array([[-6.5, 2.0], [9.5, 0.0], [10.5, 0.0]])
    poor = jm.MixtureSameFamily(
        jnp.array([0.6, 0.2, 0.2]), jax.vmap(jm.DiagonalNormal)(means, jnp.full((3, 2), 2.0))
    )
    moves = jm.choice.split_and_merge(jax.random.key(4), poor, x)
    assert moves.path == sorted(moves.path)
    order = jnp.argsort(moves.model.components.mean[:, 0])
    own = np.stack([x[60 * k : 60 * (k + 1)].mean(0) for k in range(3)])
    np.testing.assert_allclose(moves.model.components.mean[order], own, atol=0.02)
    assert moves.path[-1] - moves.path[0] > 50
    with pytest.raises(ValueError, match="at least 3 components"):
        jm.choice.split_and_merge(jax.random.key(5), jm.Normal(0, 1), x)
