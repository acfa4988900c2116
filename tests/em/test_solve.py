"""Derivatives of a fit against finite differences of it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix._refittable import Total
from jaxmix.em.priors.prior import pooled_stats


def normals(weights, means, scales):
    parts = jax.vmap(jm.Normal)(jnp.asarray(means), jnp.asarray(scales))
    return jm.MixtureSameFamily(jnp.asarray(weights), parts)


def global_prior(model, x, rows):
    """So many pseudo-rows of the global fit for every leaf."""
    stats, origins = pooled_stats(model, x)
    share = lambda leaf: jax.tree.map(lambda a: rows * a / x.shape[0], leaf)
    return jm.em.Prior([share(leaf) for leaf in stats], origins)


def central(function, at, step=1e-5):
    return (function(at + step) - function(at - step)) / (2 * step)


def test_gradients_of_a_full_covariance_mixture_equal_finite_differences(x64):
    truth = jm.MixtureSameFamily(
        jnp.array([0.3, 0.7]),
        jax.vmap(jm.MultivariateNormal)(
            jnp.array([[-2.0, 0.0], [2.0, 1.0]]),
            jnp.array([[[1.0, 0.3], [0.3, 0.5]], [[0.7, -0.2], [-0.2, 1.2]]]),
        ),
    )
    x = jax.vmap(truth.sample)(jax.random.split(jax.random.key(0), 60))

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def loss(x, w, rows):
        model = jm.em.solve(truth, x, weights=w, prior=global_prior(truth, x, rows))
        parts = (model.weights, model.components.mean, model.components.covariance)
        flat = jnp.concatenate([jnp.ravel(a) for a in parts])
        return jnp.dot(jnp.cos(jnp.arange(flat.size, dtype=flat.dtype)), flat)

    at = (x, jnp.linspace(0.5, 1.5, 60), jnp.array(3.0))
    for i, (value, slope) in enumerate(zip(at, loss(*at)[1], strict=True)):
        along = jnp.sin(1 + jnp.arange(value.size, dtype=float)).reshape(value.shape)
        moved = lambda h, i=i, a=along: loss(*at[:i], at[i] + h * a, *at[i + 1 :])[0]
        np.testing.assert_allclose(jnp.sum(slope * along), central(moved, 0.0), rtol=1e-5)


def test_frozen_and_fixed_parts_are_hyperparameters_forward_by_gmres_in_a_batch(x64):
    k_free, k_heavy = jax.random.split(jax.random.key(1))
    x = jnp.concatenate([
        4 + jax.random.normal(k_free, (40,)), -3 + 0.8 * jax.random.t(k_heavy, 3.0, (60,))
    ])  # fmt: skip

    def fitted(at):
        parts = [jm.frozen(jm.Normal(at[0], 1.5)), jm.StudentT(at[1], at[2], 1.0, fixed_df=True)]
        start = jm.Mixture(jnp.array([0.4, 0.6]), parts)
        model = jm.unwrap(jm.em.solve(start, x, linear_solve="gmres"))
        free = model.components[1]
        value = jnp.stack([free.loc, free.scale, model.weights[0]])
        return value, value

    both = jax.jit(jax.vmap(jax.jacfwd(fitted, has_aux=True)))
    # The frozen mean, the fixed degrees of freedom, and where the free location starts.
    at = jnp.array([[4.0, 3.0, -3.0], [4.3, 5.0, -3.0]])
    slopes = both(at)[0]
    for i, e in enumerate(jnp.eye(3)[:2]):
        differences = central(lambda h, e=e: both(at + h * e[None])[1], 0.0, 1e-4)
        np.testing.assert_allclose(slopes[..., i], differences, rtol=1e-6, atol=1e-9)
    assert not slopes[..., 2].any()


def test_an_emptied_component_is_counted_and_leaves_the_others_their_derivatives(x64):
    x = jax.random.normal(jax.random.key(0), (60,))
    x = jnp.concatenate([x, 5 + x[:30] / 2])
    start = normals([0.4, 0.3, 0.3], [0.0, 5.0, 500.0], [1.0, 1.0, 1.0])

    @jax.jit
    @functools.partial(jax.jacrev, has_aux=True)
    def means(at):
        found = jm.em.fixed_point(start, x * at[0], floor=at[1])
        return found.model.components.mean, found

    at = jnp.array([1.0, 0.05])
    slopes, found = means(at)
    assert int(found.num_emptied) == 1
    assert float(found.model.weights[2]) == 0
    assert float(found.model.components.mean[2]) == 500
    assert not slopes[2].any()
    # The floor moves the means little: a longer step keeps the differences above rounding.
    for i, step in enumerate((1e-5, 5e-4)):
        moved = lambda h, i=i: means(at.at[i].add(h))[1].model.components.mean
        np.testing.assert_allclose(slopes[:, i], central(moved, 0.0, step), rtol=1e-5, atol=1e-9)


def test_second_derivatives_equal_finite_differences_of_gradients(x64):
    x = jnp.concatenate([jax.random.normal(jax.random.key(0), (40,)) - 2, jnp.linspace(1, 4, 30)])
    start = normals([0.5, 0.5], [-2.0, 2.0], [1.0, 1.0])

    def mean(bend):
        model = jm.em.solve(start, jnp.sinh(bend[0] * x) + bend[1] * x)
        return model.components.mean[0] * model.components.scale[1] + model.weights[0]

    at = jnp.array([0.3, 0.4])
    both = jax.jit(lambda at: (jax.grad(mean)(at), jax.hessian(mean)(at)))
    differences = jnp.stack([central(lambda h, e=e: both(at + h * e)[0], 0.0) for e in jnp.eye(2)])
    np.testing.assert_allclose(both(at)[1], differences, rtol=1e-6)


class Overshooting(jm.Refittable):
    """A unit normal whose M-step lands a whole unit beyond the mean, on the other side."""

    mean: jax.Array
    num_parameters = 1

    @property
    def origin(self):
        return self.mean

    def log_prob(self, x):
        return -((x - self.mean) ** 2) / 2

    def sample(self, key):
        return self.mean + jax.random.normal(key)

    def stats(self, x, origin=None):
        return Total(jnp.ones_like(x), x - origin)

    def zero_stats(self):
        return Total(jnp.zeros_like(self.mean), jnp.zeros_like(self.mean))

    def from_stats(self, stats, origin=None):
        ahead = stats.total / stats.count
        return Overshooting(origin + ahead + jnp.where(ahead > 0, 1.0, -1.0).astype(ahead.dtype))

    def expected_log_prob(self, stats, origin=None):
        return stats.total * (self.mean - origin) - stats.count * (self.mean - origin) ** 2 / 2


def test_steps_that_stay_large_where_the_objective_rises_no_more_are_told(x64):
    x = jnp.array([-1.0, 0.5, 2.0])
    found = jm.em.fixed_point(Overshooting(jnp.array(3.0)), x)
    assert bool(found.result == jm.RESULTS.stalled), found.result
    assert float(found.residual) >= 1 and int(found.num_steps) < 100
    assert "float64, a prior, or fewer components" in jm.RESULTS[found.result]


def test_a_flat_optimum_and_a_wrong_solver_are_told():
    x = jnp.linspace(-1.0, 1.0, 20)
    start = normals([0.5, 0.5], [-0.1, 0.1], [1.0, 1.0])
    short = jm.em.fixed_point(start, x, max_steps=3)
    assert bool(short.result == jm.RESULTS.max_steps_reached)
    with pytest.raises(ValueError, match="is one of auto, dense, gmres"):
        jm.em.solve(start, x, linear_solve="cg")
    assert eqx.tree_equal(jm.em.solve(jm.frozen(start), x), jm.frozen(start))
