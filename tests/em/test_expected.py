"""Expected statistics against brute force: they are a gradient, and must equal the sums."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as sps
from scipy.special import logsumexp as sp_logsumexp

import jaxmix as jm
from jaxmix._refittable import tilt
from jaxmix.em.expected import expect
from jaxmix.em.m_step import maximise


def gaussian(dtype, k=3, d=2, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d)) * 0.3 + np.eye(d)
    covariances = np.einsum("kij,klj->kil", roots, roots)
    means, weights = rng.normal(size=(k, d)) * 2, rng.dirichlet(np.ones(k) * 3)
    x = rng.normal(size=(257, d)) * 2
    model = jm.MixtureSameFamily(
        jnp.asarray(weights, dtype),
        jax.vmap(jm.MultivariateNormal)(jnp.asarray(means, dtype), jnp.asarray(covariances, dtype)),
    )
    return model, jnp.asarray(x, dtype), (weights, means, covariances, x)


def hand_written_step(weights, means, covariances, x, case_weights):
    log_joint = np.stack(
        [
            np.log(w) + sps.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ],
        -1,
    )
    total = sp_logsumexp(log_joint, -1)
    r = np.exp(log_joint - total[:, None]) * case_weights[:, None]
    counts = r.sum(0)
    new_means = r.T @ x / counts[:, None]
    new_covariances = []
    for k in range(len(weights)):
        residual = x - new_means[k]
        new_covariances.append((r[:, k, None] * residual).T @ residual / counts[k])
    log_likelihood = (total * case_weights).sum()
    return log_likelihood, counts / counts.sum(), new_means, np.stack(new_covariances)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunk_size", [None, 64])
def test_step_equals_hand_written(dtype, weighted, chunk_size):
    model, x, (weights, means, covariances, host) = gaussian(dtype)
    case = np.random.default_rng(1).uniform(0, 2, len(host)) if weighted else np.ones(len(host))
    case[::7] = 0 if weighted else 1
    given = jnp.asarray(case, dtype) if weighted else None
    expected = expect(model, x, given, chunk_size=chunk_size)
    new = maximise(model, expected, x, given).model
    answer = hand_written_step(weights, means, covariances, host, case)
    tolerance = {"float32": 1e-5, "float64": 1e-10}[str(dtype)]
    found = (
        expected.log_likelihood.value,
        new.weights,
        new.components.mean,
        new.components.covariance,
    )
    for ours, theirs in zip(found, answer, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_product_and_residual_forms_agree(x64):
    near, x, _ = gaussian(jnp.float64)
    # Means far apart against their scales: the same pass must take the residual form.
    far = eqx.tree_at(lambda m: m.components.mean, near, near.components.mean * 1e9)
    shift = jnp.repeat(far.components.mean, 86, axis=0)[:257]
    for model, data in ((near, x), (far, x + shift)):
        expected = expect(model, data)
        r = jax.vmap(model.posterior)(data)
        residual = data[:, None] - model.components.mean[None]
        second = jnp.einsum("nk,nki,nkj->kij", r, residual, residual)
        np.testing.assert_allclose(expected.stats[1].count, r.sum(0), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(expected.stats[1].second, second, rtol=1e-8, atol=1e-8)


def nested():
    inner = jax.vmap(jm.MixtureSameFamily)(
        jnp.array([[0.3, 0.7], [0.6, 0.4]]),
        jax.vmap(jax.vmap(jm.Normal))(
            jnp.array([[-1.0, 2.0], [4.0, 0.0]]), jnp.array([[1.0, 0.5], [2.0, 1.0]])
        ),
    )
    record = jm.Composite((inner, jax.vmap(jm.Poisson)(jnp.array([2.0, 6.0]))))
    return jm.MixtureSameFamily(jnp.array([0.45, 0.55]), record)


def nested_data():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.normal(size=50) * 2, jnp.float32), jnp.asarray(rng.poisson(4, 50))


def nested_responsibilities(model, x, counts):
    """p(outer, inner | row), by enumeration with scipy."""
    record = model.components
    inner, poisson = record.parts
    joint = np.empty((len(x), 2, 2))
    for k in range(2):
        for j in range(2):
            scale = float(jnp.exp(inner.components.log_scale[k, j]))
            joint[:, k, j] = (
                np.log(model.weights[k])
                + np.log(inner.mixing.probs[k, j])
                + sps.norm(inner.components.mean[k, j], scale).logpdf(x)
                + sps.poisson(float(poisson.mean[k])).logpmf(counts)
            )
    total = sp_logsumexp(joint, axis=(1, 2))
    return total, np.exp(joint - total[:, None, None])


def test_nested_mixture_equals_enumeration():
    model, (x, counts) = nested(), nested_data()
    log_likelihood, stats = jm.em.expected_stats(model, (x, counts), chunk_size=16)
    total, r = nested_responsibilities(model, np.asarray(x), np.asarray(counts))
    np.testing.assert_allclose(log_likelihood, total.sum(), rtol=1e-6)
    np.testing.assert_allclose(stats.mixing.outcomes, r.sum((0, 2)), rtol=1e-5)
    inner, poisson = stats.components.parts
    np.testing.assert_allclose(inner.mixing.outcomes, r.sum(0), rtol=1e-5)
    np.testing.assert_allclose(inner.components.count, r.sum(0), rtol=1e-5)
    residual = np.asarray(x)[:, None, None] - np.asarray(model.components.parts[0].components.mean)
    np.testing.assert_allclose(inner.components.first, (r * residual).sum(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        inner.components.second, (r * residual**2).sum(0), rtol=1e-4, atol=1e-4
    )
    events = r.sum(2)
    np.testing.assert_allclose(
        jax.tree.leaves(poisson)[1], (events * np.asarray(counts)[:, None]).sum(0), rtol=1e-5
    )


def test_tied_statistics_pool():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40,)) + 1, jnp.float32)
    parts = [jm.Composite((jm.Normal(0.0, 1.0), jm.Normal(m, 1.0))) for m in (-1.0, 2.0)]
    model = jm.Mixture(jnp.array([0.4, 0.6]), parts)
    tied = jm.tie(model, lambda m: [c.parts[0] for c in m.components])
    data = (x, 2 * x)
    _, plain = jm.em.expected_stats(model, data)
    _, pooled = jm.em.expected_stats(tied, data)
    summed = [c.parts[0] for c in plain.components]
    np.testing.assert_allclose(pooled.part.count, summed[0].count + summed[1].count, rtol=1e-6)
    np.testing.assert_allclose(pooled.part.first, summed[0].first + summed[1].first, rtol=1e-5)
    # The M-step of a tied part uses all rows: it is the plain fit of the first field.
    new, _, _ = jm.em.step(tied, data)
    np.testing.assert_allclose(new.part.mean, x.mean(), rtol=1e-5)


def test_tied_part_in_a_stack_is_one():
    model = jm.mixture_of(jm.Composite((jm.Normal.template(), jm.Normal.template())), 3)
    model = eqx.tree_at(lambda m: m.components.parts[1].mean, model, jnp.array([-2.0, 0.0, 2.0]))
    shared = jm.Normal(0.5, 1.0)
    tied = jm.tie(model, lambda m: [m.components.parts[0]])
    tied = eqx.tree_at(lambda t: t.part, tied, shared)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(30, 2)), jnp.float32)
    _, stats = jm.em.expected_stats(tied, (x[:, 0], x[:, 1]))
    np.testing.assert_allclose(stats.part.count, 30, rtol=1e-6)
    np.testing.assert_allclose(stats.part.first, (x[:, 0] - 0.5).sum(), rtol=1e-4, atol=1e-5)


def test_frozen_part_stays():
    model, x, _ = gaussian(jnp.float32)
    still = eqx.tree_at(lambda m: m.components, model, replace_fn=jm.frozen)
    new, _, _ = jm.em.step(still, x)
    plain = jm.unwrap(new)
    assert jnp.array_equal(plain.components.mean, model.components.mean)
    r = jax.vmap(model.posterior)(x)
    np.testing.assert_allclose(plain.weights, r.mean(0), rtol=1e-5)
    gradient = eqx.filter_grad(lambda m: m.log_prob(x[0]))(still)
    assert all((g == 0).all() for g in jax.tree.leaves(gradient.components))
    with pytest.raises(ValueError, match="Only a density can be frozen"):
        jm.frozen(model.weights)
    mask = jm.trainable(still)
    assert not any(jax.tree.leaves(mask.components)) and all(jax.tree.leaves(mask.mixing))


def test_tilt_has_its_second_derivative(x64):
    """The Hessian of a log-partition in a tilt is a variance, never silently 0."""
    values = jnp.array([0.5, -1.0, 2.0])

    def log_partition(t):
        return jax.scipy.special.logsumexp(jnp.log(0.2) + tilt(t * values, t * values))

    # The value adds t once, the tangent twice: at t the derivative is that of 2 t x by the rule.
    direct = jax.grad(jax.grad(lambda t: jax.scipy.special.logsumexp(t * values)))(0.0)
    tilted = jax.grad(
        jax.grad(lambda t: jax.scipy.special.logsumexp(tilt(jnp.zeros(3), t * values)))
    )(0.0)
    np.testing.assert_allclose(tilted, direct, rtol=1e-12)
    assert abs(log_partition(0.0) - jnp.log(0.6)) < 1e-12


def test_the_m_step_alone_is_that_of_a_step():
    """From a tree of statistics, averaged or summed over batches under several models."""
    model, data = nested(), nested_data()
    model = eqx.tree_at(lambda m: m.components.parts[1], model, replace_fn=jm.frozen)
    _, stats = jm.em.expected_stats(model, data)
    whole = jm.em.step(model, data)[0]
    average = jax.tree.map(lambda a: a / 50, stats)
    for given in (stats, average):
        for a, b in zip(
            jax.tree.leaves(jm.em.m_step(model, given).model), jax.tree.leaves(whole), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # About another model's origin, statistics of known rows are what it would have given.
    x = jnp.array([1.0, 2.0, 4.0])
    old, new = jm.Normal(0.0, 1.0), jm.Normal(7.0, 2.0)
    moved = jm.em.recentre(jm.em.expected_stats(old, x)[1], old, new)
    for a, b in zip(moved, jm.em.expected_stats(new, x)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="not the structure of the model"):
        jm.em.m_step(model, [stats])
    with pytest.raises(ValueError, match="statistics of a Normal are Moments"):
        jm.em.m_step(old, jm.Moments(jnp.ones(2), jnp.ones(2), jnp.ones(2)))
