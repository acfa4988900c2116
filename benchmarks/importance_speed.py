"""The estimator as first written, by nested maps, against `jm.imp_est`: same answers, times faster.

Each target has its own weights. Answers are compared first, and against double precision. The
nested maps hold a table of targets x proposals x draws x proposals, 17.6 GB in the larger case:
they are run on as many targets at a time as fit 2 GB, and also on one at a time, where the
compiler fuses their inner product away: the best they can be made to do.

    python -m benchmarks importance_speed
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

FITS = 2e9  # bytes of the nested maps' table that are asked of the machine
PEAK_SIZE = 1024  # of the matrices by which the machine's own product is timed


def mixture_ratio(j, x, wj, mus):
    return wj @ jnp.exp((mus - mus[j]) * x - 0.5 * (mus**2 - mus[j] ** 2))


def average_rej(j, rejs, x, wj, mus):
    return jnp.mean(rejs / jax.vmap(mixture_ratio, in_axes=(None, 0, None, None))(j, x, wj, mus))


def imp_est_j(j, rejs, x, wj, mus):
    return wj @ jax.vmap(average_rej, in_axes=(None, 0, 0, None, None))(j, rejs, x, wj, mus)


@functools.partial(jax.jit, static_argnames="at_once")
def nested_imp_est(rejs, x, ws, mus, at_once):
    index = jnp.arange(ws.shape[0])
    if at_once < ws.shape[0]:
        size = at_once if at_once > 1 else None
        one = lambda a: imp_est_j(a[0], rejs, x, a[1], mus)
        return jax.lax.map(one, (index, ws), batch_size=size)
    return jax.vmap(imp_est_j, in_axes=(0, None, None, 0, None))(index, rejs, x, ws, mus)


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)


def estimate(thetas, x, ws, mus):
    draws = jm.importance.Draws.of(x, normals(mus))
    return jm.imp_est(lambda x: x > 1.96, normals(thetas), draws, weights=ws)


@jax.jit
def value(thetas, x, ws, mus):
    return estimate(thetas, x, ws, mus).value


@jax.jit
def value_and_error(thetas, x, ws, mus):
    out = estimate(thetas, x, ws, mus)
    return out.value, out.std_error


@jax.jit
def everything(thetas, x, ws, mus):
    return jax.tree.leaves(estimate(thetas, x, ws, mus))


@jax.jit
def gradient(thetas, x, ws, mus):
    return jax.value_and_grad(lambda t: jnp.sum(value(t, x, ws, mus)))(thetas)


def exactly(x, ws, mus):
    """The same sum in double precision, one target at a time."""
    x, ws, mus = (np.asarray(a, float) for a in (x, ws, mus))
    densities = np.exp(-0.5 * (x[:, :, None] - mus) ** 2)
    out = []
    for j, w in enumerate(ws):
        terms = (x > np.float32(1.96)) * densities[:, :, j] / (densities @ w)
        out.append(w @ terms.mean(1))
    return np.array(out)


def times(function, *args, repeats):
    """Median and spread of the wall clock, compiled before."""
    jax.block_until_ready(function(*args))
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        spent.append(time.perf_counter() - start)
    return statistics.median(spent), max(spent) - min(spent)


def compare(num_targets, num_proposals, each):
    k_x, k_w = jax.random.split(jax.random.key(0))
    thetas = jnp.linspace(-2.0, 2.0, num_targets)
    mus = jnp.concatenate([thetas, jnp.linspace(1.0, 4.0, num_proposals - num_targets)])
    x = mus[:, None] + jax.random.normal(k_x, (num_proposals, each))
    ws = jax.nn.softmax(jax.random.normal(k_w, (num_targets, num_proposals)))
    args = thetas, x, ws, mus
    at_once = min(num_targets, int(FITS / (4 * num_proposals**2 * each)))
    nested = functools.partial(nested_imp_est, at_once=at_once)
    alone = functools.partial(nested_imp_est, at_once=1)
    print(f"{num_targets} targets x {num_proposals} proposals x {each} draws")
    exact = exactly(x, ws, mus)
    ours, theirs = value(*args), nested(x > 1.96, x, ws, mus)
    print(
        f"  largest relative difference: ours to theirs {np.abs(ours / theirs - 1).max():.1e}, "
        f"to double precision ours {np.abs(ours / exact - 1).max():.1e}, theirs "
        f"{np.abs(theirs / exact - 1).max():.1e}"
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    slow = times(nested, x > 1.96, x, ws, mus, repeats=3)
    least = times(alone, x > 1.96, x, ws, mus, repeats=3)
    print(
        f"  {f'nested maps, {at_once} targets at once':34s} {slow[0]:8.4f} s (spread {slow[1]:.4f})"
    )
    print(f"  {'nested maps, one target at a time':34s} {least[0]:8.4f} s (spread {least[1]:.4f})")
    fast = None
    for label, function, repeats in (
        ("value", value, 9),
        ("value and error", value_and_error, 5),
        ("value and gradient", gradient, 5),
        ("all fields, Pareto k too", everything, 3),
    ):
        spent = times(function, *args, repeats=repeats)
        fast = fast or spent[0]
        print(
            f"  {label:34s} {spent[0]:8.4f} s (spread {spent[1]:.4f})  "
            f"{slow[0] / spent[0]:6.1f} and {least[0] / spent[0]:5.1f} times, "
            f"{spent[0] / fast:4.1f} x the value",
            flush=True,
        )
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    peak = 2 * PEAK_SIZE**3 / times(jax.jit(lambda a: a @ a), a, repeats=5)[0]
    work = 2 * num_proposals * each * num_proposals * num_targets
    print(
        f"  the product of {work / 1e9:.2f} Gflop alone, at the {peak / 1e9:.0f} Gflop/s of a "
        f"product of size {PEAK_SIZE}: {work / peak:.4f} s"
    )


if __name__ == "__main__":
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32, times with compiling done")
    compare(50, 60, 500)
    compare(200, 210, 500)
