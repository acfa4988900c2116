"""Fits in memory go on from their checkpoints, and refuse those of others."""

import jax
import numpy as np
import pytest

import jaxmix as jm


@pytest.fixture(scope="module")
def search(problem, tmp_path_factory):
    """A search over restarts that a checkpoint may cut in two; like columns are stacked in it."""
    x = tuple(problem[0][:, i % 2] for i in range(8))
    template = jm.mixture_of(jm.Composite([jm.Normal.template() for _ in x]), 3)

    def run(**options):
        options = {"num_restarts": 3, "tol": None, "accelerate": "squarem", **options}
        return jm.fit(jax.random.key(1), template, options.pop("data", x), **options)

    return run, run(max_steps=70, checkpoint=tmp_path_factory.mktemp("whole"))


def test_a_search_in_two_halves_is_as_in_one(search, tmp_path):
    run, whole = search
    first = run(max_steps=30, checkpoint=tmp_path)
    assert first.num_steps == 30
    second = run(max_steps=70, checkpoint=tmp_path)
    assert second.num_steps == 70
    np.testing.assert_array_equal(second.log_likelihood, whole.log_likelihood)
    np.testing.assert_array_equal(second.history.objective, whole.history.objective)
    np.testing.assert_array_equal(second.restarts.log_likelihood, whole.restarts.log_likelihood)


def test_another_fit_is_named(search, problem, tmp_path):
    run, _ = search
    run(max_steps=3, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="another fit: its data"):
        run(max_steps=3, checkpoint=tmp_path, data=tuple(problem[0][:, 0] for _ in range(8)))
    with pytest.raises(ValueError, match="another fit: its restarts"):
        run(max_steps=3, checkpoint=tmp_path, num_restarts=2)
