"""Length buckets: little padding, every row once, and the answers of the padded whole."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmix as jm
from jaxmix.combinators import _buckets as buckets
from jaxmix.em.expected import expect, log_likelihood

FITS = importlib.import_module("jaxmix.em.fit")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 40)), min_size=1, max_size=80),
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
)
def test_padding_stays_under_twice_the_items(lengths, sizes):
    lengths, sizes = np.array(lengths), np.array(sizes)
    groups = buckets.grouped(lengths, sizes)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    padded = sum(len(rows) * (lengths[rows].max(0) @ sizes) for rows in groups)
    assert padded < 2 * (lengths @ sizes).sum()


@pytest.mark.parametrize("law", ["poisson", "geometric", "pareto"])
def test_groups_are_fewer_than_powers_of_two(law):
    rng = np.random.default_rng(0)
    draw = {"poisson": rng.poisson(8, 5000), "geometric": rng.geometric(0.02, 5000),
            "pareto": 1 + 5 * rng.pareto(1.1, 5000)}[law]  # fmt: skip
    lengths = np.maximum(draw.astype(int), 1)[:, None]
    groups = buckets.grouped(lengths, np.ones(1, int))
    padded = sum(len(rows) * lengths[rows].max() for rows in groups)
    assert padded <= buckets.LIMIT * lengths.sum()
    assert len(groups) < len(set(np.ceil(np.log2(lengths)).ravel()))


def events(rows, rng):
    """Fields with every kind of length: plain, maybe missing, nested."""
    as_event = lambda items, length: jm.SequenceEvent(
        jax.tree.map(jnp.asarray, items), jnp.asarray(length)
    )
    long = np.arange(rows) % 4 == 0
    present = rng.random(rows) < 0.7
    inner = as_event(rng.normal(size=(rows, 5, 9)), rng.integers(0, 7, (rows, 5)))
    # What a missing sequence holds has no meaning, its length included.
    lengths = np.where(present, np.where(long, 12, 2), 99)
    return {
        "chain": as_event(
            rng.integers(0, 2, (rows, 40)), np.where(long, 17, rng.integers(0, 4, rows))
        ),
        "maybe": jm.OptionalEvent(
            as_event(rng.normal(size=(rows, 12)), lengths), jnp.asarray(present)
        ),
        "nested": as_event(inner, rng.integers(0, 5, rows)),
    }


def test_a_pass_over_buckets_is_that_over_the_whole(x64, monkeypatch):
    monkeypatch.setattr(buckets, "WORTHWHILE", 0)
    rows = jnp.array([[0.2, 0.8], [0.7, 0.3]])

    def record(shift):
        inner = jm.Sequence(jm.Normal(shift, 2.0), jm.Poisson(2.0))
        return jm.Composite(
            {
                "chain": jm.MarkovChain(rows[0], rows, length=jm.Poisson(6.0 + shift)),
                "maybe": jm.Optional(jm.Sequence(jm.Normal(shift, 1.0)), 0.3),
                "nested": jm.Sequence(inner),
            }
        )

    density = jm.MixtureSameFamily(jnp.array([0.3, 0.7]), jax.vmap(record)(jnp.array([0.0, 1.0])))
    rng = np.random.default_rng(0)
    data, weights = events(60, rng), jnp.asarray(np.where(np.arange(60) % 5, rng.random(60), 0))
    grouped, rest = buckets.bucketed(data, weights, 2)
    assert isinstance(grouped, buckets.Buckets) and len(grouped.parts) == 2 and rest is None
    got = jax.jit(lambda d, w: (expect(density, d, w), log_likelihood(density, d, w)))
    (whole, total), (parts, same) = got(data, weights), got(grouped, rest)
    assert abs(total.value - same.value) < 1e-9
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_fit_in_buckets_is_the_fit_without(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = jnp.asarray(np.where(np.arange(90) % 3, 2, 30))
    means = rng.choice([-2.0, 2.0], (90, 1))
    items = jnp.asarray((means + rng.normal(size=(90, 30))).astype(np.float32))
    data = jm.SequenceEvent(items, lengths)
    template = jm.mixture_of(jm.Sequence.template(jm.Normal.template()), 2)

    def fitted():
        return jm.fit(jax.random.key(1), template, data, num_restarts=2, tol=None, max_steps=9)

    monkeypatch.setattr(FITS, "suits", lambda *_: False)
    plain, passes = fitted(), []

    def watched(*given):
        passes.append(buckets.bucketed(*given))
        return passes[-1]

    monkeypatch.setattr(buckets, "WORTHWHILE", 0)
    monkeypatch.setattr(FITS, "bucketed", watched)
    grouped = fitted()
    assert [len(data.parts) for data, _ in passes] == [2]
    assert abs(plain.log_likelihood - grouped.log_likelihood) < 1e-5 * abs(plain.log_likelihood)
    for a, b in zip(jax.tree.leaves(plain.model), jax.tree.leaves(grouped.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_small_paddings_and_flat_events_are_left_alone():
    flat = jnp.arange(6.0)
    assert buckets.bucketed(flat, None, 8)[0] is flat
    chain = jm.SequenceEvent(jnp.zeros((3, 50)), jnp.array([1, 2, 3]))
    assert buckets.bucketed(chain, None, 8)[0] is chain
