"""Errors beside a boundary: what is on it is held and named, everything else keeps its right error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

X = np.random.default_rng(0).normal(0, 1, 60).astype(np.float32)
KINDS = ("observed", "sandwich")


def binomial(p, n):
    return (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_of_zero(kind):
    labels = jnp.array([0] * 30 + [1] * 20)
    inside = np.array([binomial(0.6, 50 - (kind == "sandwich"))] * 2)  # less 1 free parameter
    for template in (jm.Categorical.template(3), jm.IntegerCategorical.template(0, 2)):
        model = jm.em.run(template, labels, floor=0.0).model
        errors = jm.em.standard_errors(model, labels, kind=kind)
        assert bool(errors.result == jm.RESULTS.successful)
        np.testing.assert_allclose(errors.probs, [*inside, 0], rtol=1e-3)
        assert errors.at_boundary == [".logits[2]"]
        assert ".logits[2]" in repr(errors)


def test_truth_values_that_are_all_one():
    data = (jnp.asarray(X), jnp.ones(60, int))
    template = jm.Composite((jm.Normal(0.1, 1.0), jm.Bernoulli.template()))
    model = jm.em.run(template, data, floor=0.0).model
    errors = jm.em.standard_errors(model, data)
    np.testing.assert_allclose(errors.parts[0].mean, X.std() / 60**0.5, rtol=1e-3)
    assert float(errors.parts[1].prob) == 0
    assert errors.at_boundary == [".parts[1].logit"]


@pytest.mark.parametrize("kind", [*KINDS, "louis"])
def test_a_component_without_data_and_one_on_its_floor(kind):
    x = jnp.concatenate([jnp.asarray(X), jnp.full(20, 30.0)])
    parts = jax.vmap(jm.Normal)(jnp.array([0.0, 30.0, 500.0]), jnp.array([1.0, 1e-3, 1.0]))
    model = jm.MixtureSameFamily(jnp.array([0.75, 0.25, 0.0]), parts)
    model = jm.em.run(model, x, max_steps=20).model
    errors = jm.em.standard_errors(model, x, kind=kind)
    np.testing.assert_allclose(errors.components.mean[0], X.std() / 60**0.5, rtol=2e-2)
    # Less a weight, a mean and a scale, which are free.
    rows = 80 - 3 * (kind == "sandwich")
    np.testing.assert_allclose(errors.weights[:2], binomial(0.25, rows), rtol=1e-3)
    held = errors.at_boundary
    assert {".components.log_scale[1]", ".components.mean[2]", ".mixing.logits[2]"} <= set(held)
    assert ".components.mean[0]" not in held


def test_a_left_to_right_chain():
    halves = [np.random.default_rng(i).normal(10 * i, 0.5, 50) for i in (0, 1)]
    data = jm.SequenceEvent(
        jnp.asarray(np.concatenate(halves), jnp.float32)[None], jnp.array([100])
    )
    emissions = jax.vmap(jm.Normal)(jnp.array([0.0, 10.0]), jnp.ones(2))
    model = jm.HiddenMarkov(jnp.array([1.0, 0.0]), jnp.array([[0.9, 0.1], [0.0, 1.0]]), emissions)
    model = jm.em.run(model, data).model
    errors = jm.em.standard_errors(model, data)
    np.testing.assert_allclose(
        errors.emissions.mean, [h.std() / 50**0.5 for h in halves], rtol=2e-2
    )
    # One of 50 steps out of the first state leaves it.
    np.testing.assert_allclose(errors.transition.probs[0], binomial(0.02, 50), rtol=1e-2)
    np.testing.assert_allclose(errors.transition.probs[1], 0, atol=0)
    assert len(errors.at_boundary) == 2


def test_a_state_that_is_never_entered(x64):
    """Errors as those of the chain of the two states that are; the third is held."""
    emissions = jax.vmap(jm.Normal)(jnp.array([0.0, 3.0, 50.0]), jnp.ones(3))
    rows = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.3, 0.4]])
    three = jm.HiddenMarkov(jnp.array([0.5, 0.5, 0.0]), rows, emissions)
    x = np.where(np.arange(60) // 10 % 2, 3.0, 0.0) + np.random.default_rng(0).normal(size=60)
    data = jm.SequenceEvent(jnp.asarray(x.reshape(3, 20)), jnp.full(3, 20))
    fit = jm.em.run(three, data, tol=1e-10, max_steps=40, history_size=40).model
    seen = jax.tree.map(lambda a: a[:2], fit.emissions)
    two = jm.HiddenMarkov(fit.initial.probs[:2], fit.transition.probs[:2, :2], seen)
    errors, right = (jm.em.standard_errors(m, data) for m in (fit, two))
    for of in (lambda e: e.transition.probs[:2, :2], lambda e: e.emissions.scale[:2]):
        np.testing.assert_allclose(of(errors), of(right), rtol=1e-3)
    assert ".emissions.mean[2]" in errors.at_boundary


def test_covers_beside_a_boundary():
    """Intervals of two errors, of 400 data sets with an outcome that never comes: 93 to 97 %."""
    draws = jax.random.choice(jax.random.key(0), 3, (400, 100), p=jnp.array([0.5, 0.3, 0.2]))
    counts = jnp.sum(draws[..., None] == jnp.arange(4)[None, None], 1)

    @jax.jit
    @jax.vmap
    def covered(labels):
        model = jm.em.step(jm.Categorical(jnp.full(4, 0.25)), labels)[0]
        errors = jm.em.standard_errors(model, labels)
        return jnp.abs(model.probs - jnp.array([0.5, 0.3, 0.2, 0.0])) <= 1.96 * errors.probs

    share = np.asarray(covered(draws)).mean(0)
    assert np.all(np.asarray(counts[:, 3]) == 0)
    # A Wald interval of 100 rows covers 94.3 to 93.3 % here; four errors of 400 trials are 4.6 %.
    assert np.all(np.abs(share[:3] - 0.94) < 4 * binomial(0.94, 400)), share


def test_records_print_and_no_repr_raises():
    record = jm.Composite(
        {
            "size": jm.Normal(0.1, 1.0),
            "kind": jm.Categorical(jnp.array([0.5, 0.5]), labels=("a", "b")),
        }
    )
    data = {"size": jnp.asarray(X), "kind": jnp.arange(60) % 2}
    model = jm.em.run(record, data).model
    text = repr(jm.em.standard_errors(model, data))
    assert "size" in text and "kind" in text and "+-" in text
    assert repr(jm.em.influence(model, data))


@pytest.mark.parametrize("p", [5e-20, 1e-25, 1e-42])
def test_a_probability_that_is_almost_zero(p):
    """Odds whose square overflows in float32 have their error, those that underflow are named."""
    held = p < 1e-38
    x = np.where(np.arange(60) // 15 % 2, 6.0, 0.0) + X
    emissions = jax.vmap(jm.Normal)(jnp.array([0.0, 6.0]), jnp.ones(2))

    def errors_at(p):
        first = jm.Categorical(logits=jnp.array([0.0, np.log(p) if p else -np.inf], jnp.float32))
        chain = jm.HiddenMarkov(first, jnp.array([[0.9, 0.1], [0.1, 0.9]]), emissions)
        return jm.em.standard_errors(chain, jnp.asarray(x))

    errors = errors_at(p)
    assert bool(errors.result == jm.RESULTS.successful)
    assert errors.at_boundary == ([".initial.logits[1]"] if held else [])
    np.testing.assert_allclose(errors.initial.probs, 0 if held else p**0.5, rtol=1e-4)
    np.testing.assert_allclose(errors.emissions.mean, errors_at(0.0).emissions.mean, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_in_any_unit(kind):
    draw = np.random.default_rng(3)
    rows = draw.normal(0, 1, 60), draw.normal(0, 1, (60, 2)) @ [[1.0, 0.5], [0.0, 1.0]]
    model = jm.Composite((jm.Normal(0.0, 1.0), jm.MultivariateNormal(jnp.zeros(2), jnp.eye(2))))
    rows_seen = 60 if kind == "observed" else 60 - 7  # less the free parameters
    for unit in (1e-9, 1e-4, 1.0, 1e5, 1e9):
        data = jax.tree.map(lambda a, unit=unit: jnp.asarray(unit * a, jnp.float32), rows)
        errors = jm.em.standard_errors(jm.em.run(model, data, floor=0.0).model, data, kind=kind)
        means = errors.parts[0].mean, *errors.parts[1].mean
        own = np.array([rows[0].std(), *rows[1].std(0)])
        np.testing.assert_allclose(np.asarray(means) / unit, own / rows_seen**0.5, rtol=1e-3)
        fourth = np.mean((rows[0] - rows[0].mean()) ** 4) / rows[0].var() ** 2
        spread = 2.0 if kind == "observed" else fourth - 1
        expected = 0.5 * own[0] * (spread / rows_seen) ** 0.5
        np.testing.assert_allclose(float(errors.parts[0].scale) / unit, expected, rtol=1e-3)


def test_a_chain_of_which_one_row_is_free():
    """Two of three rows have a single outcome; of the third, 2 of 4 moves go either way."""
    data = jm.SequenceEvent(jnp.array([[0, 1, 0, 1, 2, 2, 2, 2]] * 2), jnp.array([8, 8]))
    model = jm.em.run(jm.MarkovChain.template(3), data, floor=0.0).model
    errors = jm.em.standard_errors(model, data)
    assert bool(errors.result == jm.RESULTS.successful)
    right = [[0, 0, 0], [binomial(0.5, 4), 0, binomial(0.5, 4)], [0, 0, 0]]
    np.testing.assert_allclose(errors.transition.probs, right, rtol=1e-3)
