"""What a parameter is, a family declares: stacks whose sizes agree by chance with a dimension."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix._hooks import Labelled, SaysDomain, Source, TellsPosterior
from jaxmix._stack import stack_axes


def tied(components, live, dim=4):
    """A tied mixture with equal components, some of weight 0."""
    means = jnp.arange(float(components))[:, None] * jnp.ones((1, dim))
    weights = jnp.where(jnp.arange(components) < live, 1 / live, 0.0)
    return jm.MixtureSameFamily(weights, jm.TiedMultivariateNormal(means, 100 * jnp.eye(dim)))


def rows():
    return jax.random.normal(jax.random.key(0), (60, 4)) * jnp.array([[1.0, 2.0, 3.0, 4.0]])


@pytest.mark.parametrize("components", [4, 5])
def test_emptied_components_change_nothing_of_what_is_tied(components):
    """One row of a 4 x 4 factor is no parameter of one of 4 components."""
    x = rows()
    _, stats = jm.em.expected_stats(tied(components, 3), x)
    new = jm.em.step(tied(components, 3), x)[0].components
    count, first = (
        np.asarray(a[:3], float) for a in (stats.components.count, stats.components.first)
    )
    residual = np.asarray(stats.components.second, float)[:3].sum(0)
    shift = first / count[:, None]
    pooled = (residual - np.einsum("k,ki,kj->ij", count, shift, shift)) / 60
    np.testing.assert_allclose(new.covariance[0], pooled, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(new.mean[3:], tied(components, 3).components.mean[3:])


def test_an_emptied_mixture_keeps_its_own_tied_covariance_and_no_others():
    """Two tied mixtures side by side, each of as many components as dimensions; one far away."""
    pair = jax.vmap(lambda shift: jm.TiedMultivariateNormal(jnp.eye(2) + shift, jnp.eye(2)))(
        jnp.array([0.0, 1e6])
    )
    assert jax.tree.leaves(stack_axes(pair)) == [2, 1]
    inner = jax.vmap(jm.MixtureSameFamily)(jnp.full((2, 2), 0.5), pair)
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), inner)
    x = rows()[:, 2:]
    new, _, info = jm.em.step(model, x)
    alone, _, _ = jm.em.step(jax.tree.map(lambda a: a[0], inner), x)
    covariance = new.components.components.covariance
    np.testing.assert_allclose(covariance[0], alone.components.covariance, rtol=1e-5)
    np.testing.assert_allclose(covariance[1], jnp.stack([jnp.eye(2)] * 2), rtol=1e-6)
    assert int(info.num_emptied) >= 2


def test_a_stack_taken_apart_and_repeated_keeps_what_it_shares():
    stack = jm.mixture_of(jm.TiedMultivariateNormal.template(3), 3).components
    assert stack.is_tied and stack.mean.shape == stack.factor.shape == (3, 3)
    nested = jm.mixture_of(jm.mixture_of(jm.PartialNormal.template(3, tied=True), 3), 3)
    whole = nested.components.components.whole
    assert whole.mean.shape == whole.factor.shape == (3, 3, 3)
    order = jnp.array([2, 0, 1])
    placed = jm.TiedMultivariateNormal(
        jnp.arange(9.0).reshape(3, 3), jnp.diag(jnp.arange(1.0, 4.0))
    )
    model = jm.MixtureSameFamily(jnp.array([0.2, 0.3, 0.5]), placed)
    moved = jm.MixtureSameFamily(
        model.weights[order], jm.TiedMultivariateNormal(placed.mean[order], placed.covariance[0])
    )
    found = jm.em.matched(moved, model, placed.mean)
    np.testing.assert_allclose(found.components.mean, placed.mean)
    np.testing.assert_allclose(found.components.factor, placed.factor, rtol=1e-6)


def test_a_wrapper_offers_what_it_wraps():
    mixture = jm.mixture_of(jm.Normal.template(), 2)
    tied = jm.tie(mixture, lambda m: [m.components, m.components])
    frozen = jm.frozen(mixture)
    for offers in (mixture, tied, frozen):
        assert isinstance(offers, Labelled) and isinstance(offers, TellsPosterior)
    assert not isinstance(jm.Normal.template(), Labelled)
    assert isinstance(jm.frozen(jm.Poisson.template()), SaysDomain)
    assert not isinstance(np.zeros(3), Source)
