"""Objectives on models with known answers: means, gradients, refusals, results."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .systems import DIM, system

BOUNDED = jm.objectives.HarmonicCounts(max_count=60)

# Of so many draws that LLVM's optimisation is won back.
many = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 2})


def z_score(draws, truth):
    return (draws.mean(0) - truth) / (draws.std(0, ddof=1) / len(draws) ** 0.5)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kind", ["single-term", "russian-roulette"])
def test_multilevel_is_unbiased_in_value_and_score(kind, share):
    objective = jm.multilevel(kind, share=share)

    @many
    def run(model, guide, x, keys):
        batch = jnp.broadcast_to(x, (500, DIM))

        def one(key):
            def loss(theta):
                moved = eqx.tree_at(lambda m: m.theta, model, theta)
                return objective(key, moved, guide, batch).mean()

            return jax.value_and_grad(loss)(model.theta)

        return jax.lax.map(one, keys)

    for chi2 in (1.077, 8.0):
        model, guide, x, exact, score = system(chi2)
        keys = jax.random.split(jax.random.key(7), 200)  # 1e5 draws of the value
        values, gradients = run(model, guide, x, keys)
        assert abs(z_score(np.asarray(values), exact)) < 4
        assert np.abs(z_score(np.asarray(gradients), np.asarray(score))).max() < 4


def test_sumo_is_unbiased():
    model, guide, x, exact, _ = system()
    with pytest.warns(jm.objectives.InfiniteVarianceWarning, match="infinite variance"):
        objective = jm.sumo()
    batch = jnp.broadcast_to(x, (500, DIM))
    run = many(lambda ks: jax.lax.map(lambda k: objective(k, model, guide, batch), ks))
    values = run(jax.random.split(jax.random.key(3), 200)).ravel()
    assert abs(z_score(np.asarray(values), exact)) < 5


def test_each_row_is_its_own():
    # Rows must not be mixed inside the logarithm, nor share one level.
    model, guide, x, _, _ = system()
    batch = jnp.stack([x, x + 1, x - 1])
    truth = jax.vmap(jm.DiagonalNormal(model.theta, jnp.full(DIM, 2.0**0.5)).log_prob)(batch)
    run = jax.jit(lambda ks: jax.lax.map(lambda k: jm.multilevel()(k, model, guide, batch), ks))
    values = np.asarray(run(jax.random.split(jax.random.key(1), 500)))
    assert np.abs(z_score(values, np.asarray(truth))).max() < 4.5


@functools.cache
def guide_gradients(rule, size=8, count=4000):
    model, guide, x, _, _ = system(8.0)

    def one(key):
        objective = jm.iwae(size, guide_gradient=rule)
        loss = lambda bias: objective(
            key, model, eqx.tree_at(lambda g: g.bias, guide, bias), x[None]
        )[0]
        return jax.grad(loss)(guide.bias)

    keys = jax.random.split(jax.random.key(5), count)
    return np.asarray(jax.jit(lambda ks: jax.lax.map(one, ks, batch_size=500))(keys))


def test_guide_rules_have_the_means_they_promise():
    plain = guide_gradients("reparametrised")
    for rule in ("dreg", "score"):
        other = guide_gradients(rule)
        error = np.sqrt(plain.var(0) / len(plain) + other.var(0) / len(other))
        assert (np.abs(plain.mean(0) - other.mean(0)) / error).max() < 4.5
    assert guide_gradients("dreg").var() < plain.var()
    stl, dreg = guide_gradients("stl"), guide_gradients("dreg")
    error = np.sqrt(stl.var(0) / len(stl) + dreg.var(0) / len(dreg))
    assert (np.abs(stl.mean(0) - dreg.mean(0)) / error).max() > 6  # biased, and shown to be


def test_reparametrised_gradients_equal_autodiff():
    model, guide, x, _, _ = system(8.0)

    def written_out(pair, key):
        model, guide = pair
        q = guide(x)
        zs = jax.vmap(q.sample)(jax.random.split(jax.random.split(key, 1)[0], 5))
        log_w = jax.vmap(lambda z: model(z, x) - q.log_prob(z))(zs)
        return jax.scipy.special.logsumexp(log_w) - jnp.log(5.0)

    def ours(pair, key):
        return jm.iwae(5, guide_gradient="reparametrised")(key, *pair, x[None])[0]

    a = jax.jit(jax.value_and_grad(written_out))((model, guide), jax.random.key(0))
    b = jax.jit(jax.value_and_grad(ours))((model, guide), jax.random.key(0))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=2e-5), a, b)


def test_guide_of_an_unbiased_value_learns_nothing_unless_it_follows_a_bound():
    # The default is the gradient of the bound: it points uphill on this one-dimensional model.
    model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    loss = lambda m, key: jm.multilevel(max_level=6)(
        key, model, lambda x: jm.Normal(m, 1), jnp.zeros(16)
    ).mean()
    run = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
    gradients = run(jnp.array(0.5), jax.random.split(jax.random.key(0), 80))
    assert np.mean(gradients) < -5 * np.std(gradients) / 80**0.5


@pytest.mark.parametrize("rows", [2, 17])
@pytest.mark.parametrize(
    "objective", [jm.multilevel(base_samples=3, max_level=6), jm.sumo(law=BOUNDED)]
)
def test_any_batch_size(rows, objective):
    model, guide, x, _, _ = system()
    batch = jnp.broadcast_to(x, (rows, DIM))
    found = jax.jit(lambda k: objective.evaluate(k, model, guide, batch))(jax.random.key(0))
    assert found.value.shape == (rows,) and jnp.all(jnp.isfinite(found.value))
    assert jnp.all(found.samples >= objective.base_samples + 1)


def test_discrete_latents():
    # Two components: log p(x) is known, and so is the gradient in the guide's logits.
    logits = jnp.array([0.3, -0.2])
    means = jnp.array([-1.0, 1.0])
    model = lambda z, x: (
        jm.Categorical(jnp.array([0.5, 0.5])).log_prob(z) + jm.Normal(means[z], 1).log_prob(x)
    )
    guide_of = lambda l: lambda x: jm.Categorical(jax.nn.softmax(l))
    x = jnp.array([0.7])

    def exact(l):
        log_q = jax.nn.log_softmax(l)
        joint = jnp.stack([model(jnp.array(k), x[0]) for k in range(2)])
        return jnp.sum(jnp.exp(log_q) * (joint - log_q))

    loss = lambda l, k: jm.elbo(4, guide_gradient="score")(k, model, guide_of(l), x)[0]
    keys = jax.random.split(jax.random.key(2), 4000)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(logits, keys)
    assert abs(z_score(np.asarray(values), jax.jit(exact)(logits))) < 4
    assert (
        np.abs(z_score(np.asarray(gradients), np.asarray(jax.jit(jax.grad(exact))(logits)))).max()
        < 4
    )
    with pytest.raises(ValueError, match="not reparametrised"):
        jax.grad(lambda l: jm.elbo()(jax.random.key(9), model, guide_of(l), x)[0])(logits)


def test_refusals():
    for ratio, word in ((0.5, "cost is infinite"), (0.75, "variance is infinite")):
        with pytest.raises(ValueError, match=word):
            jm.multilevel(ratio=ratio)
    with pytest.raises(ValueError, match="positive whole number"):
        jm.iwae(0)
    with pytest.raises(ValueError, match="at least 2"):
        jm.iwae(1, guide_gradient="score")
    with pytest.raises(ValueError, match="guide_gradient was 'drag'"):
        jm.elbo(guide_gradient="drag")
    with pytest.raises(ValueError, match="jackknife of order 2"):
        jm.jackknife(2, order=2)
    model, guide, x, _, _ = system()
    with pytest.raises(ValueError, match="along its first axis"):
        jm.elbo()(jax.random.key(0), model, guide, jnp.array(0.0))
    with pytest.raises(ValueError, match="must be a density"):
        jm.elbo()(jax.random.key(0), model, lambda x: x, x[None])
    with pytest.raises(ValueError, match="a scalar; it has shape"):
        jm.elbo()(jax.random.key(0), lambda z, x: z, guide, x[None])


def test_laws_state_their_cost_and_bias():
    law = jm.objectives.GeometricLevels(0.6, max_level=3)
    k = np.arange(4)
    p = np.append(0.6 * 0.4 ** k[:3], 0.4**3)
    np.testing.assert_allclose(law.expected_cost, np.sum(p * 2.0 ** (k + 1)))
    assert "bias at most" in str(law) and law.bias_bound() == 1 / 2**5
    k = np.arange(1, 2000)
    survival = np.where(k < 80, 1 / k, 0.9 ** np.maximum(k - 80, 0) / 80)
    np.testing.assert_allclose(jm.objectives.HarmonicCounts().expected_cost, survival.sum())
    assert hash(jm.multilevel()) == hash(jm.multilevel())


def test_one_compile_for_many_steps():
    model, guide, x, _, _ = system()
    traces = 0

    def count(key):
        nonlocal traces
        traces += 1
        return jm.multilevel(max_level=6)(key, model, guide, jnp.broadcast_to(x, (32, DIM)))

    step = jax.jit(count)
    for key in jax.random.split(jax.random.key(0), 50):
        step(key)
    assert traces == 1


def evidence(key, model, guide, xs, **options):
    """`jm.log_evidence` in one compilation instead of one an operation."""
    return jax.jit(lambda key: jm.log_evidence(key, model, guide, xs, **options))(key)


def test_evidence_and_its_results():
    model, guide, x, exact, _ = system()
    found = evidence(jax.random.key(0), model, guide, x[None], num_samples=4000)
    assert abs(found.value[0] - exact) < 4 * found.std_error[0]
    assert found.result == jm.RESULTS.successful and 0.5 < found.chi2[0] < 2
    unit, one = lambda x: jm.Normal(0, 1), jnp.zeros(1)
    half = evidence(
        jax.random.key(1),
        lambda z, x: jnp.where(z > 0, 0.0, -jnp.inf),
        unit,
        one,
        objective=jm.multilevel(max_level=4),
        num_samples=100,
    )
    assert half.result == jm.RESULTS.undefined
    nan = evidence(jax.random.key(2), lambda z, x: jnp.nan * z, unit, one, num_samples=100)
    assert nan.result == jm.RESULTS.nonfinite and "model(z, x)" in nan.problems()[0]
    narrow = evidence(
        jax.random.key(3),
        lambda z, x: jm.Normal(0, 1).log_prob(z),
        lambda x: jm.Normal(0, 0.3),
        one,
    )
    assert narrow.result == jm.RESULTS.heavy_tailed
