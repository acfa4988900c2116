"""10,000 targets x 200 proposals x 200,000 draws, streamed: memory, time and the largest error.

The table of log-densities alone would take 8 GB in float32. With --own-weights each target has a
mixture of its own, and all denominators are a product of 4e11 multiplications.

    python -m benchmarks.importance.streamed [--own-weights]
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp

import jaxmix as jm

TARGETS, PROPOSALS, EACH, BLOCK = 10_000, 200, 1000, 5


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)


def main(own_weights):
    thetas, mus = jnp.linspace(-2.0, 2.0, TARGETS), jnp.linspace(-2.0, 4.0, PROPOSALS)
    weights = None
    if own_weights:  # near the target's rejections, and 5 % anywhere
        near = jax.nn.softmax(-2 * (jnp.maximum(thetas, 2.3)[:, None] - mus) ** 2)
        weights = 0.95 * near + 0.05 / PROPOSALS
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start, busy = time.perf_counter(), time.process_time()
    out = jm.importance.stream(
        jax.random.key(0),
        lambda x: x > 1.96,
        normals(thetas),
        normals(mus),
        EACH,
        block=BLOCK,
        weights=weights,
    )
    jax.block_until_ready(out.value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    worst = jnp.max(jnp.abs(out.value - jax.scipy.stats.norm.sf(1.96 - thetas)) / out.std_error)
    print(
        f"{TARGETS} targets x {PROPOSALS} proposals x {out.num_draws} draws: "
        f"{time.perf_counter() - start:.0f} s with compiling ({time.process_time() - busy:.0f} of the "
        f"processor), resident at most {peak:.2f} GB "
        f"({before:.2f} before), largest |z| {worst:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--own-weights", action="store_true")
    main(parser.parse_args().own_weights)
