"""The estimator as first written, by nested maps, against `jm.imp_est`: same answers, times faster.

Each target has its own weights. Answers are compared first, and against double precision. The
nested maps hold a table of targets x proposals x draws x proposals, 17.7 GB in the larger case:
by default they are run on as many targets at a time as fit 2 GB, and on one at a time, the best
they can be made to do. --as-written N calls them once as they stand for N of the 200 targets, which
takes 89 MB a target. All are timed in turns, so that a slow minute of the machine is everyone's.

    python -m benchmarks.importance.speed [--as-written N]
"""

import argparse
import functools
import resource
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


def clock(function, args):
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def in_turns(functions, repeats=5):
    """Wall clock of each, compiled before: one call of each a round (rounds, functions)."""
    for function, args in functions.values():
        jax.block_until_ready(function(*args))
    spent = [[clock(*pair) for pair in functions.values()] for _ in range(repeats)]
    return dict(zip(functions, np.array(spent).T, strict=True))


def compare(num_targets, num_proposals, each, as_written=0):
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
    source = x > 1.96, x, ws, mus
    spent = in_turns(
        {
            f"nested maps, {at_once} targets at once": (nested, source),
            "nested maps, one target at a time": (alone, source),
            "value": (value, args),
            "value and error": (value_and_error, args),
            "value and gradient": (gradient, args),
            "all fields, Pareto k too": (everything, args),
        }
    )
    slow, least, fast = list(spent.values())[:3]
    for label, seconds in spent.items():
        print(
            f"  {label:34s} {np.median(seconds):8.4f} s (spread {np.ptp(seconds):.4f})  "
            f"{np.median(slow / seconds):6.1f} and {np.median(least / seconds):5.1f} times, "
            f"{np.median(seconds / fast):5.1f} x the value",
            flush=True,
        )
    if as_written:
        source = x > 1.96, x, ws[:as_written], mus
        run = nested_imp_est.lower(*source, at_once=as_written).compile()
        start = time.perf_counter()
        answer = np.asarray(run(*source))
        seconds = time.perf_counter() - start
        np.testing.assert_allclose(ours[:as_written], answer, rtol=1e-5)
        share = num_targets / as_written * seconds / np.median(fast)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"  nested maps as written for {as_written} targets: {seconds:.1f} s, by the target "
            f"{share:.1f} times; resident at most {peak:.1f} GB"
        )
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    product = jax.jit(lambda a: a @ a)
    rate = 2 * PEAK_SIZE**3 / np.median(in_turns({"product": (product, (a,))})["product"])
    work = 2 * num_proposals * each * num_proposals * num_targets
    print(
        f"  the product of {work / 1e9:.2f} Gflop alone, at the {rate / 1e9:.0f} Gflop/s of a "
        f"product of size {PEAK_SIZE}: {work / rate:.4f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--as-written", type=int, default=0)
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32, times with compiling done")
    compare(50, 60, 500)
    compare(200, 210, 500, parser.parse_args().as_written)
