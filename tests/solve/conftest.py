"""The problems here are small: most of their time would go into optimising what is compiled."""

import jax
import pytest


@pytest.fixture(autouse=True)
def compiled_quickly():
    """Half the compilation, for the tests of this folder only."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
