"""A small mixture problem, shared by the tests of one folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm


@pytest.fixture(scope="session")
def problem():
    """Rows, and a start that is some way from the optimum."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 2)) * 3
    x = (centres[rng.integers(3, size=1003)] + rng.normal(size=(1003, 2))).astype(np.float32)
    parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:3]), jnp.full((3, 2), 2.0))
    return x, jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)


@pytest.fixture(scope="session")
def in_memory(problem):
    """Twelve steps over arrays in memory."""
    x, start = problem
    return jm.fit(None, start, x, init="given", max_steps=12, tol=None)
