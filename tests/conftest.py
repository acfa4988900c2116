"""Every test runs under strict promotion and key-reuse checks; warnings are errors (pyproject)."""

import gc

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_num_cpu_devices", 2)  # for rows spread over devices


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_functions():
    """What a module compiled is of no use to the next, and would fill the memory."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64():
    """Double precision for this test only: nothing else may switch it on."""
    with jax.enable_x64(True):
        yield
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each floating dtype in turn, with the precision switched on that it needs."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)
