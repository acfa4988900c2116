"""A small variational autoencoder of binary rows, as devices are given it."""

import jax
import jax.numpy as jnp

import jaxmix as jm


def loss_by(objective):
    """The loss by an objective: of the weights "a", "b" (decoder), "c", "m", "s" (encoder)."""

    def loss(p, key, x):
        def model(z, x):
            logits = jnp.tanh(z @ p["a"]) @ p["b"]
            return jnp.sum(-0.5 * z * z) + jnp.sum(x * logits - jax.nn.softplus(logits))

        def guide(x):
            h = jnp.tanh(x @ p["c"])
            return jm.DiagonalNormal(h @ p["m"], jnp.exp(h @ p["s"]))

        return -jnp.mean(objective(key, model, guide, x))

    return loss
