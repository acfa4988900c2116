"""10,000 targets x 200 proposals x 200,000 draws, streamed: memory, time and the largest error.

The table of log-densities alone would take 8 GB in float32.

    python -m benchmarks importance_streamed
"""

import resource
import time

import jax
import jax.numpy as jnp

import jaxmix as jm

TARGETS, PROPOSALS, EACH, BLOCK = 10_000, 200, 1000, 5


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)


def main():
    thetas = jnp.linspace(-2.0, 2.0, TARGETS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter()
    out = jm.importance.stream(
        jax.random.key(0),
        lambda x: x > 1.96,
        normals(thetas),
        normals(jnp.linspace(-2.0, 4.0, PROPOSALS)),
        EACH,
        block=BLOCK,
    )
    jax.block_until_ready(out.value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    worst = jnp.max(jnp.abs(out.value - jax.scipy.stats.norm.sf(1.96 - thetas)) / out.std_error)
    print(
        f"{TARGETS} targets x {PROPOSALS} proposals x {out.num_draws} draws: "
        f"{time.perf_counter() - start:.0f} s with compiling, resident at most {peak:.2f} GB "
        f"({before:.2f} before), largest |z| {worst:.2f}"
    )


if __name__ == "__main__":
    main()
