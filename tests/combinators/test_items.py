"""Densities of items: many rows at once as row by row, and sums that underflow in the fast way."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix._log_sums import log_mixed

FAR = jnp.array([[0.0, -200.0, -300.0], [-400.0, 0.0, -jnp.inf], [-1.0, -2.0, -jnp.inf]]).T


@pytest.mark.parametrize("rows", [FAR, FAR[:, 2:]])
def test_mixed_sums_that_underflow_are_taken_exactly(rows):
    """The first topic, by far the likeliest, has weight 0 in the second sum."""
    with np.errstate(divide="ignore"):
        log_weights = np.log([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    terms = log_weights[:, :, None] + np.asarray(rows, float)[None]
    expected = np.logaddexp.reduce(terms, axis=1)
    value, pull = jax.vjp(log_mixed, jnp.asarray(log_weights, jnp.float32), rows)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    slopes = pull(jnp.ones_like(value))
    share = np.exp(terms - expected[:, None])
    np.testing.assert_allclose(slopes[0], share.sum(2), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(slopes[1], share.sum(0), rtol=1e-5, atol=1e-7)


def test_mixed_sums_of_nothing_have_no_slope():
    weights, rows = jnp.log(jnp.array([[1.0, 0.0], [0.5, 0.5]])), jnp.array([[-jnp.inf], [-3.0]])
    value, pull = jax.vjp(log_mixed, weights, rows)
    np.testing.assert_allclose(value[:, 0], [-np.inf, -3 + np.log(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(pull(jnp.ones_like(value))[0], [[0, 0], [0, 1]])


@pytest.mark.parametrize("stay", [1.0, 0.5])
def test_hidden_states_far_behind_may_come_back(stay):
    """A state 200 nats behind at one item leads at the next; none leaves its own if `stay` is 1."""
    transition = np.array([[stay, 1 - stay], [1 - stay, stay]])
    emissions = jax.vmap(jm.Normal)(jnp.array([0.0, 20.0]), jnp.ones(2))
    model = jm.HiddenMarkov(jnp.array([0.5, 0.5]), jnp.asarray(transition), emissions)
    x = np.array([0.0, 20.0, 20.0])
    density = -0.5 * (x[:, None] - np.array([0.0, 20.0])) ** 2 - 0.5 * np.log(2 * np.pi)
    paths = []
    with np.errstate(divide="ignore"):
        for path in itertools.product(range(2), repeat=3):
            moves = sum(np.log(transition[a, b]) for a, b in itertools.pairwise(path))
            paths.append(np.log(0.5) + moves + sum(density[t, z] for t, z in enumerate(path)))
    event = jm.SequenceEvent(jnp.asarray(x, jnp.float32), jnp.array(3))
    np.testing.assert_allclose(model.log_prob(event), np.logaddexp.reduce(paths), rtol=1e-6)


def test_many_rows_are_as_each_row_and_their_statistics_too(x64):
    normals = lambda *means: jax.vmap(jm.Normal)(jnp.array(means), jnp.ones(len(means)))
    topics = jm.HierarchicalMixture(
        jnp.array([0.3, 0.7]), jnp.array([[0.2, 0.8], [1.0, 0.0]]), normals(-1.0, 2.0)
    )
    stack = jax.vmap(lambda m: jm.Sequence(jm.Normal(m, 1.0), jm.Poisson(2.0)))(jnp.arange(2.0))
    pair = jm.JointMixture(jnp.array([0.4, 0.6]), jnp.eye(2), normals(-1.0, 1.0), stack)
    rng = np.random.default_rng(0)
    events = jm.SequenceEvent(jnp.asarray(rng.normal(size=(5, 4))), jnp.array([4, 0, 1, 2, 4]))
    first = jnp.asarray(rng.normal(size=5))
    for model, rows in ((topics, events), (pair, (first, events))):
        values = jax.jit(lambda m, r: (m.rows_log_prob(r), jax.vmap(m.log_prob)(r)))(model, rows)
        np.testing.assert_allclose(*values, rtol=1e-12)
    # A mixture of one evaluates its rows one by one.
    stats = jax.jit(jm.em.expected_stats)(pair, (first, events))[1]
    alone = jax.jit(jm.em.expected_stats)(jm.mixture_of(pair, 1), (first, events))[1]
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(alone.components), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-9, atol=1e-9)
