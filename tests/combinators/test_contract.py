"""What every combinator keeps, over the registry: steps climb, rows are rows, chunks are sums."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .registry import CASES, ROWS

STEPS = 8


@eqx.filter_jit
def ran(model, data, weights):
    return jm.em.run(
        model, data, weights=weights, max_steps=STEPS, tol=None, history_size=STEPS, chunk_size=7
    )


@eqx.filter_jit
def by_row(model, data):
    one = jax.tree.map(lambda a: a[3], data)
    return jax.vmap(model.log_prob)(data), model.log_prob(one)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_steps_climb_with_weights_chunks_lengths_and_missing_values(case, x64):
    model, data = case.make()
    weights = np.random.default_rng(1).uniform(0, 2, ROWS)
    weights[::5] = 0
    found = ran(model, data, jnp.asarray(weights))
    history = found.history
    levels = np.asarray(history.objective)
    assert np.all(np.diff(levels) > -1e-9 * np.abs(levels[:-1])) and levels[-1] > levels[0]
    # Chunks, weights and the padding of the last chunk change nothing of a plain sum over rows.
    each, alone = by_row(found.model, data)
    np.testing.assert_allclose(found.log_likelihood, np.sum(weights * np.asarray(each)), rtol=1e-9)
    np.testing.assert_allclose(each[3], alone, rtol=1e-12)
    if not case.bounded:
        return
    assert np.all(np.asarray(history.kl) > -1e-8)
    # What the last step gained is at least what its bound promised.
    assert np.all(np.asarray(history.elbo) <= np.asarray(history.log_likelihood) + 1e-8)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_order_of_rows_changes_nothing(case, x64):
    model, data = case.make()
    draw = np.random.default_rng(2)
    weights, order = draw.uniform(0, 2, ROWS), draw.permutation(ROWS)
    found = ran(model, data, jnp.asarray(weights))
    other = ran(model, jax.tree.map(lambda a: a[order], data), jnp.asarray(weights[order]))
    # Totals may be near 0: the absolute error is in nats of 24 rows.
    np.testing.assert_allclose(other.log_likelihood, found.log_likelihood, rtol=1e-9, atol=1e-6)
