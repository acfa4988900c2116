"""Less effort for the compiler: most of the time goes to small programs that run once.

Imported before anything is compiled, by `conftest.py` and by the run of the doctests; child
processes inherit it. `JAXMIX_AS_USERS=1` leaves everything as users have it.
"""

import os

import jax

from jaxmix._page import without_fusions

if os.environ.get("JAXMIX_AS_USERS") != "1":
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    without_fusions()
