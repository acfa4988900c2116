"""Each diagnostic means one thing: tails, ties, overlap, dependence, whatever the units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxmix as jm

imp = jm.importance


@pytest.mark.parametrize(
    ("weights", "least", "most"),
    [
        (np.ones(500), -np.inf, 0.0),  # plain Monte Carlo: no tail
        (np.r_[np.full(400, 1.0), np.full(100, 3.0)], -np.inf, 0.0),  # two values, the top tied
        (np.r_[np.ones(498), 1.2, 1.2], -np.inf, 0.1),  # a rare value near the others
        (np.r_[np.ones(499), 1e4], 0.7, 1e6),  # one draw that makes the mean
        (np.r_[np.zeros(480), np.ones(20)], np.inf, np.inf),  # too few to tell
        (np.random.default_rng(0).pareto(1 / 0.9, 2000) + 1, 0.7, 1.1),
    ],
)
def test_ties_and_few_draws_have_their_own_tails(weights, least, most):
    with np.errstate(divide="ignore"):
        log_w = jnp.asarray(np.log(weights), jnp.float32)
    assert least <= float(imp.pareto_k(log_w)) <= most
    assert least <= float(imp.pareto_k(log_w - 1e3)) <= most + 1e-3

    def total(log_w):
        smooth, _ = imp.psis(log_w)
        return jnp.sum(jnp.exp(smooth))

    value, slope = jax.jit(jax.value_and_grad(total))(log_w)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("self_normalised", [False, True])
def test_values_and_errors_of_any_units_are_those_of_double_precision(self_normalised):
    draws = imp.draw(jax.random.key(0), jm.Normal(1.0, 1.5), 2000)
    units = np.array([1e-30, 1e-20, 1.0, 1e20, 1e30, 1e38])
    f = lambda x: (
        jnp.asarray(units, x.dtype)
        * jnp.tile(jnp.stack([jnp.where(x > 1, 1 + 0 * x, 0 * x), 0.1 * x]), 3)
    )
    found = jm.imp_est(f, jm.Normal(0.0, 1.0), draws, self_normalised=self_normalised)
    x = np.asarray(draws.events, float)
    w = norm.pdf(x) / norm.pdf(x, 1.0, 1.5)
    terms = np.where(np.arange(6) % 2 == 0, x[:, None] > 1, 0.1 * x[:, None])
    value = (w @ terms) / (w.sum() if self_normalised else len(x))
    residual = w[:, None] * (terms - value if self_normalised else terms)
    error = residual.std(0, ddof=1) / len(x) ** 0.5 / (w.mean() if self_normalised else 1)
    np.testing.assert_allclose(found.value / units, value, rtol=1e-3)
    np.testing.assert_allclose(found.std_error / units, error, rtol=1e-3)
    np.testing.assert_allclose(found.log_std_error, error / abs(value), rtol=2e-3)
    assert not found.problems()


def test_the_error_is_right_where_the_largest_values_have_the_least_weight():
    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 5.0), 4000)
    found = jm.imp_est(
        lambda x: jnp.exp(jnp.minimum(0.45 * x**2, 76.0)), jm.Normal(0.0, 1.0), draws
    )
    x = np.asarray(draws.events, float)
    terms = norm.pdf(x) / norm.pdf(x, 0.0, 5.0) * np.exp(np.minimum(0.45 * x**2, 76.0))
    np.testing.assert_allclose(found.value, terms.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.std_error, terms.std(ddof=1) / len(x) ** 0.5, rtol=1e-4)


def test_given_values_off_the_support_do_not_count():
    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 5.0), 4000)
    inside = (draws.events > 0) & (draws.events < 1)
    given = jnp.where(inside, draws.events, jnp.finfo(draws.events.dtype).max)
    found = jm.imp_est(given, jm.Uniform(0.0, 1.0), draws)
    terms = np.where(inside, draws.events / norm.pdf(draws.events, 0.0, 5.0), 0.0)
    np.testing.assert_allclose(found.std_error, terms.std(ddof=1) / len(terms) ** 0.5, rtol=1e-4)


def test_tails_of_a_chain_are_longer():
    log_w = jnp.log1p(jax.random.pareto(jax.random.key(0), 2.0, (4000,)))
    assert imp.pareto_k(log_w, r_eff=0.25) != imp.pareto_k(log_w)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="r_eff"):
            imp.pareto_k(log_w, r_eff=wrong)


def test_dependent_weights_are_smoothed_over_their_longer_tail():
    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 1.0), 2000)
    x = np.asarray(draws.events, float)
    log_w = jnp.asarray(norm.logpdf(x, 0, 2) - norm.logpdf(x), jnp.float32)
    for r_eff in (1.0, 0.1):
        smooth = np.asarray(imp.psis(log_w, r_eff=r_eff)[0], float)
        share = np.exp(smooth) / np.exp(smooth).sum()
        found = jm.imp_est(
            lambda x: x**2, jm.Normal(0.0, 2.0), draws, smooth=True, self_normalised=True,
            r_eff=r_eff,
        )  # fmt: skip
        np.testing.assert_allclose(found.value, share @ x**2, rtol=1e-4)


def states(centres, num=300):
    keys = jax.random.split(jax.random.key(0), len(centres))
    x = jnp.concatenate(
        [c + jax.random.normal(k, (num,)) for c, k in zip(centres, keys, strict=True)]
    )
    return -0.5 * (x[:, None] - jnp.asarray(centres)[None, :]) ** 2


def test_groups_without_overlap_are_apart_and_each_is_right_by_itself():
    found = imp.normalising_constants(states([0.0, 1.0, 60.0, 61.0]), jnp.full(4, 300))
    apart = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], bool)
    np.testing.assert_array_equal(np.isinf(found.errors), apart)
    assert np.isinf(found.std_error[2:]).all() and "0, 1 | 2, 3" in found.problems()[0]
    # All constants are equal: within a group the difference is 0, and its error is known.
    inside = found.log_z[3] - found.log_z[2]
    assert 0 < found.errors[2, 3] < 0.1 and abs(inside) < 4 * found.errors[2, 3]


def test_constants_without_faults_have_no_problems_and_their_own_diagnostics():
    table = states([0.0, 1.0, 0.5])[:600]
    found = imp.normalising_constants(table, jnp.array([300, 300, 0]))
    assert not found.problems() and (found.ess > 300).all() and (found.pareto_k < 0.7).all()
    assert np.isfinite(found.errors).all()
    half = imp.normalising_constants(table, jnp.array([300, 300, 0]), r_eff=0.25)
    np.testing.assert_allclose(half.errors, 2 * found.errors, rtol=1e-4)


def test_errors_of_dependent_draws_are_those_of_their_effective_number():
    # Every draw four times: a quarter of the draws is effective.
    log_p = lambda x, s: -0.5 * x**2 / s**2
    few = jax.random.normal(jax.random.key(1), (2, 300))
    a, b = few[0], 2 * few[1]
    one = imp.bridge(log_p(a, 1), log_p(a, 2), log_p(b, 1), log_p(b, 2))
    a, b = jnp.repeat(a, 4), jnp.repeat(b, 4)
    four = imp.bridge(log_p(a, 1), log_p(a, 2), log_p(b, 1), log_p(b, 2), r_eff=0.25)
    np.testing.assert_allclose(four.log_z, one.log_z, atol=1e-4)
    np.testing.assert_allclose(four.std_error, one.std_error, rtol=1e-3)


def test_each_density_has_draws_of_its_own_dependence():
    """Every draw of p four times, of q once: as a jackknife over what is independent has it."""
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=400), 1 + rng.normal(size=500)
    x = np.concatenate([np.repeat(p, 4), q])
    log_p, log_q = -0.5 * x**2, -0.5 * (x - 1) ** 2
    group = np.concatenate([np.repeat(np.arange(400), 4), 400 + np.arange(500)])
    kept = np.concatenate([np.ones((1, x.size)), np.arange(900)[:, None] != group])
    ends = np.full((2, 901), [[-1.0], [1.0]])
    for _ in range(40):  # sum_n P(from q | x_n) = n_q, by halves
        middle = ends.mean(0)
        odds = log_q - log_p - middle[:, None] + np.log(500 / 1600)
        more = (kept / (1 + np.exp(-odds))).sum(1) > (kept * (group >= 400)).sum(1)
        ends = np.where([~more, more], ends, middle)
        ends = ends[::-1] if (ends[0] > ends[1]).all() else ends
    value, left = ends.mean(0)[0], ends.mean(0)[1:]
    parts = [n * left[own].var() for n, own in ((400, slice(400)), (500, slice(400, None)))]
    at = np.split(np.stack([log_p, log_q]).astype(np.float32), [1600], axis=1)
    found = imp.bridge(*at[0], *at[1], r_eff=jnp.array([0.25, 1.0]))
    np.testing.assert_allclose(found.log_z[1], value, atol=1e-4)
    np.testing.assert_allclose(found.std_error[1], np.sqrt(sum(parts)), rtol=0.1)
    alike = imp.bridge(*at[0], *at[1], r_eff=jnp.array([0.25, 0.25]))
    np.testing.assert_allclose(
        alike.errors, imp.bridge(*at[0], *at[1], r_eff=0.25).errors, rtol=1e-3
    )


def test_half_precision_and_rounding_that_swamps_weights():
    table = states([0.0, 1.0]).astype(jnp.float16)
    found = imp.normalising_constants(table, jnp.full(2, 300))
    assert abs(found.log_z[1]) < 4 * found.std_error[1] and found.std_error.dtype == jnp.float32

    class Large(jm.LogDensity):
        def log_prob(self, x):
            return 1e8 - 0.5 * x**2

    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 1.2), 500)
    told = jm.imp_est(lambda x: x, Large(), draws).problems()
    assert any("rounding" in sentence for sentence in told)
    guide = lambda x: jm.Normal(0.0, 1.2)
    seen = jm.log_evidence(jax.random.key(0), lambda z, x: Large().log_prob(z), guide, jnp.ones(2))
    assert any("2 of 2" in sentence and "rounding" in sentence for sentence in seen.problems())
    with pytest.raises(ValueError, match="no draws"):
        imp.Draws.of(jnp.zeros((1, 0)), jm.Normal(0.0, 1.0))


def test_constants_of_states_move_with_their_energies(x64):
    table = states([0.0, 1.0, 2.0])
    offsets = jnp.array([0.0, 1e4, -3e4])
    plain, moved = (
        imp.normalising_constants(t, jnp.full(3, 300)) for t in (table, table + offsets[None, :])
    )
    np.testing.assert_allclose(moved.log_z - plain.log_z, offsets, atol=1e-6)
    assert moved.converged and not moved.problems()
    np.testing.assert_allclose(moved.errors, plain.errors, rtol=1e-6)


def test_tables_and_counts_that_do_not_fit_are_refused():
    table = jnp.zeros((12, 2))
    for counts in ([6, 5], [13, -1], [12], [6.0, 6.0]):
        with pytest.raises(ValueError, match="count"):
            imp.normalising_constants(table, jnp.array(counts))
    for wrong in (table.at[3, 1].set(jnp.nan), table.at[3, 1].set(jnp.inf)):
        with pytest.raises(ValueError, match="at draw 3, density 1"):
            imp.normalising_constants(wrong, jnp.array([6, 6]))
    with pytest.raises(ValueError, match="bridge takes vectors"):
        imp.bridge(jnp.zeros(3), jnp.zeros(2), jnp.zeros(3), jnp.zeros(3))
