"""Mistakes that published code of these estimators makes, each with a test that would show it."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.objectives import Blocks, DeltaCorrection, Tempered, combine

BOUNDED = jm.objectives.HarmonicCounts(max_count=60)


def joint(z, x):
    """p(z) = N(0, 1), p(x | z) = N(z, 1): p(x) = N(0, 2), posterior N(x / 2, 1/2)."""
    return jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)


def posterior(x):
    return jm.Normal(x / 2, jnp.sqrt(jnp.asarray(0.5, x.dtype)))


def z_score(draws, truth):
    return (draws.mean(0) - truth) / (draws.std(0, ddof=1) / len(draws) ** 0.5)


FIXED = {
    "elbo": jm.elbo(4),
    "iwae": jm.iwae(4),
    "miwae": jm.miwae(2, 2),
    "piwae": jm.piwae(2, 2),
    "ciwae": jm.ciwae(4),
    "renyi": jm.renyi(4, alpha=0.5),
    "jackknife": jm.jackknife(4),
    "jackknife 2": jm.jackknife(4, order=2),
    "delta": jm.delta_method(4),
    "eubo": jm.objectives.eubo(4),
    "cubo": jm.objectives.cubo(4),
}


@pytest.mark.parametrize("name", FIXED)
def test_equal_weights_give_their_logarithm(name):
    # A log of the sum, or of the same sum added once a draw, does not.
    found = FIXED[name].combine(jnp.full(4, -3.0))
    assert abs(found.value + 3) < 1e-6
    np.testing.assert_allclose(found.model.sum(), 1, rtol=1e-6)


def test_weights_are_normalised_once():
    # sum_i (w_i / mean of normalised weights) f(z_i) is num_samples times too large.
    xs = jnp.array([1.0, -2.0])
    guide = lambda x: jm.Normal(x / 2, 1)
    both = lambda z: jnp.stack([jnp.ones_like(z), z])
    run = jax.jit(lambda key: jm.objectives.posterior_mean(key, joint, guide, xs, both))
    mean, error = run(jax.random.key(0))
    np.testing.assert_allclose(mean[:, 0], 1, rtol=1e-5)
    assert jnp.abs((mean[:, 1] - xs / 2) / error[:, 1]).max() < 4


def test_weights_stay_in_logarithms():
    # Densities of 2,000 coordinates underflow; their logarithms do not.
    prior = jm.DiagonalNormal(jnp.zeros(2000), jnp.ones(2000))
    model = lambda z, x: prior.log_prob(z) - 5e3
    run = jax.jit(lambda key: jm.iwae(8)(key, model, lambda x: prior, jnp.zeros(1)))
    np.testing.assert_allclose(run(jax.random.key(0)), -5e3, rtol=1e-5)


def test_log_of_the_mean_is_not_the_mean_of_logs():
    log_w = jnp.array([0.0, -2.0, -5.0])
    np.testing.assert_allclose(
        combine(log_w, [Blocks(3)]).value, np.log(np.mean(np.exp(log_w))), rtol=1e-6
    )
    np.testing.assert_allclose(combine(log_w, [Blocks(1)]).value, np.mean(log_w), rtol=1e-6)


@pytest.mark.parametrize("terms", [[Blocks(4), DeltaCorrection()], [Tempered(-1.0)]])
def test_squared_weights_do_not_overflow(terms):
    # w^2 at log w = 300 is far beyond float32; a shift of all log-weights shifts the value.
    log_w = jnp.array([0.3, -0.2, 1.1, 0.4])
    near, far = combine(log_w, terms), combine(log_w + 300, terms)
    np.testing.assert_allclose(far.value - 300, near.value, atol=1e-4)
    np.testing.assert_allclose(far.model, near.model, atol=1e-4)


def test_upper_bounds_are_named_and_a_value_may_lie_below():
    cubo = jm.objectives.cubo(2)
    assert cubo.direction == jm.objectives.eubo(2).direction == "upper"
    values = cubo.combine(jnp.array([-3.0, -1.0])).value, cubo.combine(jnp.array([2.0, 1.0])).value
    exact = 0.0  # of E[w] = 1, of which these are draws
    assert values[0] < exact < values[1]


def test_jackknife_divides_by_the_number_of_subsets():
    # The printed algorithm divides the leave-two-out sum by K - j, not by the binomial.
    log_w = np.array([0.0, 1.0, -1.0, 0.5, 2.0])
    size, order = len(log_w), 2

    def summed(divisor):
        total = 0.0
        for j in range(order + 1):
            c = (-1) ** j * (size - j) ** order / math.factorial(order - j) / math.factorial(j)
            kept = itertools.combinations(range(size), size - j)
            total += c * sum(np.log(np.mean(np.exp(log_w[list(s)]))) for s in kept) / divisor(j)
        return total

    found = jm.objectives.jackknifed(jnp.asarray(log_w, jnp.float32), order)
    np.testing.assert_allclose(found, summed(lambda j: math.comb(size, j)), atol=2e-4)
    assert abs(found - summed(lambda j: size - j if j else 1)) > 1


def test_wake_holds_the_draws_still():
    # Its gradient is sum_i s_i grad log q(z_i) at fixed draws, written out here.
    x = jnp.array([0.7])

    def ours(m, key):
        objective = jm.iwae(6, guide_gradient="wake")
        return objective(key, joint, lambda x: jm.Normal(m, 1), x)[0]

    def written_out(m, key):
        q = jm.Normal(m, 1)
        zs = jax.vmap(q.sample)(jax.random.split(jax.random.split(key, 1)[0], 6))
        log_w = jax.vmap(lambda z: joint(z, x[0]) - q.log_prob(z))(zs)
        return jax.nn.softmax(log_w) @ (zs - m)

    m = jnp.array(0.2)
    found = jax.jit(jax.grad(ours))(m, jax.random.key(3))
    np.testing.assert_allclose(found, jax.jit(written_out)(m, jax.random.key(3)), rtol=1e-4)


def test_vimco_leaves_one_out_by_the_geometric_mean(x64):
    log_w = jnp.array([0.3, -1.0, 0.8, 2.0])
    found = jm.objectives._rules.learning_signals(log_w, (Blocks(4),))
    for i in range(4):
        replaced = np.array(log_w)
        replaced[i] = np.delete(replaced, i).mean()
        expected = np.log(np.mean(np.exp(log_w))) - np.log(np.mean(np.exp(replaced)))
        np.testing.assert_allclose(found[i], expected, rtol=1e-10)


@pytest.fixture(scope="module")
def counts():
    """SUMO's draws a row beyond the first, of 200 batches of 64 rows."""
    objective = jm.sumo(law=BOUNDED)
    model = lambda z, x: joint(z, x)
    run = jax.jit(lambda k: objective.evaluate(k, model, posterior, jnp.zeros(64)).samples)
    return np.asarray(jax.lax.map(run, jax.random.split(jax.random.key(4), 200))) - 1


def test_sumo_stops_with_the_survival_it_divides_by(counts):
    # A fresh uniform a count, compared with 1 / k, gives the product of 1 / j instead; and a
    # support that starts anywhere but at 1 gives P(K >= 1) < 1 or skips counts.
    assert counts.min() == 1
    for k in (1, 2, 3, 5, 10, 40):
        share, p = (counts >= k).mean(1), BOUNDED.survival(k)
        # Systematic counts: the error of a batch's share is below one row in 64.
        assert abs(share - p).max() < 1 / 64 + 1e-6
        assert abs(share.mean() - p) <= 4 * share.std() / 200**0.5 + 1e-6


def test_rows_draw_their_own_counts_and_every_row_the_same_law(counts):
    assert all(len(set(batch)) > 5 for batch in counts)  # one count a batch correlates its rows
    assert len(set(counts[:, 0])) > 8  # and no row keeps a slot
    late = (counts >= 5).mean(0)
    assert np.abs(late - 0.2).max() < 4.5 * (0.2 * 0.8 / 200) ** 0.5


def test_a_truncated_law_is_biased_by_what_it_says():
    # Levels that end at 8 are often called unbiased; ending at 0 shows the bias at once.
    objective = jm.multilevel(max_level=0, base_samples=2)
    guide = lambda x: jm.Normal(x / 2, 1)
    run = jax.jit(lambda k: objective(k, joint, guide, jnp.zeros(40_000)))
    exact = jm.Normal(0, 2**0.5).log_prob(0.0)
    values = np.asarray(run(jax.random.key(0)))
    chi2 = 2 / 3**0.5 - 1  # of N(0, 1/2) from N(0, 1)
    assert abs(z_score(values, exact)) > 20
    bound = objective.law.bias_bound(chi2, base_samples=2)
    assert abs(values.mean() - exact + bound) < 0.25 * bound  # to leading order
    assert "bias at most" in str(objective)
    assert jm.multilevel().top == 17


def test_the_plain_gradient_of_an_unbiased_value_tells_the_guide_nothing():
    objective = jm.multilevel(max_level=5)  # its value itself, not what the guide follows

    def loss(m, key):
        q = jm.Normal(m, 1)
        k_level, k_draws = jax.random.split(key)
        level = objective.law.levels(jax.random.uniform(k_level)).astype(int)
        zs = jax.vmap(q.sample)(jax.random.split(k_draws, 64))
        log_w = jax.vmap(lambda z: joint(z, jnp.array(0.0)) - q.log_prob(z))(zs)
        return objective.row(log_w, jnp.minimum(level, 5))[0].value

    keys = jax.random.split(jax.random.key(0), 4000)
    run = jax.jit(lambda ks: jax.lax.map(lambda k: jax.grad(loss)(0.3, k), ks, batch_size=500))
    gradients = np.asarray(run(keys))
    assert abs(z_score(gradients, 0.0)) < 4


def test_a_bound_is_one_number_a_row_whatever_its_neighbours():
    # Summing log-weights over a batch before the logarithm changes each row with its batch.
    guide = lambda x: jm.Normal(x / 2, 1)
    xs = jnp.array([0.0, 1.0, 30.0])

    def written_out(key):
        q = guide(xs[1])
        zs = jax.vmap(q.sample)(jax.random.split(jax.random.split(key, 3)[1], 6))
        return jax.vmap(lambda z: joint(z, xs[1]) - q.log_prob(z))(zs)

    found = jax.jit(lambda key: jm.iwae(6)(key, joint, guide, xs))(jax.random.key(0))
    log_w = jax.jit(written_out)(jax.random.key(0))
    np.testing.assert_allclose(found[1], np.log(np.mean(np.exp(log_w))), rtol=1e-5)


def test_a_minibatch_scaled_is_unbiased_for_the_total():
    # The exact posterior has no Monte Carlo noise: the mean over all pairs of rows is exact.
    xs = jnp.array([0.3, -1.0, 2.0, 0.7])
    total = jax.vmap(jm.Normal(0, 2**0.5).log_prob)(xs).sum()
    run = jax.jit(lambda k, batch: 4 * jm.iwae(3)(k, joint, posterior, batch).mean())
    pairs = [jnp.array(p) for p in itertools.combinations(range(4), 2)]
    scaled = [run(jax.random.key(i), xs[p]) for i, p in enumerate(pairs)]
    np.testing.assert_allclose(np.mean(scaled), total, rtol=1e-5)
