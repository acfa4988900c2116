"""Claim: 95 % intervals from the observed information cover pooled 93 to 97 %, each 91 to 98 %.

500 simulated data sets a problem, two and three components at least 2.5 standard deviations
apart, N of 1,000: estimate plus and minus 1.96 standard errors, every parameter in its usual scale.
Below them, for what the figures do not promise: 200 rows, and components that overlap, beside the
percentile bootstrap on 100 of the data sets.
Run: python -m benchmarks em.intervals, or python -m benchmarks.em.intervals 3 for one problem
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

SETS, BOOTSTRAPPED, RESAMPLES = 500, 100, 200


def normals(weights, means, scales):
    """A mixture of normals on the line."""
    parts = jax.vmap(jm.Normal)(jnp.array(means), jnp.array(scales))
    return jm.MixtureSameFamily(jnp.array(weights), parts)


def planes(weights, means, covariances):
    """A mixture of normals in the plane."""
    parts = jax.vmap(jm.MultivariateNormal)(jnp.array(means), jnp.array(covariances))
    return jm.MixtureSameFamily(jnp.array(weights), parts)


def problems():
    """Name, truth, rows, whether the claim is about it."""
    two = normals([0.4, 0.6], [0.0, 3.0], [1.0, 1.0])
    three = normals([0.3, 0.3, 0.4], [-4.0, 0.0, 4.5], [1.2, 0.8, 1.5])
    correlated = [[1.0, 0.4], [0.4, 0.8]]
    plane = planes([0.35, 0.65], [[0.0, 0.0], [3.0, 1.0]], [correlated, [[1.0, -0.3], [-0.3, 1.0]]])
    yield "2 normals, 3 sd apart", two, 1000, True
    yield "3 normals, 3 to 4 sd apart", three, 1000, True
    yield "2 full covariances, 3 sd apart", plane, 1000, True
    yield "2 normals, 3 sd apart", two, 200, False
    yield "3 normals, 3 to 4 sd apart", three, 200, False
    yield "2 normals, 2 sd apart", normals([0.4, 0.6], [0.0, 2.0], [1.0, 1.0]), 1000, False
    yield "2 normals, 2 sd apart", normals([0.4, 0.6], [0.0, 2.0], [1.0, 1.0]), 200, False


def usual(model):
    """The parameters that have an entry of their own, in their usual scales."""
    parts = model.components
    spread = parts.scale if hasattr(parts, "scale") else parts.covariance[:, [0, 0, 1], [0, 1, 1]]
    return jnp.concatenate([model.weights[:-1], jnp.ravel(parts.mean), jnp.ravel(spread)])


def covered(truth, rows, key):
    """For each data set: which parameters the interval covers, and whether the fit is sound."""
    target = usual(truth)

    def one(key):
        x = jax.vmap(truth.sample)(jax.random.split(key, rows))
        found = jm.em.fixed_point(truth, x)
        model = jm.em.matched(found.model, truth, x)
        errors = jm.em.standard_errors(model, x)
        inside = jnp.abs(usual(model) - target) <= 1.959964 * errors.of(usual)
        sound = (found.result == jm.RESULTS.successful) & (errors.result == jm.RESULTS.successful)
        return inside, sound

    run = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=50))
    return jax.tree.map(np.asarray, run(jax.random.split(key, SETS)))


def covered_by_bootstrap(truth, rows, key):
    """The same by percentile intervals of the bootstrap."""
    target = usual(truth)

    def one(keys):
        x = jax.vmap(truth.sample)(keys[1:])
        model = jm.em.matched(jm.em.solve(truth, x), truth, x)
        boot = jm.em.bootstrap(keys[0], model, x, num=RESAMPLES, max_steps=200)
        low, high = boot.interval(usual)
        return (low <= target) & (target <= high)

    keys = jax.random.split(key, (BOOTSTRAPPED, rows + 1))
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=4))(keys))


def main(*chosen):
    """Print the coverages."""
    jax.config.update("jax_enable_x64", True)
    for number, (name, truth, rows, claimed) in enumerate(problems()):
        if chosen and number not in chosen:
            continue
        began = time.perf_counter()
        inside, sound = covered(truth, rows, jax.random.key(number))
        each = inside[sound].mean(0)
        text = (
            f"{name}, N = {rows}: pooled {inside[sound].mean():.3f}, each {each.min():.3f} to "
            f"{each.max():.3f}, {int((~sound).sum())} of {SETS} without errors"
        )
        if claimed:
            met = 0.93 <= inside[sound].mean() <= 0.97 and each.min() >= 0.91 and each.max() <= 0.98
            text += "; as claimed" if met else "; NOT as claimed"
        elif rows <= 200:
            boot = covered_by_bootstrap(truth, rows, jax.random.key(100 + number))
            text += f"; bootstrap {boot.mean():.3f}, {boot.mean(0).min():.3f} to {boot.mean(0).max():.3f}"
        print(f"{text} ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
