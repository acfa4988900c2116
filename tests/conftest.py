"""Every test runs under strict promotion and key-reuse checks; warnings are errors (pyproject)."""

import ctypes
import gc
import pathlib
import resource

import jax
import jax.numpy as jnp
import pytest

import tests.quick_compilations  # noqa: F401

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_num_cpu_devices", 2)  # for rows spread over devices

MEMORY_FOR_COMPILED_FUNCTIONS = 2e9  # bytes


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_functions():
    """Small functions serve many modules; all that was compiled would fill the memory."""
    yield
    statm = pathlib.Path("/proc/self/statm")  # absent outside Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else float("inf")
    if pages * resource.getpagesize() > MEMORY_FOR_COMPILED_FUNCTIONS:
        jax.clear_caches()
        gc.collect()
        # The C library keeps what is freed, so that the next module would be cleared as well.
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


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
