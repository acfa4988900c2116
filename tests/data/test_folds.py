"""Folds, cross-validation, and the mass kept for unseen labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxmix as jm


def test_every_row_is_held_out_once():
    pairs = list(jm.data.k_fold(jax.random.key(0), {"x": jnp.arange(10)}, 4))
    held = [pair[1]["x"].tolist() for pair in pairs]
    assert sorted(map(len, held)) == [2, 2, 3, 3] and sorted(np.concatenate(held).tolist()) == list(
        range(10)
    )
    for (train, _), out in zip(pairs, held, strict=True):
        assert sorted(train["x"].tolist() + out) == list(range(10))
    for folds in (1, 11):
        with pytest.raises(ValueError, match="10 rows make 2 to 10 folds"):
            jm.data.k_fold(jax.random.key(0), jnp.arange(10), folds)


def test_leave_one_out_of_a_normal_is_that_of_scipy():
    x = np.array([0.3, -1.2, 2.0, 0.9, 4.0], np.float32)
    weights = np.array([1.0, 2.0, 1.0, 0.0, 1.0], np.float32)
    got = jm.data.cross_validate(
        jax.random.key(0), jm.Normal.template(), jnp.asarray(x), folds=5, weights=weights,
        num_restarts=1,
    )  # fmt: skip
    expected = []
    for i in range(5):
        w = np.where(np.arange(5) == i, 0, weights)
        mean = np.sum(w * x) / w.sum()
        sd = np.sqrt(np.sum(w * (x - mean) ** 2) / w.sum())
        expected.append(norm.logpdf(x[i], mean, sd))
    np.testing.assert_allclose(got.row_log_probs, expected, rtol=1e-3)
    mean = np.dot(expected, weights) / weights.sum()
    assert abs(got.mean - mean) < 1e-3 * abs(mean)
    error = np.sqrt(np.sum((weights * (np.array(expected) - mean)) ** 2)) / weights.sum()
    assert abs(got.std_error - error) < 1e-3 * error
    np.testing.assert_allclose(got.fold_log_likelihoods.sum(), got.mean * weights.sum(), rtol=1e-6)


def test_reserved_mass_goes_to_unseen_labels():
    other = jm.data.OTHER
    kinds = jax.vmap(lambda p: jm.Categorical(p, labels=("a", "b", other)))(
        jnp.array([[0.2, 0.8, 0.0], [0.5, 0.4, 0.1]])
    )
    path = jm.MarkovChain(
        jnp.array([1.0, 0.0]),
        jnp.array([[1.0, 0.0], [0.0, 1.0]]),
        labels=("a", other),
        max_length=3,
    )
    tags = jm.BernoulliSet(jnp.array([0.3, 0.0]), labels=("a", other))
    plain = jm.Categorical(jnp.array([0.2, 0.8]), labels=("a", "b"))
    mixed = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), kinds)
    record = jm.Composite((mixed, path, tags, plain))
    unseen = jax.tree.map(lambda a: a[0], jm.encode(record, [("z", ["q", "a"], {"w"}, "a")]))
    assert record.log_prob(unseen) == -jnp.inf
    model = jm.data.reserve(record, 0.05)
    # The label of kinds, the first of the path and the second after an unseen one, the member.
    exact = np.log(0.05) + np.log(0.05 * 0.95) + np.log(0.7 * 0.05) + np.log(0.2)
    assert abs(model.log_prob(unseen) - exact) < 1e-4
    first, second, third, fourth = model.parts
    expected = [[0.19, 0.76, 0.05], [0.95 * 5 / 9, 0.95 * 4 / 9, 0.05]]
    np.testing.assert_allclose(first.components.probs, expected, rtol=1e-5)
    np.testing.assert_allclose(second.transition.probs, [[0.95, 0.05]] * 2, rtol=1e-5)
    np.testing.assert_allclose(third.probs, [0.3, 0.05], rtol=1e-5)
    np.testing.assert_array_equal(fourth.probs, plain.probs)
    with pytest.raises(ValueError, match="No part of the model declares"):
        jm.data.reserve(plain, 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        jm.data.reserve(tags, 1.0)
