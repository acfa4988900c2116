"""Each numerical rule of the house as a regression test."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as sps
from scipy.special import logsumexp as sp_logsumexp

import jaxmix as jm
from jaxmix._log_sums import log_mean_exp, logsumexp
from jaxmix._trees import Sum, add, compensated_sum, difference, merge


@pytest.mark.skipif(os.environ.get("JAXMIX_AS_USERS") == "1", reason="this is that run")
def test_these_rules_hold_as_users_compile():
    """With every optimisation of the compiler, some of which move roundings: those of float32."""
    names = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    rules = "float32 or noise or nothing or second"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        rules,
        __file__,
    ]
    done = subprocess.run(
        command, env=environment | {"JAXMIX_AS_USERS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def double_precision_em(x, means, covariances, weights, steps):
    for _ in range(steps):
        joint = np.stack(
            [
                np.log(w) + sps.multivariate_normal(m, c).logpdf(x)
                for w, m, c in zip(weights, means, covariances, strict=True)
            ],
            -1,
        )
        r = np.exp(joint - sp_logsumexp(joint, -1)[:, None])
        counts = r.sum(0)
        weights, means = counts / len(x), r.T @ x / counts[:, None]
        covariances = [
            (r[:, k, None] * (x - m)).T @ (x - m) / counts[k] for k, m in enumerate(means)
        ]
    joint = np.stack(
        [
            np.log(w) + sps.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ],
        -1,
    )
    return sp_logsumexp(joint, -1).mean()


@pytest.mark.parametrize("case", ["offset", "tight"])
def test_float32_reaches_the_float64_likelihood(case):
    rng = np.random.default_rng(0)
    if case == "offset":  # unit clusters at offset 1e3
        centres, scale = 1e3 + 6 * rng.normal(size=(3, 4)), 1.0
    else:  # clusters of scale 0.01 at +-10
        centres, scale = 10 * np.sign(rng.normal(size=(3, 4))), 0.01
        centres[0], centres[1], centres[2] = 10, -10, [10, -10, 10, -10]
    x = (centres[rng.integers(3, size=900)] + scale * rng.normal(size=(900, 4))).astype(np.float32)
    means = centres + 0.3 * scale
    covariances = [np.eye(4) * scale**2] * 3
    answer = double_precision_em(x.astype(float), means, covariances, np.ones(3) / 3, 10)
    parts = jax.vmap(jm.MultivariateNormal)(
        jnp.asarray(means, jnp.float32), jnp.asarray(np.stack(covariances), jnp.float32)
    )
    start = jm.MixtureSameFamily(jnp.ones(3) / 3, parts)
    run = jm.em.run(start, jnp.asarray(x), max_steps=10, tol=None, history_size=10)
    assert abs(float(run.log_likelihood) / len(x) - answer) < 1e-4


def test_logsumexp_of_nothing():
    nothing = jnp.full(3, -jnp.inf)
    assert logsumexp(nothing) == -jnp.inf
    np.testing.assert_array_equal(jax.jit(jax.grad(logsumexp))(nothing), 0)
    assert jnp.isnan(logsumexp(jnp.array([jnp.nan, 0.0])))
    some = jnp.array([-jnp.inf, 0.3, -2.0])
    np.testing.assert_allclose(logsumexp(some), sp_logsumexp(np.asarray(some)), rtol=1e-6)
    np.testing.assert_allclose(log_mean_exp(jnp.zeros(5)), 0, atol=1e-7)


def test_logsumexp_second_derivative(x64):
    x = jnp.array([0.5, -1.0, 2.0])
    p = jax.nn.softmax(x)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(logsumexp))(x),
        jnp.diag(p) - p[:, None] * p[None],
        rtol=1e-12,
        atol=1e-15,
    )


def test_zero_weight_is_a_valid_weight():
    parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0, 0.0]), jnp.ones(3))
    model = jm.MixtureSameFamily(jnp.array([0.4, 0.6, 0.0]), parts)
    gradient = jax.jit(jax.grad(lambda m: m.log_prob(jnp.array(0.3))))(model)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert gradient.components.mean[2] == 0
    run = jm.em.run(model, jnp.linspace(-2, 2, 30), max_steps=5, tol=None)
    assert run.model.weights[2] == 0 and jnp.isfinite(run.log_likelihood)


def test_weights_are_counts_and_not_gradients_of_logits():
    """Differentiating through log_softmax would give counts minus N weights, which sum to 0."""
    model = jm.MixtureSameFamily(
        jnp.array([0.4, 0.6]), jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
    )
    _, stats = jm.em.expected_stats(model, jnp.linspace(-2, 2, 30))
    np.testing.assert_allclose(stats.mixing.outcomes.sum(), 30, rtol=1e-6)


def test_off_support_has_a_finite_gradient():
    mixture = jm.Mixture(jnp.array([0.5, 0.5]), [jm.LogNormal(0.0, 1.0), jm.Normal(0.0, 1.0)])
    both = jax.jit(jax.value_and_grad(lambda m, x: m.log_prob(x)))
    for x in (-1.0, 0.0):
        value, gradient = both(mixture, jnp.array(x))
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_sums_keep_what_float32_loses():
    values = np.random.default_rng(0).normal(size=10_001).astype(np.float32) + 1000
    exact = values.astype(float).sum()
    total = compensated_sum(jnp.asarray(values))
    assert abs(float(total.high) + float(total.low) - exact) < 1e-3
    assert abs(float(np.float32(exact)) - exact) > 0.05  # one float32 cannot hold it
    start = Sum(jnp.float32(1e7), jnp.float32(0))
    nearby = add(start, jnp.float32(0.01))
    np.testing.assert_allclose(difference(nearby, start), 0.01, rtol=1e-5)
    np.testing.assert_allclose(difference(merge(start, nearby), start), 1e7 + 0.01, rtol=1e-7)


def test_nan_is_never_convergence():
    class Treacherous(jm.LogDensity):
        level: jax.Array

        def log_prob(self, x):
            # Finite at the start; NaN as soon as the level has moved.
            return jnp.where(self.level == 1, -(x**2), jnp.nan) * self.level

    model = jm.Mixture(jnp.array([0.5, 0.5]), [Treacherous(jnp.array(1.0)), jm.Normal(0.0, 1.0)])
    x = jnp.linspace(-1, 1, 20)
    run = jm.em.run(model, x, max_steps=5)
    assert jnp.isfinite(run.log_likelihood)
    bad = jm.em.run(jm.Normal(jnp.nan, 1.0), x, max_steps=5)
    assert bool(bad.result == jm.RESULTS.nonfinite) and int(bad.num_steps) == 0


def test_emptied_component_keeps_its_parameters_and_is_counted():
    parts = jax.vmap(jm.Normal)(jnp.array([0.0, 1e4]), jnp.array([1.0, 1e-3]))
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
    run = jm.em.run(model, jnp.linspace(-1, 1, 40), max_steps=5, tol=None)
    assert run.model.components.mean[1] == 1e4 and int(run.num_emptied) == 1
    assert jnp.isfinite(run.log_likelihood)


def test_tolerance_below_noise_is_told():
    x = jnp.asarray(np.random.default_rng(0).normal(size=4000), jnp.float32)
    start = jm.em.init(jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), x)
    run = jm.em.run(start, x, tol=1e-14, max_steps=1000)
    assert bool(run.result == jm.RESULTS.tolerance_below_noise) or int(run.num_steps) == 1000


def test_dtypes_follow_the_data():
    with jax.enable_x64(True):
        x = jnp.linspace(-1.0, 1.0, 50)
        fit = jm.fit(jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), x, num_restarts=2)
        assert fit.model.components.mean.dtype == jnp.float64
        half = x.astype(jnp.float32)
        fit = jm.fit(
            jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), half, num_restarts=2
        )
        assert fit.model.components.mean.dtype == jnp.float32
    assert jm.Normal(0, 1).mean.dtype == jnp.float32 and not jm.Normal(0, 1).mean.weak_type


def test_second_derivatives_of_sums_of_nothing_are_0():
    """All terms at -inf, in one of two sums: its slope is 0, and so is its own slope."""
    from jaxmix._log_sums import log_mixed, logsumexp, weighted_logsumexp

    def some(a, function):
        terms = jnp.stack([jnp.stack([a, 2 * a]), jnp.full(2, -jnp.inf) + a])
        return jnp.where(jnp.isneginf(function(terms)), 0, function(terms)).sum()

    sums = (
        lambda t: logsumexp(t, 1),
        lambda t: weighted_logsumexp(jnp.zeros_like(t), t, 1),
        lambda t: log_mixed(jnp.zeros((1, 2)), t.T)[0],
    )
    for function in sums:
        value = lambda a, f=function: some(a, f)
        p = 1 / (1 + np.exp(-0.3))  # the share of 2 a, at a = 0.3
        both = jax.jit(lambda a, v=value: (jax.grad(v)(a), jax.grad(jax.grad(v))(a)))
        np.testing.assert_allclose(both(0.3), [1 + p, p * (1 - p)], rtol=1e-5)
