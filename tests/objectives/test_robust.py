"""Zero, equal, single and heavy-tailed weights, NaN, odd sizes, and the kinds of latents and guides."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm

from .systems import DIM, system

EXACT = -0.5 * np.log(4 * np.pi)  # log N(0; 0, 2)
BOUNDED = jm.objectives.HarmonicCounts(max_count=20)


def joint(z, x):
    return jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)


def z_score(draws, truth):
    return (draws.mean(0) - truth) / (draws.std(0, ddof=1) / len(draws) ** 0.5)


@pytest.mark.parametrize(
    "objective",
    [jm.elbo(1), jm.iwae(1), jm.multilevel(max_level=2), jm.sumo(law=BOUNDED)],
    ids=["elbo", "iwae", "multilevel", "sumo"],
)
def test_equal_weights_one_sample_batch_of_one(objective):
    # Under the exact posterior every weight is p(x): no objective, of any size, differs from it,
    # and the model's gradient is the exact score.
    def loss(mean, key):
        model = lambda z, x: jm.Normal(mean, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        guide = lambda x: jm.Normal((x + jax.lax.stop_gradient(mean)) / 2, 0.5**0.5)
        return objective(key, model, guide, jnp.array([1.0]))[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.array(0.0), jax.random.key(0))
    np.testing.assert_allclose(value, EXACT - 0.25, rtol=1e-5)
    assert jnp.isfinite(slope)


def test_model_gradient_is_the_derivative_of_the_value(x64):
    # The last row goes through the chunked loop, whose gradient is written by hand.
    model, guide, x, _, _ = system()
    batch = jnp.stack([x, x + 0.1, x - 0.1])
    direction = jnp.cos(jnp.arange(1.0 * DIM))
    step = 1e-5
    for objective in (jm.multilevel(max_level=7), jm.sumo(law=BOUNDED)):

        def loss(shift, objective=objective):
            moved = eqx.tree_at(lambda m: m.theta, model, model.theta + shift * direction)
            return objective(jax.random.key(6), moved, guide, batch).sum()

        run = jax.jit(jax.value_and_grad(loss))
        values = [float(run(jnp.array(s))[0]) for s in (-step, step)]
        slope = float(run(jnp.array(0.0))[1])
        np.testing.assert_allclose(slope, (values[1] - values[0]) / (2 * step), rtol=1e-5)


def test_a_guide_too_narrow_is_diagnosed():
    # chi2 of N(0, 1) from N(0, s) is infinite from s^2 = 1/2 down.
    target = lambda z, x: jm.Normal(0, 1).log_prob(z)
    narrow = lambda x: jm.Normal(0, 0.35)
    run = jax.jit(lambda k: jm.log_evidence(k, target, narrow, jnp.zeros(3), num_samples=500))
    found = run(jax.random.key(3))
    assert found.worst == jm.RESULTS.heavy_tailed and any(found.result == jm.RESULTS.heavy_tailed)
    assert jnp.all(found.pareto_k > 0.5)


def test_rows_that_no_chunk_divides():
    model = lambda z, x: joint(z, x)
    guide = lambda x: jm.Normal(x / 2, 0.5**0.5)
    xs = jnp.linspace(-1.0, 1.0, 5)
    run = jax.jit(lambda k: jm.log_evidence(k, model, guide, xs, num_samples=30, rows_at_once=3))
    found = run(jax.random.key(0))
    exact = stats.norm.logpdf(xs, 0, 2**0.5)
    np.testing.assert_allclose(found.value, exact, rtol=1e-5)
    np.testing.assert_allclose(found.chi2, 0, atol=1e-4)


def test_a_dead_half_poisons_its_row_only():
    # Row 1 has weight 0 for z > 0, so that some half of its draws is dead; row 0 is whole.
    model = lambda z, x: jnp.where((x > 0) & (z > 0), -jnp.inf, joint(z, jnp.zeros_like(x)))
    guide = lambda x: jm.Normal(0, 0.5**0.5)
    values = jax.jit(lambda k: jm.multilevel(max_level=2)(k, model, guide, jnp.arange(2.0)))
    found = np.stack([values(k) for k in jax.random.split(jax.random.key(0), 12)])
    np.testing.assert_allclose(found[:, 0], EXACT, rtol=1e-5)
    assert not np.isfinite(found[:, 1]).all()


def test_a_mixture_is_a_guide():
    # p(z | x) has two modes at +-sqrt(|x|); the guide's weight is learnt by the score.
    model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z**2, 0.5).log_prob(x)
    at = jnp.array([-0.9, 1.1])
    parts = jax.vmap(jm.Normal, (0, None))(at, 0.4)
    x = jnp.array([1.0])
    guide_of = lambda l: lambda x: jm.MixtureSameFamily(jax.nn.softmax(l), parts)
    grid = jnp.linspace(-6.0, 6.0, 4001)

    def integral(log_values):
        return jnp.trapezoid(log_values, grid)

    log_joint = stats.norm.logpdf(grid) + stats.norm.logpdf(1.0, grid**2, 0.5)
    exact = np.log(np.trapezoid(np.exp(log_joint), grid))
    log_joint = jnp.asarray(log_joint, jnp.float32)

    def elbo(l):
        log_q = jax.vmap(guide_of(l)(x[0]).log_prob)(grid)
        return integral(jnp.exp(log_q) * (log_joint - log_q))

    l = jnp.array([0.4, -0.3])
    objective = jm.elbo(4, guide_gradient="score")
    loss = lambda l, k: objective(k, model, guide_of(l), x)[0]
    run = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))
    values, slopes = run(l, jax.random.split(jax.random.key(0), 4000))
    exact_elbo, exact_slope = jax.jit(jax.value_and_grad(elbo))(l)
    assert abs(z_score(np.asarray(values), exact_elbo)) < 4
    assert np.abs(z_score(np.asarray(slopes), np.asarray(exact_slope))).max() < 4
    unbiased = jm.multilevel(base_samples=2, max_level=8, guide_gradient="wake")
    batch = jnp.broadcast_to(x, (4000,))
    values = jax.jit(lambda k: unbiased(k, model, guide_of(l), batch))(jax.random.key(1))
    assert abs(z_score(np.asarray(values), exact)) < 4
    with pytest.raises(ValueError, match="not reparametrised"):
        jax.grad(lambda l: jm.iwae(2)(jax.random.key(9), model, guide_of(l), x)[0])(l)


def test_compare_measures_bias_and_says_where_it_pays():
    model, guide, x, exact, score = system()
    named = {"iwae": jm.iwae(2), "jackknife": jm.jackknife(3)}
    table = jm.objectives.compare(
        jax.random.key(0),
        model,
        guide,
        x[None],
        named,
        exact=exact[None],
        repeats=2000,
        num_samples=4000,
    )
    biased, other = table["iwae"], table["jackknife"]
    assert -0.35 < biased.bias < -0.15 and abs(other.bias) < 4 * other.bias_error + 0.02
    # The bias of IWAE's gradient with 2 draws, measured apart.
    run = jax.jit(
        lambda k: jax.grad(
            lambda t: jm.iwae(2)(
                k,
                eqx.tree_at(lambda m: m.theta, model, t),
                guide,
                jnp.broadcast_to(x, (20_000, DIM)),
            ).mean()
        )(model.theta)
    )
    apart = float(jnp.sqrt(jnp.mean((run(jax.random.key(1)) - score) ** 2)))
    assert abs(biased.model_bias - apart) < 0.5 * apart
    assert "bias model" in str(table)
    meeting = table.break_even("iwae", "jackknife")
    assert 0 <= meeting <= np.inf
    with pytest.raises(ValueError, match="objectives is empty"):
        jm.objectives.compare(jax.random.key(0), model, guide, x[None], {})
