"""Less effort for the compiler: most of the time goes to small programs that run once.

Imported before anything is compiled, by `conftest.py` and by the run of the doctests; child
processes inherit it. `JAXMIX_AS_USERS=1` leaves everything as users have it.
"""

import os

import jax

if os.environ.get("JAXMIX_AS_USERS") != "1":
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    flag = "--xla_cpu_use_fusion_emitters=false"
    before = os.environ.get("XLA_FLAGS", "")
    # XLA dies of a flag that it does not know; that this one is known has been seen of 0.10.
    if jax.__version_info__[:2] == (0, 10) and flag not in before:
        os.environ["XLA_FLAGS"] = f"{before} {flag}".strip()
