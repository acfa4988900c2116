"""The problems here are small: most of their time would go into optimising what is compiled."""

import jax
import pytest


@pytest.fixture(autouse=True)
def compiled_quickly():
    """Half the compilation, for the tests of this folder only."""
    name = "jax_disable_most_optimizations"
    before = getattr(jax.config, name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)
