"""Less effort for the compiler, and for Python's: most of the time goes to programs that run once.

Imported before anything is compiled, by `conftest.py` and by the run of the doctests; child
processes inherit it. `JAXMIX_AS_USERS=1` leaves everything as users have it.
"""

import gc
import os

import jax

from jaxmix._page import without_fusions

if os.environ.get("JAXMIX_AS_USERS") != "1":
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    without_fusions()
    if "fusion" in os.environ.get("XLA_FLAGS", ""):  # a version whose flags are known
        # There are as many processes as cores: splitting a program to compile it only costs.
        os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"

# A trace is many small objects that live: looking for cycles among them took a twelfth of the time.
gc.freeze()
gc.set_threshold(200_000, 20, 100)
