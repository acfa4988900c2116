"""The 20-dimensional normal model whose likelihood and scores are known."""

import math

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


def system(chi2=1.077):
    """Model, guide, one datum, its exact log-likelihood and score, at a given chi2 of the weights.

    The guide's matrix and bias are off their optimum by normal noise, scaled so that
    1 + chi2 = (2/3 / sqrt(1/2 5/6))^20 exp(6/5 |d|^2), d the distance of the means, is met.
    """
    theta = jax.random.normal(jax.random.key(0), (DIM,))
    noise = jax.random.normal(jax.random.key(1), (DIM + 1, DIM))
    x = theta + jnp.sqrt(2.0) * jax.random.normal(jax.random.key(2), (DIM,))
    least = (2 / 3 / (5 / 12) ** 0.5) ** DIM
    distance = noise[:DIM] @ x + noise[DIM]
    off = jnp.sqrt(math.log((1 + chi2) / least) / 1.2 / jnp.sum(distance**2))
    guide = Guide(0.5 * jnp.eye(DIM) + off * noise[:DIM], theta / 2 + off * noise[DIM])
    exact = jm.DiagonalNormal(theta, jnp.full(DIM, 2.0**0.5)).log_prob(x)
    return Model(theta), guide, x, exact, (x - theta) / 2
