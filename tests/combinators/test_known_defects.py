"""Mistakes that libraries of record mixtures are known to have made, each shown to be absent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em.expected import expect

begun = eqx.filter_jit(jm.em.init)


@eqx.filter_jit
def levels(model, data, steps=15, weights=None):
    run = jm.em.run(
        model, data, weights=weights, max_steps=steps, tol=None, history_size=steps, chunk_size=7
    )
    return run.history.log_likelihood, run.model


def climbs(model, data, **options):
    found, fitted = levels(model, data, **options)
    found = np.asarray(found)
    assert np.all(np.diff(found) > -1e-9 * np.abs(found[:-1]))
    return found, fitted


@pytest.mark.parametrize("dim", [1, 2])
def test_responsibilities_hold_the_scales_log(dim, x64):
    """Without the term -log(scale) a step falls where scales differ: a narrow and a wide one."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 0.3, (60, dim)), rng.normal(4, 3, (40, dim))]
    if dim == 1:
        parts, x = jax.vmap(jm.Normal)(jnp.array([0.5, 3.0]), jnp.ones(2)), x[:, 0]
    else:
        parts = jax.vmap(jm.DiagonalNormal)(jnp.array([[0.5, 0.5], [3.0, 3.0]]), jnp.ones((2, 2)))
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
    _, fitted = climbs(model, jnp.asarray(x))
    narrow = np.asarray(fitted.components.scale).reshape(2, -1)[:, 0]
    assert narrow[0] < 0.5 and narrow[1] > 2


def test_outer_weights_of_chunks_and_lengths(x64):
    """Every sequence counts once, however long, and in however many chunks they come."""
    topics = jax.vmap(jm.Normal)(jnp.array([-4.0, 4.0]), jnp.ones(2))
    model = jm.HierarchicalMixture(
        jnp.array([0.5, 0.5]), jnp.array([[0.9, 0.1], [0.1, 0.9]]), topics
    )
    rows = [[-4.0] * 2] * 5 + [[4.0] * 20] * 5
    data = jm.encode(model, rows)
    for chunk in (10, 3):
        got = eqx.filter_jit(lambda m, c=chunk: expect(m, data, chunk_size=c))(model)
        np.testing.assert_allclose(got.stats[0].outcomes, [5, 5], atol=0.1)
        np.testing.assert_allclose(got.stats[2].count.sum(), 110)


def test_joint_weights_add_up_to_one_under_a_prior(x64):
    parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
    model = jm.JointMixture(
        jnp.array([0.5, 0.5]), jnp.array([[0.7, 0.3], [0.3, 0.7]]), parts, parts
    )
    data = tuple(jnp.asarray(np.random.default_rng(0).normal(0, 2, (2, 20))))
    prior = jm.em.conjugate_prior(model, data, rows=10.0)
    fitted = eqx.filter_jit(lambda m: jm.em.step(m, data, prior=prior)[0])(model)
    np.testing.assert_allclose(fitted.weights.sum(), 1)
    np.testing.assert_allclose(fitted.links.probs.sum(-1), 1)
    np.testing.assert_allclose(fitted.second_weights.sum(), 1)


def test_starts_of_a_joint_mixture_know_the_case_weights():
    """Rows of weight 0 do not take part in a start."""
    template = jm.JointMixture.template(jm.Normal.template(), jm.Normal.template(), 2, 2)
    x = jnp.array([0.0, 1.0, 2.0, 3.0, 1e4, 1e4])
    weights = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    start = begun(jax.random.key(0), template, (x, x), weights=weights)
    assert float(jnp.max(jnp.abs(start.first.mean))) < 10


def test_a_spike_has_mass_one_and_any_range():
    density = jm.SpikeAndSlab(7, 0.95, low=5, size=10)
    mass = jnp.exp(jax.vmap(density.log_prob)(jnp.arange(0, 30)))
    assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
    draws = jax.vmap(density.sample)(jax.random.split(jax.random.key(0), 500))
    assert 5 <= int(draws.min()) and int(draws.max()) <= 14
    assert abs(float(jnp.mean(draws == 7)) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 500)


def test_a_component_of_zeros_only_goes_on(x64):
    """A Poisson that takes only zeros, from the rate that forbids everything else."""
    model = jm.Mixture(jnp.array([0.5, 0.5]), [jm.Poisson(1e-3), jm.Poisson(5.0)])
    _, fitted = climbs(model, jnp.array([0] * 10 + [4, 5, 6, 7, 5]), steps=8)
    assert np.all(np.isfinite([float(part.rate) for part in fitted.components]))


@pytest.mark.parametrize("rows", [3, 40])
def test_constant_data_are_told(rows):
    """Neither a variance of 1 nor a raised error: the floor, and a code that says so."""
    x, there = jnp.full((40, 2), 3.0), jnp.where(jnp.arange(40) < rows, 1.0, 0.0)
    template = jm.gaussian_mixture(2, 2)
    found = jm.fit(jax.random.key(0), template, x, weights=there, num_restarts=2, max_steps=20)
    assert bool(found.result == jm.RESULTS.degenerate)
    assert not any(bool(jnp.isnan(a).any()) for a in jax.tree.leaves(found.model))


def test_starts_differ_at_any_number_of_rows():
    """Components are never the same, nor two keys' starts; no parameter is NaN: 3 rows or 3,000."""
    template = jm.mixture_of(jm.Poisson.template(), 2)
    for rows in (3, 3000):
        data = jnp.arange(rows) % 7
        keys = jax.random.split(jax.random.key(1))
        rates = begun(keys[0], template, data).components.rate
        assert bool(jnp.all(jnp.isfinite(rates))) and float(abs(rates[0] - rates[1])) > 1e-2
        others = begun(keys[1], template, data).components.rate
        assert float(jnp.max(jnp.abs(rates - others))) > 1e-2


def test_optional_holds_a_mixture(x64):
    """Posteriors, steps and draws through an Optional whose child has latent variables."""
    inner = jm.MixtureSameFamily(
        jnp.array([0.5, 0.5]), jax.vmap(jm.Normal)(jnp.array([-2.0, 2.0]), jnp.ones(2))
    )
    data = jm.encode(jm.Optional(inner, 0.5), [-2.5, None, 1.0, 2.0, None, -1.0])
    found, fitted = climbs(jm.Optional(inner, 0.5), data, steps=6)
    assert float(fitted.p_missing) == pytest.approx(1 / 3)
    assert np.isfinite(found).all()


def test_divergence_of_an_impossible_row_is_infinite():
    p, q = jm.Poisson(1.0), jm.SpikeAndSlab(0, 0.5, low=0, size=3)
    got = jm.empirical_kl(p, q, jnp.array([0, 1, 5]))
    assert got.value == jnp.inf and got.std_error == jnp.inf


def test_divergence_is_of_the_densities_and_not_of_the_sample():
    """KL(N(0, 1), N(1, 1)) is 0.5, however few points it is estimated on."""
    x = jax.random.normal(jax.random.key(3), (2000,))
    got = jm.empirical_kl(jm.Normal(0.0, 1.0), jm.Normal(1.0, 1.0), x)
    assert abs(float(got.value) - 0.5) < 4 * float(got.std_error)


def test_a_row_of_probability_zero_is_no_nan(x64):
    """Under every pair of components: -inf with a gradient of 0."""
    parts = jax.vmap(jm.Poisson)(jnp.array([1.0, 2.0]))
    model = jm.JointMixture(jnp.array([0.5, 0.5]), jnp.eye(2), parts, parts)
    event = (jnp.array(-1), jnp.array(3))
    value, slope = eqx.filter_jit(jax.value_and_grad(lambda m: m.log_prob(event)))(model)
    assert value == -jnp.inf
    assert all(not bool(jnp.isnan(a).any()) for a in jax.tree.leaves(slope))


def test_families_mix_in_one_mixture_and_keep_their_support():
    """Different families are one `Mixture`; a geometric count of 0 is impossible, p = 1 is not."""
    mixture = jm.Mixture(jnp.array([0.5, 0.5]), [jm.Geometric(1.0), jm.Poisson(2.0)])
    assert jm.Geometric(1.0).log_prob(jnp.array(1)) == 0
    np.testing.assert_allclose(mixture.posterior(jnp.array(0)), [0, 1])
    assert float(mixture.posterior(jnp.array(1))[0]) > 0.5


def test_a_tied_model_stays_tied_by_single_steps(x64):
    """One copy: whatever loop calls the step, it pools both places, one of them in an Optional."""
    x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (2, 30)))
    there = jnp.arange(30) % 3 > 0
    pair = jm.tie(
        jm.Composite((jm.Optional(jm.Normal(0.0, 1.0)), jm.Normal(5.0, 1.0))),
        lambda m: [m.parts[0].value, m.parts[1]],
    )
    data = (jm.OptionalEvent(x[0], there), x[1])
    fitted = eqx.filter_jit(lambda m: jm.em.step(m, data)[0])(pair)
    plain = jm.unwrap(fitted)
    pooled = np.concatenate([x[0][there], x[1]])
    assert float(plain.parts[0].value.mean) == float(plain.parts[1].mean)
    assert float(plain.parts[1].mean) == pytest.approx(pooled.mean())
    assert float(plain.parts[1].scale) == pytest.approx(pooled.std())


def test_tied_weights_pool_a_joint_mixture_and_another(x64):
    """The weights of the first label, and those of a mixture in another field: one Categorical."""
    parts = jax.vmap(jm.Normal)(jnp.array([-50.0, 50.0]), jnp.ones(2))
    joint = jm.JointMixture(jnp.array([0.5, 0.5]), jnp.eye(2), parts, parts)
    other = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
    pair = jm.tie(jm.Composite((joint, other)), lambda m: [part.mixing for part in m.parts])
    x = jnp.array([-50.0, 50.0, 50.0, 50.0])
    data = ((x, x), jnp.array([-50.0, -50.0, -50.0, 50.0]))
    plain = jm.unwrap(eqx.filter_jit(lambda m: jm.em.step(m, data)[0])(pair))
    for part in plain.parts:
        np.testing.assert_allclose(part.weights, [0.5, 0.5])


def test_a_set_counts_a_member_once():
    """However often it is named; a member that is not declared is named in a sentence."""
    model = jm.BernoulliSet(jnp.array([0.25, 0.5]), labels=("a", "b"))
    events = jm.encode(model, [["a", "a"], ["a"]])
    assert events.tolist() == [[True, False], [True, False]]
    assert float(model.log_prob(events[0])) == pytest.approx(np.log(0.25 * 0.5))
    with pytest.raises(ValueError, match="Row 0, field members: 'c' was given"):
        jm.encode(model, [["a", "c"]])


def test_numbers_that_hardly_vary_have_no_variance_of_one():
    """A millionth apart, they have that for a scale; all equal, there is none, and that is told."""
    run = eqx.filter_jit(lambda x: jm.em.run(jm.Normal(0.0, 1.0), x, max_steps=5))
    found = run(jnp.array([3.0, 3.0 + 1e-6] * 6))
    assert float(found.model.scale) < 1e-5
    assert float(found.model.mean) == pytest.approx(3.0, abs=1e-5)
    assert bool(run(jnp.full(12, 3.0)).result == jm.RESULTS.degenerate)


def test_one_part_for_a_whole_stack(x64):
    """Tied over a stack, unwrapped to one copy each; tied before it is stacked, one for each."""
    record = jm.Composite((jm.Normal.template(), jm.Poisson.template()))
    shared = jm.tie(jm.mixture_of(record, 3), lambda m: m.components.parts[1])
    data = (jnp.array([0.0, 1.0, 5.0, 6.0]), jnp.array([1, 2, 3, 4]))
    start = begun(jax.random.key(0), shared, data)
    _, fitted = climbs(start, data, steps=4)
    assert float(fitted.part.rate) == pytest.approx(2.5)
    plain = jm.unwrap(fitted)
    assert plain.components.stack_shape == (3,)
    np.testing.assert_allclose(plain.components.parts[1].rate, 2.5)
    np.testing.assert_allclose(jax.vmap(plain.log_prob)(data), jax.vmap(fitted.log_prob)(data))
    pair = jm.tie(jm.Composite((jm.Normal(0, 1), jm.Normal(1, 1))), lambda m: [*m.parts])
    stacked = jm.mixture_of(pair, 2)
    event = (jnp.array(0.5), jnp.array(-0.5))
    assert jm.unwrap(stacked).components.parts[1].mean.shape == (2,)
    np.testing.assert_allclose(jm.unwrap(stacked).log_prob(event), stacked.log_prob(event))
    with pytest.raises(ValueError, match="Tie it in the inner stack first"):
        jm.tie(
            jm.mixture_of(jm.mixture_of(record, 3), 2), lambda m: m.components.components.parts[0]
        )
    for wrong, words in (
        (lambda m: m.mixing, "tied to nothing"),
        (lambda m: m.weights, "Only densities"),
        (lambda m: [m.mixing, m.components], "alike"),
    ):
        with pytest.raises(ValueError, match=words):
            jm.tie(jm.mixture_of(record, 3), wrong)


def test_parts_inside_a_stack_are_tied_in_each_of_its_densities(x64):
    """Two fields of a mixture's record share components: as tied first and stacked then."""
    inner = jm.mixture_of(jm.Normal.template(), 2)
    record = jm.Composite((inner, inner))
    late = jm.tie(jm.mixture_of(record, 2), lambda m: [p.components for p in m.components.parts])
    early = jm.mixture_of(jm.tie(record, lambda m: [p.components for p in m.parts]), 2)
    centres = jnp.array([[-9.0, -3.0], [3.0, 9.0]])
    late = eqx.tree_at(lambda m: m.part.mean, late, centres)
    early = eqx.tree_at(lambda m: m.components.part.mean, early, centres)
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2, 40)
    data = tuple(
        jnp.asarray(np.asarray(centres)[which, rng.integers(0, 2, 40)] + rng.normal(size=40))
        for _ in range(2)
    )
    step = eqx.filter_jit(lambda m: jm.em.step(m, data)[0])
    late, early = jm.unwrap(step(late)), jm.unwrap(step(early))
    for a, b in zip(jax.tree.leaves(late), jax.tree.leaves(early), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    got = late.components.parts
    np.testing.assert_array_equal(got[0].components.mean, got[1].components.mean)
    for k in range(2):  # far apart: each component's centre is the mean of both fields near it
        both = np.concatenate([np.asarray(x)[which == k] for x in data])
        for j in range(2):
            near = both[np.abs(both - centres[k, j]) < 3]
            assert float(got[0].components.mean[k, j]) == pytest.approx(near.mean(), abs=0.05)
