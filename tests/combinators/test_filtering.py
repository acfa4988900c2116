"""Filtered, foretold and one-step densities of a hidden chain, against every path by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import jaxmix as jm
from jaxmix.em.entry import as_rows

FIRST = np.array([0.5, 0.3, 0.2])
MOVES = np.array([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
MEANS, SCALES = np.array([-2.0, 0.0, 3.0]), np.array([1.0, 0.5, 2.0])
ITEMS = np.array([-1.5, 0.3, 2.0, 0.1])


def model(**more):
    emissions = jax.vmap(jm.Normal)(jnp.asarray(MEANS), jnp.asarray(SCALES))
    return jm.HiddenMarkov(jnp.asarray(FIRST), jnp.asarray(MOVES), emissions, **more)


def event(items, capacity=6):
    room = np.full(capacity, 99.0)  # what stands beyond the length counts for nothing
    room[: len(items)] = items
    return jm.SequenceEvent(jnp.asarray(room), jnp.array(len(items)))


def paths(items):
    """Joint probability of each path of states and the items."""
    table = {}
    for path in itertools.product(range(3), repeat=len(items)):
        odds = FIRST[path[0]] * np.prod([MOVES[a, b] for a, b in itertools.pairwise(path)])
        table[path] = odds * np.prod(
            [st.norm(MEANS[z], SCALES[z]).pdf(x) for x, z in zip(items, path, strict=True)]
        )
    return table


def test_filtered_states_and_items_given_those_before(x64):
    seen = jax.jit(lambda m, x: (m.filtered(x), m.item_log_probs(x), m.log_prob(x)))
    probs, each, whole = seen(model(), event(ITEMS))
    totals = [1.0]
    for t in range(1, len(ITEMS) + 1):
        table = paths(ITEMS[:t])
        last = [sum(v for path, v in table.items() if path[-1] == z) for z in range(3)]
        totals.append(sum(last))
        np.testing.assert_allclose(probs[t - 1], np.array(last) / sum(last), rtol=1e-12)
    np.testing.assert_allclose(each[: len(ITEMS)], np.diff(np.log(totals)), rtol=1e-12)
    assert not np.any(probs[len(ITEMS) :]) and not np.any(each[len(ITEMS) :])
    np.testing.assert_allclose(jnp.sum(each), whole, rtol=1e-12)


def test_smoothed_states_against_every_path(x64, monkeypatch):
    """With a transition that is impossible, by logarithms; and without one, by probabilities."""
    seen = jax.jit(lambda m, x: (m.smoothed(x), m.filtered(x)))
    for moves in (MOVES, 0.9 * MOVES + 0.1 / 3):
        monkeypatch.setitem(globals(), "MOVES", moves)
        table = paths(ITEMS)
        wanted = [
            [sum(v for path, v in table.items() if path[t] == z) for z in range(3)]
            for t in range(len(ITEMS))
        ]
        smoothed, filtered = seen(model(), event(ITEMS))
        wanted = np.array(wanted) / sum(table.values())
        np.testing.assert_allclose(smoothed[: len(ITEMS)], wanted, rtol=1e-12)
        np.testing.assert_allclose(filtered[3], wanted[3], rtol=1e-12)
        assert not np.any(smoothed[len(ITEMS) :])


def test_items_foretold_are_mixtures_by_the_powers_of_the_transitions(x64):
    table = paths(ITEMS)
    last = np.array([sum(v for path, v in table.items() if path[-1] == z) for z in range(3)])
    for steps in (1, 3):
        ahead = last / last.sum() @ np.linalg.matrix_power(MOVES, steps)
        law = model().predict(event(ITEMS), steps)
        np.testing.assert_allclose(law.weights, ahead, rtol=1e-12)
        np.testing.assert_allclose(law.mean, ahead @ MEANS, rtol=1e-12)
    begun = model().predict(event([]), 2)
    np.testing.assert_allclose(begun.weights, FIRST @ MOVES, rtol=1e-12)


def test_items_by_themselves_are_a_sequence_of_all_of_them(x64):
    both = jax.jit(lambda m, x: (m.log_prob(x), m.log_prob(jm.SequenceEvent(x, jnp.array(4)))))
    np.testing.assert_allclose(*both(model(), jnp.asarray(ITEMS)), rtol=1e-12)


def test_a_chain_driven_by_inputs_against_every_path(x64):
    slopes = np.array([[[1.0], [-2.0]], [[0.5], [0.3]], [[-1.0], [2.0]]])
    starts = np.array([[0.1, 0.2], [-0.3, 0.4], [0.0, -0.5]])
    inputs = np.array([[0.3], [-1.0], [0.8], [2.0]])
    rows = jax.vmap(jm.MultinomialRegression)(jnp.asarray(slopes), jnp.asarray(starts))
    emissions = jax.vmap(jm.Normal)(jnp.asarray(MEANS), jnp.asarray(SCALES))
    chain = jm.HiddenMarkov(jnp.asarray(FIRST), rows, emissions, driven="transitions")

    def moves(u):
        logits = np.concatenate([np.zeros((3, 1)), starts + slopes @ u], 1)
        odds = np.exp(logits)
        return odds / odds.sum(1, keepdims=True)

    total, ends, begins = 0.0, np.zeros(3), np.zeros(3)
    for path in itertools.product(range(3), repeat=4):
        odds = FIRST[path[0]]
        for t in range(4):
            odds *= st.norm(MEANS[path[t]], SCALES[path[t]]).pdf(ITEMS[t])
            odds *= moves(inputs[t])[path[t - 1], path[t]] if t else 1
        total, ends[path[-1]] = total + odds, ends[path[-1]] + odds
        begins[path[0]] += odds
    x = (jnp.asarray(ITEMS), jnp.asarray(inputs))
    later = np.array([[1.0], [-1.0]])
    found = jax.jit(
        lambda m, x: (m.log_prob(x), m.predict(x, 2, jnp.asarray(later)).weights, m.smoothed(x))
    )
    value, ahead, smoothed = found(chain, x)
    np.testing.assert_allclose(smoothed[0], begins / total, rtol=1e-12)
    np.testing.assert_allclose(smoothed[3], ends / total, rtol=1e-12)
    np.testing.assert_allclose(value, np.log(total), rtol=1e-12)
    np.testing.assert_allclose(ahead, ends / total @ moves(later[0]) @ moves(later[1]), rtol=1e-12)


def test_a_long_series_by_itself_is_one_row_whose_data_are_its_items(x64):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=300) + 4 * (np.arange(300) // 50 % 2))
    start = jm.HiddenMarkov(
        jnp.ones(2) / 2, jnp.array([[0.9, 0.1], [0.1, 0.9]]), jax.vmap(jm.Normal)(
            jnp.array([0.0, 4.0]), jnp.ones(2)
        )
    )  # fmt: skip
    told = jm.SequenceEvent(x[None], jnp.array([300]))
    fits = [jm.fit(None, start, d, init="given", tol=1e-10) for d in (x, x[None], told)]
    assert {(f.num_data, f.unit, f.num_steps) for f in fits} == {(300, "item", fits[0].num_steps)}
    whole = float(fits[0].model.log_prob(x))
    for fit in fits:
        np.testing.assert_allclose(fit.bic, -2 * whole + 7 * np.log(300), rtol=1e-9)
    found = jm.em.run(start, x, tol=1e-10).log_likelihood
    np.testing.assert_allclose(found, whole, rtol=1e-9)
    vectors = jm.HiddenMarkov.template(jm.DiagonalNormal.template(2), 2)
    one = jnp.stack([x, x], 1)
    sizes = [as_rows(d, vectors).length.tolist() for d in (one, one.reshape(3, 100, 2))]
    assert sizes == [[300], [100, 100, 100]]


def test_states_that_are_almost_lost_come_back_in_float32():
    """An initial or a transition probability below what float32 holds, which one item makes up for."""
    items = np.array([40.0, 40.0, 1.0, 40.0, 0.0])
    sparse = np.array([[0.0, -200.0, -np.inf], [-1.0, np.log1p(-np.exp(-1)), -np.inf], [-1.0] * 3])
    sparse[2, 2] = np.log1p(-2 * np.exp(-1))
    for first, moves in (
        ([0.0, -150.0, -300.0], np.log(0.9 * np.eye(3) + 1 / 30)),
        (
            [0.0, -150.0, -np.inf],
            sparse,
        ),
    ):
        means = np.array([0.0, 30.0, 60.0])
        emitted = st.norm(means, 1).logpdf(items[:, None])
        alpha, back = [np.array(first) + emitted[0]], [np.zeros(3)]
        for e in emitted[1:]:
            alpha.append(np.logaddexp.reduce(alpha[-1][:, None] + moves, 0) + e)
        for e in emitted[:0:-1]:
            back.append(np.logaddexp.reduce(moves + (e + back[-1])[None], 1))
        joint = np.array(alpha) + np.array(back[::-1])
        whole = np.logaddexp.reduce(joint[0])
        emissions = jax.vmap(jm.Normal)(jnp.asarray(means, jnp.float32), jnp.ones(3))
        logits = [jnp.asarray(a, jnp.float32) for a in (first, moves)]
        chain = jm.HiddenMarkov(
            initial_logits=logits[0], transition_logits=logits[1], emissions=emissions
        )
        x = jnp.asarray(items, jnp.float32)
        found = jax.jit(lambda m, x: (m.log_prob(x), m.smoothed(x), m.filtered(x)))(chain, x)
        np.testing.assert_allclose(found[0], whole, rtol=1e-6)
        np.testing.assert_allclose(found[1], np.exp(joint - whole), atol=1e-4)
        past = np.array(alpha)
        past = np.exp(past - np.logaddexp.reduce(past, 1, keepdims=True))
        np.testing.assert_allclose(found[2], past, atol=1e-4)
