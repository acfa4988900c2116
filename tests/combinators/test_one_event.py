"""One event, no batch, over the registry; posteriors at any size of log-density; vectors seen in part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .registry import CASES

BIG = [0.0, 1e3, 1e4, 1e6]  # distances whose log-densities are up to 5e11 nats from 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_batch_is_refused_by_a_sentence(case):
    model, data = case.make()
    calls = [model.log_prob]
    calls += [getattr(model, n) for n in ("posterior", "impute") if hasattr(model, n)]
    for call in calls:
        with pytest.raises(ValueError, match=r"(?i)one event.* jax\.vmap"):
            call(data)


def same(k):
    return jax.vmap(jm.Normal)(jnp.zeros(k), jnp.ones(k))


def series(x, n=3):
    return jm.SequenceEvent(jnp.full(n, x), jnp.asarray(n))


WEIGHTS = jnp.array([0.3, 0.7])
ALIKE = {
    "MixtureSameFamily": (lambda: jm.MixtureSameFamily(WEIGHTS, same(2)), jnp.asarray),
    "Mixture": (lambda: jm.Mixture(WEIGHTS, [jm.Normal(0.0, 1.0)] * 2), jnp.asarray),
    "SemiSupervised": (
        lambda: jm.SemiSupervised(jm.MixtureSameFamily(WEIGHTS, same(2))),
        lambda x: jm.LabelledEvent(jnp.asarray(x), jnp.ones(2)),
    ),
    "HierarchicalMixture": (
        lambda: jm.HierarchicalMixture(WEIGHTS, jnp.array([[0.2, 0.8], [0.6, 0.4]]), same(2)),
        series,
    ),
    "JointMixture": (
        lambda: jm.JointMixture(WEIGHTS, jnp.array([[0.2, 0.8], [0.6, 0.4]]), same(2), same(2)),
        lambda x: (jnp.asarray(x), jnp.asarray(-x)),
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_equal_components_leave_the_weights_as_they_are(name):
    make, event = ALIKE[name]
    model = make()
    for x in BIG:
        np.testing.assert_allclose(model.posterior(event(x)), WEIGHTS, rtol=1e-5)
        # EM's responsibilities are the gradient in the log-weights.
        slope = jax.grad(lambda m, x=x: m.log_prob(event(x)))(model)
        mixing = getattr(slope, "mixture", slope).mixing.logits
        np.testing.assert_allclose(mixing, np.zeros(2), atol=1e-5)


def test_states_alike_leave_the_chain_as_it_is():
    initial, transition = np.array([0.3, 0.7]), np.array([[0.9, 0.1], [0.0, 1.0]])
    right = [initial]
    for _ in range(3):
        right.append(right[-1] @ transition)
    model = jm.HiddenMarkov(jnp.asarray(initial), jnp.asarray(transition), same(2))
    for x in BIG:
        np.testing.assert_allclose(model.smoothed(series(x, 4)), right, atol=1e-5)


def test_joint_labels_at_large_log_densities():
    model = ALIKE["JointMixture"][0]()
    both = np.asarray(WEIGHTS)[:, None] * np.array([[0.2, 0.8], [0.6, 0.4]])
    for x in BIG:
        labels = model.label_posterior((jnp.asarray(x), jnp.asarray(x)))
        np.testing.assert_allclose(labels.both, both, rtol=1e-5)
        np.testing.assert_allclose(
            model.second_given(jnp.asarray(x)).weights, both.sum(0), rtol=1e-5
        )
        np.testing.assert_allclose(model.first_given(jnp.asarray(x)).weights, WEIGHTS, rtol=1e-5)


def test_logits_of_combinators_are_the_logarithms_of_their_probabilities():
    rows, parts = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32), same(2)
    means = jax.vmap(jm.Normal)(jnp.array([0.0, 2.0]), jnp.ones(2))
    one = jnp.asarray(1.0)
    chain = jm.SequenceEvent(jnp.array([0, 1, 1]), jnp.asarray(3))
    log, logit = np.log, lambda p: np.log(p / (1 - p))
    pairs = [
        (
            jm.MixtureSameFamily(WEIGHTS, means),
            jm.MixtureSameFamily(logits=log(WEIGHTS) + 5, components=means),
            one,
        ),
        (
            jm.Mixture(WEIGHTS, [jm.Normal(0, 1), jm.Laplace(0, 1)]),
            jm.Mixture(logits=log(WEIGHTS) - 2, components=[jm.Normal(0, 1), jm.Laplace(0, 1)]),
            one,
        ),
        (
            jm.HiddenMarkov(WEIGHTS, rows, means),
            jm.HiddenMarkov(
                emissions=means, initial_logits=log(WEIGHTS), transition_logits=log(rows) + 1
            ),
            series(1.0),
        ),
        (
            jm.MarkovChain(WEIGHTS, rows),
            jm.MarkovChain(initial_logits=log(WEIGHTS), transition_logits=log(rows)),
            chain,
        ),
        (
            jm.MarkovChain([WEIGHTS, rows], np.stack([rows, rows])),
            jm.MarkovChain(
                initial_logits=[log(WEIGHTS), log(rows)],
                transition_logits=log(np.stack([rows, rows])),
            ),
            chain,
        ),
        (
            jm.HierarchicalMixture(WEIGHTS, rows, means),
            jm.HierarchicalMixture(topics=means, logits=log(WEIGHTS), topic_logits=log(rows)),
            series(1.0),
        ),
        (
            jm.JointMixture(WEIGHTS, rows, means, parts),
            jm.JointMixture(first=means, second=parts, logits=log(WEIGHTS), link_logits=log(rows)),
            (one, one),
        ),
        (
            jm.Optional(jm.Normal(0, 1), 0.2),
            jm.Optional(jm.Normal(0, 1), logits=logit(0.2)),
            jm.OptionalEvent(one, jnp.asarray(True)),
        ),
        (
            jm.ZeroInflated(jm.Poisson(1.0), 0.2),
            jm.ZeroInflated(jm.Poisson(1.0), logits=logit(0.2)),
            jnp.asarray(0),
        ),
    ]
    for usual, free, x in pairs:
        np.testing.assert_allclose(free.log_prob(x), usual.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_vectors_are_conditioned_and_filled_in_as_block_formulas_say(kind):
    rng = np.random.default_rng(0)
    means, roots = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 3))
    covariances = roots @ roots.transpose(0, 2, 1) + np.eye(3)
    x = np.array([0.7, np.nan, -1.2])
    if kind == "tied":
        covariances[1] = covariances[0]
        parts = jm.TiedMultivariateNormal(
            jnp.asarray(means, jnp.float32), covariances[0].astype("f")
        )
    elif kind == "full":
        parts = jax.vmap(jm.MultivariateNormal)(means.astype("f"), covariances.astype("f"))
    else:
        scales = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        scales = scales[:, :1] * np.ones(3) if kind == "spherical" else scales
        covariances = np.stack([np.diag(s**2) for s in scales])
        family = jm.DiagonalNormal if kind == "diag" else jm.SphericalNormal
        parts = jax.vmap(family)(
            means.astype("f"), (scales if kind == "diag" else scales[:, 0]).astype("f")
        )
    model, seen = jm.MixtureSameFamily(WEIGHTS, parts), [0, 2]
    logs, given = [], []
    for weight, mean, covariance in zip(np.asarray(WEIGHTS), means, covariances, strict=True):
        block, cross = covariance[np.ix_(seen, seen)], covariance[1, seen]
        r = x[seen] - mean[seen]
        logs.append(
            np.log(weight) - 0.5 * (r @ np.linalg.solve(block, r) + np.linalg.slogdet(block)[1])
        )
        given.append(
            (
                mean[1] + cross @ np.linalg.solve(block, r),
                covariance[1, 1] - cross @ np.linalg.solve(block, cross),
            )
        )
    share = np.exp(logs - np.logaddexp(*logs))
    event = jnp.asarray(x, jnp.float32)
    found = model.conditional(event, 1)
    np.testing.assert_allclose(found.weights, share, rtol=1e-4)
    np.testing.assert_allclose(found.components.mean, [m for m, _ in given], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.components.variance, [v for _, v in given], rtol=1e-4)
    right = share @ [m for m, _ in given]
    np.testing.assert_allclose(model.impute(event), [0.7, right, -1.2], rtol=1e-4)
    drawn = jax.vmap(lambda k: model.impute(event, k))(jax.random.split(jax.random.key(0), 2000))
    spread = share @ [v + m**2 for m, v in given] - right**2
    assert abs(float(drawn[:, 1].mean()) - right) < 4 * np.sqrt(spread / 2000)
    np.testing.assert_allclose(drawn[:, 0], 0.7, rtol=1e-6)
    both = model.conditional(event, [1, 2])
    np.testing.assert_allclose(both.components.mean.shape, (2, 2))
    np.testing.assert_allclose(model.marginal(0).components.mean, means[:, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="coordinates 0 to 2"):
        model.conditional(event, 3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_no_event_is_refused_by_a_sentence(case):
    """Of another kind, with a part too few or too many, or with parts that are no numbers."""
    model, data = case.make()
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda a: a[0], data))
    wrong = [None, "abc", object(), [], {}, jnp.asarray(1j)]
    wrong += [structure.unflatten([None] * len(leaves)), structure.unflatten(["q"] * len(leaves))]
    for event in wrong:
        with pytest.raises((TypeError, ValueError)) as caught:
            model.log_prob(event)
        told = str(caught.value)
        assert "jaxmix" in str(caught.traceback[-1].path) and told.endswith("."), (event, told)


def test_items_of_no_sequence_and_a_chain_without_room():
    chain = jm.MarkovChain(WEIGHTS, jnp.array([[0.2, 0.8], [0.6, 0.4]]), length=jm.Poisson(1.0))
    hidden = jm.HiddenMarkov(WEIGHTS, jnp.eye(2), same(2), length=jm.Poisson(1.0))
    words = jm.Sequence(jm.Normal(0.0, 1.0), length=jm.Poisson(1.0))
    for model, kind in ((chain, int), (hidden, float), (words, float)):
        none = jm.SequenceEvent(jnp.zeros(0, kind), jnp.asarray(0))
        assert float(model.log_prob(none)) == -1  # the Poisson's own
        assert float(model.log_prob(none._replace(length=jnp.asarray(1)))) == -np.inf
        for event, told in (
            (none._replace(length=jnp.asarray(0.0)), "a whole number"),
            (none._replace(items=jnp.zeros(())), "the first axis"),
            (none._replace(items=(jnp.zeros(2), jnp.zeros(3))), "the first axis"),
        ):
            with pytest.raises((TypeError, ValueError), match=told):
                model.log_prob(event)
    none = jm.SequenceEvent(jnp.zeros(0), jnp.asarray(0))
    assert hidden.smoothed(none).shape == hidden.filtered(none).shape == (0, 2)
    assert hidden.viterbi(none).shape == hidden.item_log_probs(none).shape == (0,)
    np.testing.assert_allclose(hidden.predict(none, 2).weights, WEIGHTS, rtol=1e-6)


def test_a_record_names_the_field_that_is_refused():
    record = jm.mixture_of(
        jm.Composite({"a": jm.Normal(0, 1), "b": jm.Composite((jm.Poisson(1.0),))}), 2
    )
    with pytest.raises(
        ValueError, match=r"Field 'b': Field 0: One event of this Poisson has shape \(\)"
    ):
        record.log_prob({"a": jnp.asarray(0.0), "b": (jnp.zeros(3),)})
