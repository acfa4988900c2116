"""Unbiasedness, honest errors, gradients: z-scores over fixed keys, at 4 sigma."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm

from .systems import EXACT, THETAS, normals, proposals, rejects

imp = jm.importance
REPLICATES = 600


def replicates(estimate, seed=0, num=REPLICATES):
    return jax.jit(lambda keys: jax.lax.map(estimate, keys, batch_size=50))(
        jax.random.split(jax.random.key(seed), num)
    )


def weights_of_the_source():
    """A share of 0.1 of each target's own draws, the rest of the others."""
    rows = jax.random.uniform(jax.random.key(3), (6, 3)) + 0.1
    return jnp.concatenate([0.1 * jnp.eye(6), 0.9 * rows / rows.sum(1, keepdims=True)], 1)


# Four standard errors of a coverage over the replicates.
NOISE = 4 * np.sqrt(0.95 * 0.05 / REPLICATES)


@pytest.mark.parametrize(
    "counts", [np.full(9, 60), np.array([20, 200, 20, 90, 20, 20, 150, 20, 40])]
)
@pytest.mark.parametrize("case", ["pooled", "own", "controls"])
def test_unbiased_with_honest_errors_and_coverage(counts, case):
    options = {"weights": weights_of_the_source()} if case == "own" else {}
    options |= {"control_variates": True} if case == "controls" else {}

    def one(key):
        draws = imp.draw(key, proposals(), counts)
        out = jm.imp_est(rejects, normals(THETAS), draws, **options)
        trusted = (out.hits > 0) & (out.pareto_k <= 0.7) & (out.max_weight <= 0.05)
        return out.value, out.std_error, trusted

    value, error, trusted = replicates(one, seed=int(counts[1]))
    value, error = np.asarray(value, float), np.asarray(error, float)
    off = value - EXACT
    # The value's mean is the expectation, and the mean squared error the mean square of the error.
    for zero in (off, off**2 - error**2):
        z = zero.mean(0) / (zero.std(0, ddof=1) / np.sqrt(REPLICATES))
        assert np.abs(z).max() < 4
    # A target's 95 % intervals cover in 92.5 to 97.5 %, or `problems` says that they may not:
    # skewed terms of a few draws are beyond a normal interval.
    covered = (np.abs(off) <= 1.96 * error).mean(0)
    called_out = 1 - np.asarray(trusted).mean(0)
    assert np.all((covered > 0.925 - NOISE) | (called_out > 0.95))
    assert covered.max() < 0.975 + NOISE


def test_ratios_known_up_to_a_factor_have_honest_errors():
    exact = np.array([0.3, -1.0])

    def one(key):
        draws = imp.draw(key, jm.Normal(0.0, 2.0), 400)
        x = draws.events
        log_p = jnp.stack([-0.5 * (x - 0.3) ** 2, -0.5 * (x + 1) ** 2 + 7], 1)
        table = imp.Table(
            log_p, imp.log_table(draws.proposals, x), draws.stratum, draws.counts, draws.each
        )
        out = imp.from_table(table, x, self_normalised=True)
        return out.value, out.std_error

    value, error = replicates(one)
    z = (value - exact[None]) / error
    assert np.all(np.abs(z.mean(0)) < 4 * z.std(0) / np.sqrt(REPLICATES) + 0.05)
    np.testing.assert_allclose(z.std(0), 1, atol=4 * np.sqrt(0.5 / REPLICATES) + 0.02)


def test_gradient_is_that_of_the_expectation_where_targets_are_proposals():
    def one(key):
        draws = imp.draw(key, proposals(), 60)

        def total(theta):
            return jm.imp_est(rejects, normals(theta), draws, weights=weights_of_the_source()).value

        first = jax.jvp(total, (THETAS,), (jnp.ones(6),))[1]
        second = jax.jvp(
            lambda t: jax.jvp(total, (t,), (jnp.ones(6),))[1], (THETAS,), (jnp.ones(6),)
        )[1]
        return first, second

    first, second = map(np.asarray, replicates(one, seed=9))
    at = 1.96 - np.asarray(THETAS, float)
    for seen, exact in ((first, stats.norm.pdf(at)), (second, at * stats.norm.pdf(at))):
        z = (seen.mean(0) - exact) / (seen.std(0, ddof=1) / np.sqrt(REPLICATES))
        assert np.abs(z).max() < 4


def test_control_variates_sharpen_by_half():
    draws = imp.draw(jax.random.key(0), proposals(), 500)
    plain = jm.imp_est(rejects, normals(THETAS), draws)
    for controls in (True, normals(THETAS)):
        sharper = jm.imp_est(rejects, normals(THETAS), draws, control_variates=controls)
        ratio = np.log(np.asarray(sharper.std_error / plain.std_error))[1:]
        assert np.all(ratio < 0)
        if controls is True:  # of the variance, in the geometric mean over targets
            assert np.exp(2 * ratio.mean()) < 0.5
        assert np.all(np.abs(np.asarray(sharper.value) - EXACT) < 4.5 * sharper.std_error)


def test_variance_gradients_point_to_better_proposals():
    draws = imp.draw(jax.random.key(0), normals(jnp.array([0.0, 2.0])), 4000)

    def loss(mean):
        return imp.second_moments(rejects, jm.Normal(0.0, 1.0), jm.Normal(mean, 1.0), draws)

    # E_q[(f p / q)^2] = exp(m^2) Phi(-1.96 - m) for q = N(m, 1).
    for m in (1.5, 2.5):
        exact = m**2 + stats.norm.logsf(1.96 + m)
        assert abs(loss(m) - exact) < 0.1
        hazard = np.exp(stats.norm.logpdf(1.96 + m) - stats.norm.logsf(1.96 + m))
        assert abs(jax.grad(loss)(m) - (2 * m - hazard)) < 0.3


def test_optimal_weights_reach_their_certificate():
    draws = imp.draw(jax.random.key(0), proposals(), 500)
    best = imp.optimal_weights(rejects, normals(THETAS), draws)
    assert best.gap < 2e-3
    np.testing.assert_allclose(best.weights.sum(), 1, rtol=1e-5)

    def objective(w):
        moments = imp.second_moments(rejects, normals(THETAS), proposals(), draws, weights=w)
        value = jm.imp_est(rejects, normals(THETAS), draws).value
        return jnp.sum(jnp.exp(moments) / value**2)

    np.testing.assert_allclose(objective(best.weights), best.objective, rtol=1e-3)
    for seed in range(5):  # no other weights do better
        other = jax.random.dirichlet(jax.random.key(seed), jnp.full(9, 0.5))
        assert objective(other) > best.objective * (1 - 2e-3)
    each = imp.optimal_weights(rejects, normals(THETAS), draws, criterion="each")
    assert each.weights.shape == (6, 9)
    assert each.objective.sum() <= best.objective * 1.001
    minimax = imp.optimal_weights(rejects, normals(THETAS), draws, criterion="minimax", tol=0.02)
    assert minimax.gap < 0.05 and minimax.objective >= each.objective.max() * 0.999
    floored = imp.optimal_weights(rejects, normals(THETAS), draws, floor=0.05)
    assert floored.weights.min() > 0.05 * (1 - 1e-4)


def test_pareto_k_and_smoothing_find_the_shape_of_a_known_tail():
    raw = np.random.default_rng(2).exponential(size=4000).astype(np.float32)
    run = jax.jit(imp.psis)
    for k in (0.3, 0.9):  # weights are Pareto(1 / k)
        smooth, found = map(np.asarray, run(k * raw))
        assert abs(found - k) < 0.15
        assert smooth.max() <= k * raw.max() and smooth.shape == raw.shape
        # The body is left alone, but for the rounding of a shift by the largest.
        rounding = 2 * np.finfo(raw.dtype).eps * raw.max()
        np.testing.assert_allclose(np.sort(smooth)[:3500], k * np.sort(raw)[:3500], atol=rounding)


def test_float64_is_kept(x64):
    draws = imp.draw(jax.random.key(0), jax.vmap(jm.Normal)(jnp.zeros(2), jnp.ones(2)), 50)
    out = jm.imp_est(rejects, jm.Normal(jnp.zeros(()), jnp.ones(())), draws)
    assert out.value.dtype == out.pareto_k.dtype == jnp.float64
