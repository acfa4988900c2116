"""These tests compile many small programs once each: they ask XLA for quick compilations."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def quick_compilations():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
