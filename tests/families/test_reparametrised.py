"""Draws move with their parameters as quantiles at their level do, of every family that says so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .registry import CASES, named

# Draws of two random numbers each move in the mean alone; a grid does not see the ends of a uniform.
OTHERS = (jm.StudentT, jm.Beta, jm.Uniform)
SAID = [
    c for c in CASES
    if getattr(type(c.make()), "reparametrised", False) is True and c.scipy is not None
    and not isinstance(c.make(), OTHERS)
    and hasattr(c.scipy, "cdf") and c.grid.ndim == 1 and not c.discrete
]  # fmt: skip


@eqx.filter_jit
def slopes(density, keys):
    return jax.vmap(jax.value_and_grad(lambda d, key: d.sample(key)), (None, 0))(density, keys)


@pytest.mark.parametrize("case", SAID, ids=named)
def test_draws_move_as_quantiles_do(case, x64):
    """dx / dtheta = -(dF / dtheta) / f, F by the trapezoidal rule over the family's own grid."""
    density = case.make()
    draws, moved = slopes(density, jax.random.split(jax.random.key(5), 8))
    grid = case.grid.astype(float)
    logs = eqx.filter_jit(lambda d, xs: jax.vmap(d.log_prob)(xs))
    flat, structure = jax.tree.flatten(density)
    rates = jax.tree.leaves(moved)
    low = np.asarray(np.exp(logs(density, jnp.asarray(draws))))
    for at, (leaf, rate) in enumerate(zip(flat, rates, strict=True)):
        if case.name == "VonMises" and at == 0:  # mass goes round past the grid's end
            np.testing.assert_allclose(rate, 1)
            continue
        for index in np.ndindex(leaf.shape):
            ends = []
            for step in (1e-4, -1e-4):
                new = structure.unflatten([*flat[:at], leaf.at[index].add(step), *flat[at + 1 :]])
                mass = np.exp(logs(new, jnp.asarray(grid)))
                below = np.concatenate(
                    [[0], np.cumsum(0.5 * np.diff(grid) * (mass[1:] + mass[:-1]))]
                )
                # On the circle it is measured from the location, which stays.
                base = np.interp(0.5, grid, below) if case.name == "VonMises" else 0
                ends.append(np.interp(draws, grid, below) - base)
            right = -(ends[0] - ends[1]) / 2e-4 / low
            got = np.asarray(rate)[(slice(None), *index)]
            np.testing.assert_allclose(got, right, rtol=2e-2, atol=2e-3 * np.abs(right).max())


def test_most_families_of_numbers_say_so():
    assert {jm.VonMises, jm.Gamma, jm.TruncatedNormal} <= {type(c.make()) for c in SAID}


@pytest.mark.parametrize("kappa", [0.3, 40.0])
@pytest.mark.parametrize("dim", [2, 3, 9])
def test_directions_move_with_their_concentration_as_the_quantiles_of_their_angles(dim, kappa):
    north = jnp.zeros(dim).at[0].set(1)
    cosine = lambda k, key: jm.VonMisesFisher(north, k).sample(key)[0]
    keys = jax.random.split(jax.random.key(dim), 40)
    drawn, moved = jax.jit(jax.vmap(jax.value_and_grad(cosine), (None, 0)))(kappa, keys)
    angles = np.linspace(0, np.pi, 200_001)

    def below(k):
        mass = np.sin(angles) ** (dim - 2) * np.exp(k * (np.cos(angles) - 1))
        total = np.concatenate([[0], np.cumsum(mass[1:] + mass[:-1])])
        return total / total[-1]

    # At the same level for another concentration: the quantile's own difference.
    step = 1e-3 * kappa
    at = np.interp(np.arccos(np.asarray(drawn, float)), angles, below(kappa))
    ends = [np.cos(np.interp(at, below(kappa + s), angles)) for s in (step, -step)]
    right = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(moved, right, rtol=2e-2, atol=2e-3 * np.abs(right).max())
