"""The source's nested-vmap estimator against `jm.imp_est`: same answers, so many times faster.

python benchmarks/importance_speed.py [--streamed]
"""

import argparse
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm


def mixture_ratio(j, x, wj, mus):
    return wj @ jnp.exp((mus - mus[j]) * x - 0.5 * (mus**2 - mus[j] ** 2))


def average_rej(j, rejs, x, wj, mus):
    return jnp.mean(rejs / jax.vmap(mixture_ratio, in_axes=(None, 0, None, None))(j, x, wj, mus))


def imp_est_j(j, rejs, x, wj, mus):
    return wj @ jax.vmap(average_rej, in_axes=(None, 0, 0, None, None))(j, rejs, x, wj, mus)


@jax.jit
def source_imp_est(rejs, x, ws, mus):
    """As the source has it."""
    index = jnp.arange(ws.shape[0])
    return jax.vmap(imp_est_j, in_axes=(0, None, None, 0, None))(index, rejs, x, ws, mus)


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)


@jax.jit
def value(thetas, x, ws, mus):
    draws = jm.importance.Draws.of(x, normals(mus))
    return jm.imp_est(lambda x: x > 1.96, normals(thetas), draws, weights=ws).value


@jax.jit
def everything(thetas, x, ws, mus):
    draws = jm.importance.Draws.of(x, normals(mus))
    out = jm.imp_est(lambda x: x > 1.96, normals(thetas), draws, weights=ws)
    return out.value, out.std_error, out.ess


@jax.jit
def gradient(thetas, x, ws, mus):
    return jax.value_and_grad(lambda t: jnp.sum(value(t, x, ws, mus)))(thetas)


def seconds(function, *args, repeats):
    jax.block_until_ready(function(*args))
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def compare(num_targets, num_proposals, each):
    k_x, k_w = jax.random.split(jax.random.key(0))
    thetas = jnp.linspace(-2.0, 2.0, num_targets)
    mus = jnp.concatenate([thetas, jnp.linspace(1.0, 4.0, num_proposals - num_targets)])
    x = mus[:, None] + jax.random.normal(k_x, (num_proposals, each))
    ws = jax.nn.softmax(jax.random.normal(k_w, (num_targets, num_proposals)))
    theirs = source_imp_est(x > 1.96, x, ws, mus)
    np.testing.assert_allclose(value(thetas, x, ws, mus), theirs, rtol=1e-5 * 20, atol=1e-5)
    slow = seconds(source_imp_est, x > 1.96, x, ws, mus, repeats=3)
    fast = seconds(value, thetas, x, ws, mus, repeats=9)
    full = seconds(everything, thetas, x, ws, mus, repeats=5)
    grad = seconds(gradient, thetas, x, ws, mus, repeats=5)
    print(
        f"{num_targets:4d} targets x {num_proposals:4d} proposals x {each} draws: source "
        f"{slow:.3f} s, value {fast:.4f} s ({slow / fast:.0f} times), with errors {full:.4f} s, "
        f"gradient {grad:.4f} s ({grad / fast:.1f} times the value)",
        flush=True,
    )


def streamed():
    thetas = jnp.linspace(-2.0, 2.0, 10_000)
    start = time.perf_counter()
    out = jm.importance.stream(
        jax.random.key(0),
        lambda x: x > 1.96,
        normals(thetas),
        normals(jnp.linspace(-2.0, 4.0, 200)),
        1000,
        block=5,
    )
    jax.block_until_ready(out.value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    worst = jnp.max(jnp.abs(out.value - jax.scipy.stats.norm.sf(1.96 - thetas)) / out.std_error)
    print(
        f"10,000 targets x 200 proposals x 200,000 draws streamed: "
        f"{time.perf_counter() - start:.0f} s, peak {peak:.2f} GB, largest |z| {worst:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--streamed", action="store_true")
    args = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32")
    if args.streamed:
        streamed()
    else:
        compare(50, 60, 500)
        compare(200, 210, 500)
