"""One claim: a multilevel step costs what an IWAE step with as many draws costs, and compiles once.

A 20-200-784 Bernoulli decoder, batch 256, value and gradient of model and guide. The draws of
IWAE are the mean number of the multilevel objective, rounded up; numpyro's RenyiELBO and
Trace_ELBO and TensorFlow Probability's variational loss take as many, in the same process and
interleaved. Before any time, the means of all bounds are compared. Then 1,000 steps on another
model count the compilations after the first.
"""

import argparse
import importlib
import math
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from tests.objectives.systems import DIM, system

LATENT, HIDDEN, PIXELS, BATCH = 20, 200, 784, 256
COMPILED = "/jax/core/compile/backend_compile_duration"


class Decoder(eqx.Module):
    network: eqx.nn.MLP

    def __call__(self, z, x):
        logits = self.network(z)
        prior = jm.DiagonalNormal(jnp.zeros(LATENT), jnp.ones(LATENT))
        # The peers' Bernoulli: one exponential a pixel, both ways. Signed by the pixel: as
        # max(logits, 0) - x * logits the compiler keeps two more arrays of all the pixels.
        signed = jnp.where(x == 1, -logits, logits)
        entropy = jnp.maximum(signed, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
        return prior.log_prob(z) - jnp.sum(entropy)


class Encoder(eqx.Module):
    network: eqx.nn.MLP

    def moments(self, x):
        mean, raw = jnp.split(self.network(x), 2)
        return mean, jax.nn.softplus(raw)

    def __call__(self, x):
        return jm.DiagonalNormal(*self.moments(x))


def peer(name):
    try:
        return importlib.import_module(name)
    except (ImportError, AttributeError) as error:  # a release for another jax fails at import
        print(f"{name} is absent: {error}")
        return None


def with_numpyro(draws, data):
    """Losses (key, pair) -> mean bound of numpyro's, by name."""
    numpyro = peer("numpyro")
    if numpyro is None:
        return {}
    dist, infer = numpyro.distributions, importlib.import_module("numpyro.infer")

    def model(pair, xs):
        with numpyro.plate("rows", BATCH):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            logits = jax.vmap(pair[0].network)(z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=xs)

    def guide(pair, xs):
        mean, scale = jax.vmap(pair[1].moments)(xs)
        with numpyro.plate("rows", BATCH):
            numpyro.sample("z", dist.Normal(mean, scale).to_event(1))

    def loss(elbo):
        return lambda key, pair: -elbo.loss(key, {}, model, guide, pair, data) / BATCH

    return {
        "numpyro elbo": loss(infer.Trace_ELBO(num_particles=draws)),
        "numpyro iwae": loss(infer.RenyiELBO(alpha=0, num_particles=draws)),
    }


def with_tfp(draws, data):
    """Losses (key, pair) -> mean bound of TensorFlow Probability's, by name."""
    tfp = peer("tensorflow_probability.substrates.jax")
    if tfp is None:
        return {}
    tfd, estimators = tfp.distributions, tfp.vi.GradientEstimators

    def loss(estimator, **sizes):
        def mean_bound(key, pair):
            def joint(z):
                logits = jax.vmap(jax.vmap(pair[0].network))(z)
                prior = tfd.Sample(tfd.Normal(0.0, 1.0), LATENT)
                return prior.log_prob(z) + tfd.Independent(
                    tfd.Bernoulli(logits=logits), 1
                ).log_prob(data)

            mean, scale = jax.vmap(pair[1].moments)(data)
            q = tfd.MultivariateNormalDiag(mean, scale)
            kept = {}
            if estimator is estimators.DOUBLY_REPARAMETERIZED:
                still = map(jax.lax.stop_gradient, (mean, scale))
                kept = {"stopped_surrogate_posterior": tfd.MultivariateNormalDiag(*still)}
            return -tfp.vi.monte_carlo_variational_loss(
                joint, q, seed=key, gradient_estimator=estimator, **kept, **sizes
            ).mean()

        return mean_bound

    return {
        "tfp elbo": loss(estimators.REPARAMETERIZATION, sample_size=draws),
        "tfp iwae": loss(estimators.REPARAMETERIZATION, importance_sample_size=draws),
        "tfp iwae dreg": loss(estimators.DOUBLY_REPARAMETERIZED, importance_sample_size=draws),
    }


def by_hand(draws, data):
    """The bound written out in jax.numpy: what an objective could cost at least."""

    def mean_bound(key, pair):
        def row(key, x):
            mean, scale = pair[1].moments(x)

            def log_w(key):
                z = mean + scale * jax.random.normal(key, (LATENT,))
                return pair[0](z, x) - jm.DiagonalNormal(mean, scale).log_prob(z)

            return jax.nn.logsumexp(jax.vmap(log_w)(jax.random.split(key, draws)))

        rows = jax.vmap(row)(jax.random.split(key, BATCH), data)
        return rows.mean() - jnp.log(jnp.asarray(draws, rows.dtype))

    return {"iwae by hand": mean_bound}


def main(steps):
    k_decoder, k_encoder, k_data, k_steps = jax.random.split(jax.random.key(0), 4)
    pair = (
        Decoder(eqx.nn.MLP(LATENT, PIXELS, HIDDEN, 1, key=k_decoder)),
        Encoder(eqx.nn.MLP(PIXELS, 2 * LATENT, HIDDEN, 1, key=k_encoder)),
    )
    data = jax.random.bernoulli(k_data, 0.2, (BATCH, PIXELS)).astype(jnp.float32)
    params, static = eqx.partition(pair, eqx.is_inexact_array)
    multilevel = jm.multilevel()
    draws = math.ceil(multilevel.expected_cost)
    plain = "reparametrised"
    objectives = {
        "iwae dreg": jm.iwae(draws),
        "multilevel dreg": multilevel,
        "multilevel": jm.multilevel(guide_gradient=plain),
        "iwae": jm.iwae(draws, guide_gradient=plain),
        "elbo": jm.elbo(draws, guide_gradient=plain),
    }
    losses = {
        name: lambda key, pair, f=f: f(key, *pair, data).mean() for name, f in objectives.items()
    }
    losses |= by_hand(draws, data) | with_numpyro(draws, data) | with_tfp(draws, data)
    runs, means, times = {}, {}, {name: [] for name in losses}
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; {draws} draws, batch {BATCH}\n")
    print(f"{'objective':18s}{'first step':>12s}{'mean value':>12s}{'+-':>8s}")
    for name, loss in losses.items():
        step = lambda p, key, f=loss: f(key, eqx.combine(p, static))
        runs[name] = jax.jit(jax.value_and_grad(step))
        start = time.perf_counter()
        jax.block_until_ready(runs[name](params, jax.random.key(0)))
        first = time.perf_counter() - start
        means[name] = [float(runs[name](params, key)[0]) for key in jax.random.split(k_data, 8)]
        error = np.std(means[name], ddof=1) / 8**0.5
        print(f"{name:18s}{first:10.1f} s{np.mean(means[name]):12.3f}{error:8.3f}", flush=True)
    for key in jax.random.split(k_steps, steps):  # interleaved: they share the weather
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params, key))
            times[name].append(time.perf_counter() - start)
    base = np.asarray(times["iwae"])
    print(f"\n{'objective':18s}{'median ms':>10s}{'10 %':>8s}{'90 %':>8s}{'of iwae':>9s}")
    for name in runs:
        spent = np.asarray(times[name])
        low, middle, high = np.quantile(spent, (0.1, 0.5, 0.9)) * 1e3
        ratio = np.median(spent / base)
        print(f"{name:18s}{middle:10.1f}{low:8.1f}{high:8.1f}{ratio:9.2f}")
    thousand_steps()


def thousand_steps():
    """Compilations after the first of 1,000 multilevel steps on the 20-dimensional normal model."""
    model, guide, x, _, _ = system()
    batch, objective = jnp.broadcast_to(x, (BATCH, DIM)), jm.multilevel()
    keys = list(jax.random.split(jax.random.key(1), 1001))
    step = jax.jit(jax.value_and_grad(lambda pair, key: objective(key, *pair, batch).mean()))
    jax.block_until_ready(step((model, guide), keys[0]))
    count = 0

    def listen(event, _seconds, **_):
        nonlocal count
        count += event == COMPILED

    jax.monitoring.register_event_duration_secs_listener(listen)
    for key in keys[1:]:
        found = step((model, guide), key)
    jax.block_until_ready(found)
    print(f"\ncompilations in 1,000 multilevel steps after the first: {count}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    main(parser.parse_args().steps)
