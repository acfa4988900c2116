"""Densities of records against enumeration, and expected statistics against brute force."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em.expected import expect

STATES = 2
CAPACITY = 3


def all_sequences(num_symbols, capacity):
    """Every sequence up to a capacity, as padded events."""
    items, lengths = [], []
    for n in range(capacity + 1):
        for word in itertools.product(range(num_symbols), repeat=n):
            items.append([*word, *[0] * (capacity - n)])
            lengths.append(n)
    return jm.SequenceEvent(jnp.array(items), jnp.array(lengths))


def lengths():
    return jm.Categorical(jnp.array([0.1, 0.2, 0.3, 0.4]))


def stack(*rows):
    return jax.vmap(jm.Categorical)(jnp.array(rows))


def chain():
    rows = jnp.array([[0.7, 0.3], [0.0, 1.0]])
    return jm.MarkovChain(jnp.array([0.6, 0.4]), rows, length=lengths(), max_length=CAPACITY)


def hidden():
    return jm.HiddenMarkov(
        jnp.array([0.6, 0.4]),
        jnp.array([[0.7, 0.3], [0.2, 0.8]]),
        stack([0.9, 0.1], [0.3, 0.7]),
        length=lengths(),
        max_length=CAPACITY,
    )


def hierarchical():
    return jm.HierarchicalMixture(
        jnp.array([0.3, 0.7]),
        jnp.array([[0.9, 0.1], [0.4, 0.6]]),
        stack([0.9, 0.1], [0.3, 0.7]),
        length=lengths(),
        max_length=CAPACITY,
    )


def sequence():
    return jm.Sequence(jm.Categorical(jnp.array([0.3, 0.7])), length=lengths(), max_length=CAPACITY)


SEQUENCES = [chain, hidden, hierarchical, sequence]


def log_probs(density, events):
    return np.asarray(eqx.filter_jit(lambda d: jax.vmap(d.log_prob)(events))(density))


@pytest.mark.parametrize("make", SEQUENCES)
def test_sequences_sum_to_one_and_are_drawn_so(make, x64):
    events = all_sequences(STATES, CAPACITY)
    density = make()
    mass = np.exp(log_probs(density, events))
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-12)
    drawn = jax.jit(jax.vmap(density.sample))(jax.random.split(jax.random.key(0), 4000))
    code = lambda e: np.asarray(e.length) * 100 + np.asarray(e.items) @ np.array([4, 2, 1])
    seen = (code(drawn)[:, None] == code(events)[None]).mean(0)
    error = np.sqrt(mass * (1 - mass) / 4000) + 1e-12
    assert np.all(np.abs(seen - mass) < 4.5 * error)


def brute_hidden_markov(model, items):
    """Sums over all paths: likelihood, and expected starts, transitions and emissions."""
    first, rows = np.asarray(model.initial.probs), np.asarray(model.transition.probs)
    emit = np.asarray(model.emissions.probs)
    total, starts = 0.0, np.zeros(2)
    moves, emitted, occupied = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((len(items), 2))
    best = (-1.0, None)
    for path in itertools.product(range(2), repeat=len(items)):
        weight = first[path[0]]
        for t, z in enumerate(path):
            weight *= emit[z, items[t]] * (rows[path[t - 1], z] if t else 1)
        total += weight
        best = max(best, (weight, path))
        starts[path[0]] += weight
        for t, z in enumerate(path):
            emitted[z, items[t]] += weight
            occupied[t, z] += weight
            if t:
                moves[path[t - 1], z] += weight
    return total, starts / total, moves / total, emitted / total, occupied / total, best[1]


def test_hidden_markov_is_forward_backward(x64):
    model = hidden()
    words = [[0, 1, 1], [1, 0], [1], [0, 0, 1]]
    events = jm.encode(model, words)
    brute = [brute_hidden_markov(model, word) for word in words]
    got = eqx.filter_jit(expect)(model, events)
    length_part = np.log([0.4, 0.3, 0.2, 0.4]).sum()
    log_likelihood = sum(np.log(b[0]) for b in brute) + length_part
    np.testing.assert_allclose(got.log_likelihood.value, log_likelihood, rtol=1e-12)
    for stats, index in zip(got.stats[:3], (1, 2, 3), strict=True):
        np.testing.assert_allclose(stats.outcomes, sum(b[index] for b in brute), rtol=1e-10)
    for n, b in enumerate(brute):
        event = jax.tree.map(lambda a, n=n: a[n], events)
        size = len(words[n])
        smoothed = eqx.filter_jit(model.smoothed)(event)
        np.testing.assert_allclose(smoothed[:size], b[4], rtol=1e-10)
        assert not smoothed[size:].any()
        assert tuple(eqx.filter_jit(model.viterbi)(event)[:size].tolist()) == b[5]


def test_chain_counts_its_transitions(x64):
    model = jm.MarkovChain.template(labels=("a", "b"), length=jm.Poisson.template(), max_length=5)
    got = eqx.filter_jit(expect)(model, jm.encode(model, [list("aab"), list("ba"), [], ["b"]]))
    first, rows, length = got.stats
    assert first.outcomes.tolist() == [1, 2]
    assert rows.outcomes.tolist() == [[1, 1], [1, 0]]
    assert (length.count, length.total) == (4, 6)


def test_chain_of_order_two_counts_its_transitions(x64):
    model = jm.MarkovChain.template(labels=("a", "b"), order=2, max_length=5)
    words = [list("aab"), list("ba"), list("abaab"), ["b"]]
    first, second, rows = eqx.filter_jit(expect)(model, jm.encode(model, words)).stats
    assert first.outcomes.tolist() == [2, 2]
    assert second.outcomes.tolist() == [[1, 1], [1, 0]]
    # After aa, ab, ba, bb: aab gives aa>b; abaab gives ab>a, ba>a, aa>b.
    assert rows.outcomes.tolist() == [[0, 2], [1, 0], [1, 0], [0, 0]]


def test_unseen_transitions_and_states_are_impossible(x64):
    impossible = jm.SequenceEvent(jnp.array([[1, 0, 0], [0, 2, 0]]), jnp.array([2, 2]))
    assert log_probs(chain(), impossible).tolist() == [-np.inf, -np.inf]


def test_outer_weights_are_of_sequences_and_not_of_items(x64):
    """Two clear kinds, as many of each, one ten times as long: the weights are a half each."""
    topics = stack([0.999, 0.001], [0.001, 0.999])
    model = jm.HierarchicalMixture(
        jnp.array([0.3, 0.7]), jnp.array([[0.99, 0.01], [0.01, 0.99]]), topics
    )
    data = jm.encode(model, [[0] * 2] * 6 + [[1] * 20] * 6)
    for chunk in (12, 5):
        got = eqx.filter_jit(lambda m, c=chunk: expect(m, data, chunk_size=c))(model)
        np.testing.assert_allclose(got.stats[0].outcomes, [6, 6], rtol=1e-3)
        assert got.stats[0].count == 12
        np.testing.assert_allclose(got.stats[1].count, [12, 120], rtol=1e-2)


def test_joint_mixture_both_ways(x64):
    model = jm.JointMixture(
        jnp.array([0.5, 0.3, 0.2]),
        jnp.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]),
        stack([0.8, 0.2], [0.1, 0.9], [0.5, 0.5]),
        stack([0.7, 0.2, 0.1], [0.1, 0.1, 0.8]),
    )
    xs, ys = (a.ravel() for a in jnp.meshgrid(jnp.arange(2), jnp.arange(3), indexing="ij"))
    table = np.exp(log_probs(model, (xs, ys))).reshape(2, 3)
    w, links = np.asarray(model.weights), np.asarray(model.links.probs)
    f, g = np.asarray(model.first.probs), np.asarray(model.second.probs)
    np.testing.assert_allclose(table, np.einsum("k,km,kx,my->xy", w, links, f, g), rtol=1e-12)
    np.testing.assert_allclose(model.second_weights.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(model.reverse_links.sum(1), 1, rtol=1e-12)
    below = log_probs(model.second_given(jnp.array(1)), jnp.arange(3))
    np.testing.assert_allclose(np.exp(below), table[1] / table[1].sum(), rtol=1e-10)
    across = log_probs(model.first_given(jnp.array(2)), jnp.arange(2))
    np.testing.assert_allclose(np.exp(across), table[:, 2] / table[:, 2].sum(), rtol=1e-10)
    both = model.label_posterior((jnp.array(1), jnp.array(2))).both
    expected = w[:, None] * links * f[:, 1][:, None] * g[:, 2][None]
    np.testing.assert_allclose(both, expected / expected.sum(), rtol=1e-10)
    step = eqx.filter_jit(expect)(model, (xs, ys))
    assert abs(float(step.stats[0].outcomes.sum()) - 6) < 1e-9


def test_missing_is_ignorable_unless_modelled(x64):
    there, gone = jnp.array(True), jnp.array(False)
    plain = jm.Optional(jm.Normal(0.0, 1.0))
    informed = jm.Optional(jm.Normal(0.0, 1.0), 0.25)
    value = jnp.array(0.5)
    normal = float(jm.Normal(0.0, 1.0).log_prob(value))
    assert float(plain.log_prob(jm.OptionalEvent(value, there))) == pytest.approx(normal)
    assert float(plain.log_prob(jm.OptionalEvent(jnp.array(jnp.nan), gone))) == 0
    got = float(informed.log_prob(jm.OptionalEvent(value, there)))
    assert got == pytest.approx(normal + np.log(0.75))
    got = float(informed.log_prob(jm.OptionalEvent(jnp.array(jnp.nan), gone)))
    assert got == pytest.approx(np.log(0.25))


def test_missing_values_leave_the_child_alone(x64):
    model = jm.mixture_of(jm.Optional(jm.Geometric.template(), 0.5), 2)
    data = jm.encode(model, [3, None, 1, None, None])
    got = eqx.filter_jit(expect)(model, data)
    _, trials, missing = got.stats
    np.testing.assert_allclose(trials.count.sum(), 2)
    np.testing.assert_allclose(trials.failures.sum(), 2)
    np.testing.assert_allclose(missing.outcomes.sum(0), [2, 3])


def test_items_per_length_and_empty_sequences(x64):
    words = jm.Sequence(jm.Normal(0.0, 1.0), per_item=True)
    event = jm.SequenceEvent(jnp.array([0.0, 2.0, 9.0]), jnp.array(2))
    each = jax.vmap(jm.Normal(0.0, 1.0).log_prob)(jnp.array([0.0, 2.0]))
    assert float(words.log_prob(event)) == pytest.approx(float(each.mean()))
    assert float(words.log_prob(event._replace(length=jnp.array(0)))) == 0


def record(mean, p):
    return jm.Composite((jm.Normal(mean, 1.0), jm.Optional(jm.Geometric(p), 0.2)))


def test_conditional_and_impute(x64):
    """The mean of the missing field: sum of posterior, given all else, times the mean."""
    parts = [record(-1.0, 0.1), record(1.0, 0.5)]
    model = jm.Mixture(jnp.array([0.4, 0.6]), parts)
    event = (jnp.array(0.3), jm.OptionalEvent(jnp.array(0), jnp.array(False)))
    log = np.log([0.4, 0.6]) - 0.5 * (0.3 - np.array([-1.0, 1.0])) ** 2
    share = np.exp(log) / np.exp(log).sum()
    conditional = model.conditional(event, 1)
    assert float(conditional.mean) == pytest.approx(share @ [10, 2])
    assert float(model.impute(event)[1]) == pytest.approx(share @ [10, 2])
    draw = eqx.filter_jit(jax.vmap(lambda k: model.impute(event, k)))
    draws = np.asarray(draw(jax.random.split(jax.random.key(0), 4000))[1])
    assert abs(draws.mean() - share @ [10, 2]) < 4.5 * draws.std() / np.sqrt(4000)
    stacked = jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), *parts)
    same = jm.MixtureSameFamily(jnp.array([0.4, 0.6]), stacked)
    assert float(same.conditional(event, 1).mean) == pytest.approx(share @ [10, 2])
    alone = model.marginal(0)
    by_hand = np.log(share_of(alone, 0.3))
    assert float(alone.log_prob(jnp.array(0.3))) == pytest.approx(by_hand)


def share_of(mixture, x):
    means = np.array([-1.0, 1.0])
    return (np.asarray(mixture.weights) * np.exp(-0.5 * (x - means) ** 2)).sum() / np.sqrt(
        2 * np.pi
    )


def test_em_never_falls_with_unequal_lengths_weights_and_ties(x64):
    top = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.5]), jnp.ones(2))
    model = jm.HierarchicalMixture(jnp.array([0.4, 0.6]), jnp.array([[0.6, 0.4], [0.3, 0.7]]), top)
    rng = np.random.default_rng(0)
    rows = [list(rng.normal(rng.choice([-2, 2]), 1, n)) for n in rng.integers(0, 7, 30)]
    data = jm.encode(model, rows)
    weights = jnp.asarray(rng.uniform(0, 2, 30))
    history = eqx.filter_jit(lambda m: jm.em.run(m, data, weights=weights, max_steps=25, tol=None))
    levels = np.asarray(history(model).history.log_likelihood)
    levels = levels[~np.isnan(levels)]  # the padding
    assert np.all(np.diff(levels) > -1e-9) and levels[-1] > levels[0]


def test_labels_known_in_part(x64):
    parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
    mixture = jm.MixtureSameFamily(jnp.array([0.3, 0.7]), parts)
    model = jm.SemiSupervised(mixture)
    x = jnp.array(0.2)
    joint = np.asarray(mixture.joint_log_probs(x))
    known = jm.LabelledEvent(x, jnp.array([0.0, 1.0]))
    unknown = jm.LabelledEvent(x, jnp.ones(2))
    assert float(model.log_prob(known)) == pytest.approx(joint[1])
    assert float(model.log_prob(unknown)) == pytest.approx(np.logaddexp(*joint))
    data = jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), known, unknown)
    got = eqx.filter_jit(expect)(model, data)
    share = np.exp(joint - np.logaddexp(*joint))
    np.testing.assert_allclose(got.stats[0].outcomes, share + np.array([0, 1]), rtol=1e-10)


def test_conditional_law_by_outcome(x64):
    model = jm.Conditional(stack([0.9, 0.1], [0.3, 0.7]), jm.Categorical(jnp.array([0.4, 0.6])))
    outcome, value = (a.ravel() for a in jnp.meshgrid(jnp.arange(2), jnp.arange(2), indexing="ij"))
    mass = np.exp(log_probs(model, (outcome, value)))
    np.testing.assert_allclose(mass, [0.36, 0.04, 0.18, 0.42], rtol=1e-12)
    assert log_probs(model, (jnp.array([2]), jnp.array([0]))).tolist() == [-np.inf]


def test_divergence_and_its_error():
    p, q = jm.Normal(0.0, 1.0), jm.Normal(1.0, 1.0)
    got = jm.kl_divergence(jax.random.key(0), p, q, num_samples=4000)
    assert abs(float(got.value) - 0.5) < 4 * float(got.std_error)
    # log p - log q is normal with variance 1 here.
    assert float(got.std_error) == pytest.approx(1 / np.sqrt(4000), rel=0.05)
    impossible = jm.empirical_kl(jm.Poisson(1.0), jm.Geometric(0.5), jnp.array([1, 0, 2]))
    assert impossible.value == jnp.inf and impossible.std_error == jnp.inf
