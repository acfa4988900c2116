"""What must hold to rounding, whatever the draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm

from .systems import CENTRES, EXACT, THETAS, normals, proposals, rejects, source_imp_est

imp = jm.importance


def draws_of(seed=0, counts=200):
    return imp.draw(jax.random.key(seed), proposals(), counts)


def test_equals_the_nested_maps_of_the_source():
    draws = draws_of()
    rows = jax.random.uniform(jax.random.key(1), (6, 9)) + 0.05
    weights = rows / rows.sum(1, keepdims=True)
    X = draws.events.reshape(9, 200)
    mus = jnp.concatenate([THETAS, CENTRES])
    theirs = source_imp_est(rejects(X), X, weights, mus)
    ours = jm.imp_est(rejects, normals(THETAS), draws, weights=weights)
    np.testing.assert_allclose(ours.value, theirs, rtol=1e-4)
    flat = jm.imp_est(
        rejects(X).ravel(), normals(THETAS), imp.Draws.of(X, normals(mus)), weights=weights
    )
    np.testing.assert_allclose(flat.value, theirs, rtol=1e-4)


def test_own_draws_only_are_plain_monte_carlo():
    draws = imp.draw(jax.random.key(0), normals(THETAS), 300)
    own = jm.imp_est(rejects, normals(THETAS), draws, weights=jnp.eye(6))
    hit = np.asarray(rejects(draws.events)).reshape(6, 300)
    np.testing.assert_allclose(own.value, hit.mean(1), rtol=1e-5)
    np.testing.assert_allclose(own.hits, hit.sum(1))
    some = hit.sum(1) > 0
    expected = hit.std(1, ddof=1) / np.sqrt(300)
    np.testing.assert_allclose(own.std_error[some], expected[some], rtol=1e-4)


def test_one_proposal_is_plain_importance_sampling():
    draws = imp.draw(jax.random.key(0), jm.Normal(2, 1), 500)
    x = np.asarray(draws.events, float)
    terms = (x > 1.96) * np.exp(stats.norm.logpdf(x) - stats.norm.logpdf(x, 2))
    out = jm.imp_est(rejects, jm.Normal(0, 1), draws)
    assert out.value.shape == ()
    np.testing.assert_allclose(out.value, terms.mean(), rtol=1e-5)
    np.testing.assert_allclose(out.std_error, terms.std(ddof=1) / np.sqrt(500), rtol=1e-4)
    np.testing.assert_allclose(out.ess, terms.sum() ** 2 / (terms**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(out.max_weight, terms.max() / terms.sum(), rtol=1e-4)
    np.testing.assert_allclose(np.exp(out.log_value), terms.mean(), rtol=1e-5)


def test_weights_in_proportion_to_counts_are_the_pooled_default():
    counts = np.array([50, 100, 20, 80, 10, 40, 30, 60, 90])
    draws = draws_of(counts=counts)
    shares = jnp.broadcast_to(jnp.asarray(counts / counts.sum(), jnp.float32), (6, 9))
    pooled = jm.imp_est(rejects, normals(THETAS), draws)
    weighted = jm.imp_est(rejects, normals(THETAS), draws, weights=shares)
    np.testing.assert_allclose(pooled.value, weighted.value, rtol=1e-4)
    np.testing.assert_allclose(pooled.std_error, weighted.std_error, rtol=1e-3)


def test_masses_of_the_proposals_under_the_pool_sum_to_one():
    draws = draws_of()
    table = imp.log_table(proposals(), draws.events)
    q = imp.log_mixtures(table, jnp.full((1, 9), 1 / 9))
    np.testing.assert_allclose(jnp.mean(jnp.exp(table - q), 1), 1, rtol=1e-5)


def test_weights_are_bounded_by_the_share_of_the_target_itself():
    draws = draws_of()
    shares = jnp.full((6, 9), 0.9 / 8).at[jnp.arange(6), jnp.arange(6)].set(0.1)
    q = imp.log_mixtures(imp.log_table(proposals(), draws.events), shares)
    p = imp.log_table(normals(THETAS), draws.events)
    assert jnp.all(jnp.exp(p - q) <= 10 * (1 + 1e-5))


def test_the_scale_of_unnormalised_targets_comes_out_as_it_went_in():
    draws = draws_of()
    p = imp.log_table(normals(THETAS), draws.events)
    q = imp.log_table(proposals(), draws.events)

    def at(shift, **options):
        table = imp.Table(p + shift, q, draws.stratum, draws.counts, draws.each)
        return imp.from_table(table, rejects(draws.events), **options)

    plain, lifted = at(0.0), at(5.0)
    np.testing.assert_allclose(lifted.value, plain.value * np.exp(5), rtol=1e-5)
    np.testing.assert_allclose(lifted.std_error, plain.std_error * np.exp(5), rtol=1e-5)
    # A shift that float32 cannot exponentiate leaves the logarithm and the ratio right.
    far = at(500.0)
    np.testing.assert_allclose(far.log_value, plain.log_value + 500, rtol=1e-5)
    ratio, moved = at(0.0, self_normalised=True), at(500.0, self_normalised=True)
    np.testing.assert_allclose(moved.value, ratio.value, rtol=1e-3)
    np.testing.assert_allclose(moved.std_error, ratio.std_error, rtol=1e-3)


def test_the_order_of_proposals_does_not_matter():
    draws = draws_of()
    order = np.array([3, 1, 8, 0, 2, 7, 5, 4, 6])
    X = draws.events.reshape(9, 200)[order]
    mus = jnp.concatenate([THETAS, CENTRES])[order]
    moved = jm.imp_est(rejects, normals(THETAS), imp.Draws.of(X, normals(mus)))
    np.testing.assert_allclose(
        moved.value, jm.imp_est(rejects, normals(THETAS), draws).value, rtol=1e-5
    )


def test_blocks_merge_to_the_whole():
    draws = draws_of()
    blocks = draws.events.reshape(9, 4, 50)
    sums = [
        imp.block_totals(rejects, normals(THETAS), imp.Draws.of(blocks[:, i], proposals()))
        for i in range(4)
    ]
    merge = jax.jit(imp.merge)
    left = merge(merge(sums[0], sums[1]), merge(sums[2], sums[3]))
    right = merge(sums[0], merge(sums[1], merge(sums[2], sums[3])))
    whole = jm.imp_est(rejects, normals(THETAS), draws)
    for merged in (left, right):
        out = imp.estimate_totals(merged)
        assert out.num_draws == 1800
        np.testing.assert_allclose(out.value, whole.value, rtol=1e-5)
        np.testing.assert_allclose(out.std_error, whole.std_error, rtol=1e-4)
        np.testing.assert_allclose(out.ess, whole.ess, rtol=1e-4)
        np.testing.assert_allclose(out.mass, whole.mass, rtol=1e-5)


def test_values_of_any_structure_are_estimated_entry_by_entry():
    draws = draws_of()

    def f(x):
        return {"tail": x > 1.96, "powers": jnp.stack([x, x**2])}

    out = jm.imp_est(f, normals(THETAS), draws, covariance=True)
    assert out.value["powers"].shape == (6, 2)
    assert out.covariance.shape == (18, 18)
    alone = jm.imp_est(rejects, normals(THETAS), draws)
    np.testing.assert_allclose(out.value["tail"], alone.value, rtol=1e-5)
    second = 1 + np.asarray(THETAS) ** 2
    assert np.all(abs(out.value["powers"][:, 1] - second) < 4 * out.std_error["powers"][:, 1])
    names = np.array(
        [out.std_error["powers"][:, 0], out.std_error["powers"][:, 1], out.std_error["tail"]]
    )
    np.testing.assert_allclose(np.sqrt(np.diag(out.covariance)), names.T.ravel(), rtol=1e-3)


def test_one_compilation_serves_any_allocation_and_jit_agrees():
    draws = draws_of(counts=np.array([50, 100, 20, 80, 10, 40, 30, 60, 90]))

    @jax.jit
    def value(draws, thetas):
        return jm.imp_est(rejects, normals(thetas), draws).value

    np.testing.assert_allclose(
        value(draws, THETAS), jm.imp_est(rejects, normals(THETAS), draws).value, rtol=1e-5
    )
    both = jax.vmap(lambda t: value(draws, t))(jnp.stack([THETAS, THETAS + 0.1]))
    np.testing.assert_allclose(both[0], value(draws, THETAS), rtol=1e-5)


def test_a_product_that_underflows_is_computed_exactly():
    table = jnp.array([[0.0, -300.0, -400.0], [-1.0, -2.0, -3.0]])
    weights = jnp.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    out = imp.log_mixtures(table, weights)
    np.testing.assert_allclose(out[0], [-300 + np.log(0.5), 0.0], rtol=1e-6)


@pytest.mark.parametrize("target", [jm.Normal(0.0, 1.0)])
def test_streamed_draws_give_the_same_expectations(target):
    out = imp.stream(jax.random.key(0), rejects, target, normals(CENTRES), 1000, block=250)
    assert out.num_draws == 3000
    assert abs(out.value - stats.norm.sf(1.96)) < 4 * out.std_error


def test_allocation_keeps_the_total_and_the_least_count():
    counts = imp.allocate(jnp.array([0.0, 0.7, 0.3]), 101, at_least=2)
    assert counts.tolist() == [2, 69, 30] or counts.sum() == 101
    assert counts.min() >= 2 and counts.sum() == 101


def test_exact_answers_within_four_errors():
    out = jm.imp_est(rejects, normals(THETAS), draws_of(5, 500))
    assert np.all(abs(np.asarray(out.value) - EXACT) < 4 * out.std_error)


def test_densities_far_from_the_rest_leave_the_others_in_product_form():
    """Values and slopes where some, or all, of a family are far from its middle."""
    rng = np.random.default_rng(1)
    for num_far in (1, 3, 7):
        means = rng.normal(size=(7, 2)).astype(np.float32)
        means[:num_far] += 4e4 * np.cos(np.arange(num_far * 2.0)).reshape(-1, 2)
        scales = rng.uniform(0.5, 2, (7, 2)).astype(np.float32)
        events = (np.concatenate([means, means]) + rng.normal(size=(14, 2))).astype(np.float32)

        def table(means, scales, events):
            return jm.importance.log_table(jax.vmap(jm.DiagonalNormal)(means, scales), events)

        exact = stats.norm.logpdf(
            events[:, None].astype(float), means.astype(float), scales.astype(float)
        ).sum(2)
        np.testing.assert_allclose(table(means, scales, events), exact, rtol=2e-5, atol=2e-5)
        total = lambda *args: jnp.sum(jnp.diagonal(table(*args)))
        slopes = jax.grad(total)(means, scales, events)
        own = (events[:7].astype(float) - means) / scales.astype(float) ** 2
        np.testing.assert_allclose(slopes, own, rtol=2e-4, atol=2e-4)
