"""The 20-dimensional normal model whose likelihood and scores are known."""

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxmix as jm

DIM = 20


class Model(eqx.Module):
    theta: jax.Array

    def __call__(self, z, x):
        one = jnp.ones(DIM, z.dtype)
        prior = jm.DiagonalNormal(self.theta, one)
        return prior.log_prob(z) + jm.DiagonalNormal(z, one).log_prob(x)


class Guide(eqx.Module):
    matrix: jax.Array
    bias: jax.Array

    def __call__(self, x):
        scale = jnp.full(DIM, (2.0 / 3.0) ** 0.5, x.dtype)
        return jm.DiagonalNormal(self.matrix @ x + self.bias, scale)


def system(perturbation=0.01):
    """Model, guide, one datum, its exact log-likelihood and score; chi2 about 1 at 0.01."""
    theta = jax.random.normal(jax.random.key(0), (DIM,))
    noise = jax.random.normal(jax.random.key(1), (DIM + 1, DIM))
    matrix = 0.5 * jnp.eye(DIM) + perturbation * noise[:DIM]
    guide = Guide(matrix, theta / 2 + perturbation * noise[DIM])
    x = theta + jnp.sqrt(2.0) * jax.random.normal(jax.random.key(2), (DIM,))
    exact = jm.DiagonalNormal(theta, jnp.full(DIM, 2.0**0.5)).log_prob(x)
    return Model(theta), guide, x, exact, (x - theta) / 2
