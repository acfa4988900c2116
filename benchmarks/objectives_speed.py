"""One claim: a multilevel step costs what an IWAE step with as many draws costs, and compiles once.

A 20-200-784 Bernoulli decoder, batch 256, value and gradient of model and guide. The draws of
IWAE are the mean number of the multilevel objective, rounded up.
"""

import argparse
import math
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

LATENT, HIDDEN, PIXELS, BATCH = 20, 200, 784, 256


class Decoder(eqx.Module):
    network: eqx.nn.MLP

    def __call__(self, z, x):
        logits = self.network(z)
        prior = jm.DiagonalNormal(jnp.zeros(LATENT), jnp.ones(LATENT))
        return prior.log_prob(z) + jnp.sum(x * logits - jax.nn.softplus(logits))


class Encoder(eqx.Module):
    network: eqx.nn.MLP

    def __call__(self, x):
        mean, raw = jnp.split(self.network(x), 2)
        return jm.DiagonalNormal(mean, jax.nn.softplus(raw))


def main(steps):
    k_decoder, k_encoder, k_data = jax.random.split(jax.random.key(0), 3)
    pair = (
        Decoder(eqx.nn.MLP(LATENT, PIXELS, HIDDEN, 1, key=k_decoder)),
        Encoder(eqx.nn.MLP(PIXELS, 2 * LATENT, HIDDEN, 1, key=k_encoder)),
    )
    data = jax.random.bernoulli(k_data, 0.2, (BATCH, PIXELS)).astype(jnp.float32)
    params, static = eqx.partition(pair, eqx.is_inexact_array)
    multilevel = jm.multilevel()
    objectives = {
        "iwae": jm.iwae(math.ceil(multilevel.expected_cost)),
        "multilevel": multilevel,
        "elbo": jm.elbo(math.ceil(multilevel.expected_cost)),
        "iwae reparametrised": jm.iwae(5, guide_gradient="reparametrised"),
    }
    runs, times = {}, {name: [] for name in objectives}
    for name, objective in objectives.items():
        loss = lambda p, key, f=objective: -f(key, *eqx.combine(p, static), data).mean()
        runs[name] = jax.jit(jax.value_and_grad(loss))
        start = time.perf_counter()
        jax.block_until_ready(runs[name](params, jax.random.key(0)))
        print(f"{name:20s} first step {time.perf_counter() - start:6.1f} s", flush=True)
    for key in jax.random.split(jax.random.key(1), steps):  # interleaved: they share the weather
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params, key))
            times[name].append(time.perf_counter() - start)
    base = np.median(times["iwae"])
    for name, run in runs.items():
        spent = np.asarray(times[name]) * 1e3
        print(
            f"{name:20s} draws {objectives[name].expected_cost:5.2f}  median {np.median(spent):7.1f}"
            f" ms  mean {spent.mean():7.1f}  ratio {np.median(spent) / base / 1e3:5.2f}"
            f"  compiles {run._cache_size()}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    main(parser.parse_args().steps)
