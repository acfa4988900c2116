"""Claim: derivatives of a fit equal finite differences to 1e-4, cost less than 3 EM steps beside the
linear solve, and take no memory for the steps.

24 random problems, four each of full, tied, diagonal and spherical covariances and of two nested
models; in data, weights, a prior's strength and a floor, in float64.
Then the cost of one gradient in parts, and the memory that the compiler plans for it at any number
of steps, beside differentiating through a loop of EM steps.
Run: python -m benchmarks em.gradients, or python -m benchmarks.em.gradients cost
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from jaxmix.em.expected import expect
from jaxmix.em.parts import parameters
from jaxmix.em.priors.prior import floor_prior, pooled_stats
from jaxmix.em.residual import jacobian, pass_of, residual

EACH, ROWS = 4, 80


def gaussians(covariance):
    """A random mixture of two or three normals in the plane, well apart."""

    def make(key):
        k_mean, k_scale = jax.random.split(key)
        template = jm.gaussian_mixture(3, 2, covariance=covariance)
        corners = jnp.array([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]])
        means = corners + jax.random.normal(k_mean, (3, 2))
        data = jnp.repeat(means, ROWS // 3 + 1, 0)[:ROWS]
        noise = jax.random.normal(k_scale, (ROWS, 2))
        skew = jnp.array([[1.0, 0.5], [0.0, 0.8]])
        x = data + jnp.dot(noise, skew)
        start = jm.MixtureSameFamily(jnp.full(3, 1 / 3), template.components)
        # One exact step from the labels is a start near the optimum, of any covariance.
        shares = jnp.repeat(jnp.eye(3), ROWS // 3 + 1, 0)[:ROWS]
        return _from_labels(start, x, shares), x

    return make


def _from_labels(template, x, shares):
    from jaxmix.em.m_step import refit
    from jaxmix.em.parts import take_apart
    from jaxmix.em.priors.prior import blank_stats

    parts = take_apart(template)
    stats = blank_stats(template, x, weights=shares)
    leaves = [refit(p, s)[0] for p, s in zip(parts.leaves, stats, strict=True)]
    return parts.model(leaves, parts.loose)


def mixture_of_mixtures(key):
    """A list of a mixture of two normals, and one normal."""
    k_x, k_m = jax.random.split(key)
    means = jnp.array([-6.0, -1.0, 5.0]) + 0.3 * jax.random.normal(k_m, (3,))
    inner = jm.MixtureSameFamily(
        jnp.array([0.4, 0.6]), jax.vmap(jm.Normal)(means[:2], jnp.array([0.8, 1.0]))
    )
    truth = jm.Mixture(jnp.array([0.6, 0.4]), [inner, jm.Normal(means[2], 1.5)])
    return truth, jax.vmap(truth.sample)(jax.random.split(k_x, ROWS))


def mixture_of_records(key):
    """Two kinds of record, each of a mixture of two normals and a label."""
    k_x, k_m = jax.random.split(key)
    means = jnp.array([[-8.0, -3.0], [2.0, 7.0]]) + 0.3 * jax.random.normal(k_m, (2, 2))
    normal = jax.vmap(jax.vmap(jm.Normal))(means, jnp.ones((2, 2)))
    inner = jax.vmap(jm.MixtureSameFamily)(jnp.array([[0.4, 0.6], [0.5, 0.5]]), normal)
    label = jax.vmap(jm.Categorical)(jnp.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]))
    truth = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), jm.Composite((inner, label)))
    return truth, jax.vmap(truth.sample)(jax.random.split(k_x, ROWS))


def reading(model):
    """A smooth scalar of every parameter in its usual scale."""
    vector = parameters(model)[0]
    return jnp.dot(jnp.cos(jnp.arange(vector.size, dtype=vector.dtype)), jnp.sin(vector) + vector)


def real(data):
    """The part of the data that can move, and how to put it back."""
    if isinstance(data, tuple):
        return data[0], lambda x: (x, data[1])
    return data, lambda x: x


def worst(make, key):
    """The largest relative error over the problems and arguments of one model."""
    starts, data = jax.vmap(make)(jax.random.split(key, EACH))

    def errors(start, data):
        x, back = real(data)

        def loss(at):
            stats, origins = pooled_stats(start, back(at["data"]))
            pseudo = jax.tree.map(lambda a: at["prior"] * a / ROWS, stats)
            prior = jm.em.Prior(pseudo, origins)
            options = {"weights": at["weights"]}
            with_prior = jm.em.solve(start, back(at["data"]), prior=prior, **options)
            with_floor = jm.em.solve(start, back(at["data"]), floor=at["floor"], **options)
            return reading(with_prior) + reading(with_floor)

        at = {
            "data": x, "weights": jnp.linspace(0.5, 1.5, ROWS),
            "prior": jnp.array(2.0), "floor": jnp.array(0.01),
        }  # fmt: skip
        slopes = jax.grad(loss)(at)

        def error(name):
            value = at[name]
            along = jnp.sin(1 + jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
            step = 1e-4 * (at["floor"] if name == "floor" else 1)
            ends = [loss({**at, name: value + h * along}) for h in (step, -step)]
            difference = (ends[0] - ends[1]) / (2 * step)
            return jnp.abs(jnp.sum(slopes[name] * along) - difference) / jnp.abs(difference)

        return {name: error(name) for name in at}

    found = jax.jit(jax.vmap(errors))(starts, data)
    return {name: float(np.max(value)) for name, value in found.items()}


def timed(function, *arguments):
    """The median of 9 runs, in ms."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(9):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))


def cost():
    """Print one gradient's cost in parts, and its memory."""
    rows, dim, k = 20_000, 4, 6
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(k, dim))
    x = jnp.asarray(centres[rng.integers(k, size=rows)] + rng.normal(size=(rows, dim)))
    parts = jax.vmap(jm.MultivariateNormal)(jnp.asarray(centres), jnp.tile(jnp.eye(dim), (k, 1, 1)))
    start = jm.MixtureSameFamily(jnp.full(k, 1 / k), parts)
    found = jm.em.fixed_point(start, x)
    prior = floor_prior(found.model, x, None, 1e-9)
    vector, build = parameters(found.model)

    step = jax.jit(lambda model, x: jm.em.step(model, x)[0])
    known = jax.jit(lambda x: pass_of(found.model, x, None, prior, expect(found.model, x)))(x)
    drift = lambda v, x: residual(build(v), x, None, prior, known).change
    force = jax.jit(lambda x, ct: jax.vjp(lambda x: drift(vector, x), x)[1](ct))
    matrix = jax.jit(lambda x: jacobian(build(vector), x, None, prior, known).matrix)
    product = jax.jit(lambda v, x: jax.jvp(lambda v: drift(v, x), (vector,), (v,))[1])
    transposed = jax.jit(lambda v, x: jax.vjp(lambda v: drift(v, x), vector)[1](v))
    one = timed(step, found.model, x)
    steps = lambda function, *arguments: timed(function, *arguments) / one
    size = vector.size
    print(
        f"\n{rows} rows of {dim}, {k} full covariances, {size} parameters; {found.num_steps} steps "
        f"to rest, one {one:.2f} ms"
    )
    pull, assemble = steps(force, x, vector), steps(matrix, x)
    print(
        f"beyond the linear solve a gradient costs {pull:.2f} steps; the matrix {assemble:.1f} "
        f"({assemble / size:.2f} a column), a product with it {steps(product, vector, x):.2f}, "
        f"with its transpose {steps(transposed, vector, x):.2f}, its solve "
        f"{steps(jax.jit(jnp.linalg.solve), matrix(x), vector):.2f}",
        flush=True,
    )
    for way in ("dense", "gmres"):
        fit = lambda x, way=way: reading(jm.em.solve(found.model, x, linear_solve=way))
        whole = steps(jax.jit(jax.value_and_grad(fit)), x) - steps(jax.jit(fit), x)
        print(f"a whole gradient less its fit, {way}: {whole:.1f} steps", flush=True)

    def through_loop(x, steps):
        body = lambda model, _: (jm.em.step(model, x)[0], None)
        return reading(jax.lax.scan(body, start, None, length=steps)[0])

    def memory(function, *arguments):
        plan = jax.jit(jax.grad(function)).lower(*arguments).compile().memory_analysis()
        return plan.temp_size_in_bytes / 1e6

    implicit = lambda x, steps: reading(jm.em.solve(start, x, max_steps=steps))
    ours = [memory(lambda x, s=s: implicit(x, s), x) for s in (10, 1000)]
    loops = [memory(lambda x, s=s: through_loop(x, s), x) for s in (10, 100)]
    print(
        f"memory of the gradient: {ours[0]:.1f} MB at 10 steps, {ours[1]:.1f} MB at 1,000; through "
        f"a loop of EM steps {loops[0]:.1f} MB at 10, {loops[1]:.1f} MB at 100"
    )


def main(*chosen):
    """Print errors, costs and memory."""
    jax.config.update("jax_enable_x64", True)
    makers = {name: gaussians(name) for name in ("full", "tied", "diag", "spherical")}
    makers |= {"mixture of mixtures": mixture_of_mixtures, "mixture of records": mixture_of_records}
    for number, (name, make) in enumerate(makers.items()):
        if chosen and name not in chosen:
            continue
        errors = worst(make, jax.random.key(number))
        text = ", ".join(f"{argument} {error:.1e}" for argument, error in errors.items())
        print(f"{name}, {EACH} problems: largest relative error in {text}", flush=True)
    if not chosen or "cost" in chosen:
        cost()


if __name__ == "__main__":
    main(*sys.argv[1:])
