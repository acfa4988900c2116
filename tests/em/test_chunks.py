"""What a pass keeps beside the data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from jaxmix.combinators._paths import is_short
from jaxmix.em.chunks import chunk_rows, rows_of_chunk


def chain(states, length, rows):
    emissions = jax.vmap(jm.Normal)(jnp.linspace(-3.0, 3.0, states), jnp.ones(states))
    even = jnp.ones(states) / states
    model = jm.HiddenMarkov(even, jnp.broadcast_to(even, (states, states)), emissions)
    return model, jm.SequenceEvent(jnp.zeros((rows, length)), jnp.full((rows,), length))


def test_a_hidden_chain_keeps_its_states_and_not_its_transitions():
    model, data = chain(states=24, length=60, rows=64)
    compiled = jax.jit(jm.em.expected_stats).lower(model, data).compile()
    once = 4 * 24 * 60 * 64  # bytes of one number for each state, item and row
    memory: Any = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 12 * once  # and not 24 times as many


def test_chunks_of_sequences_count_items_and_states():
    sizes = [rows_of_chunk(*chain(states, length, 2)) for states, length in ((64, 1000), (8, 10))]
    assert sizes[0] == 64 and sizes[1] >= 4096


def test_chunks_for_an_accelerator_are_few_and_whole_tiles():
    """A million rows, 128 columns, 1,024 components: at most 50 trips, each of arrays that fit."""
    model = jm.gaussian_mixture(1024, 128, covariance="diag")
    data = jax.ShapeDtypeStruct((1_000_000, 128), jnp.float32)
    with jm.em.sized_for("cuda"):
        rows = chunk_rows(model, data, None)
        assert chunk_rows(model, data, 500) <= 500  # what is asked for has the last word
    assert rows % 1024 == 0 and 1e6 / rows <= 50 and rows * 1024 * 4 < 2e8
    assert chunk_rows(model, data, None) < 1024  # here, as large as a cache


def test_a_chain_is_halved_where_launches_cost_and_gives_the_same():
    """Lengths that are odd at each level, items that are missing, and one that no state emits."""
    rng = np.random.default_rng(0)
    states, capacity = 3, 77
    first, rows = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)
    emissions = jax.vmap(jm.Normal)(jnp.asarray([-2.0, 0.0, 2.0]), jnp.ones(states))
    model = jm.HiddenMarkov(jnp.asarray(first), jnp.asarray(rows), emissions)
    x = jnp.asarray(rng.normal(size=(4, capacity)).astype(np.float32)).at[3, 9].set(jnp.inf)
    data = jm.SequenceEvent(x, jnp.asarray([capacity, 40, 1, capacity]))
    pair = jax.value_and_grad(lambda m, x: m.log_prob(x))
    both = lambda m, x: jax.vmap(pair, in_axes=(None, 0))(m, x)
    item_by_item = both(model, data)
    with jm.em.sized_for("cuda"):
        assert is_short(states, capacity)
        by_halves = both(model, data)
    assert item_by_item[0][3] == -jnp.inf
    for one, other in zip(jax.tree.leaves(item_by_item), jax.tree.leaves(by_halves), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-4)
