"""One claim: at equal steps and samples, IWAE trains a better model of digits than the ELBO.

A variational autoencoder on scikit-learn's 8x8 digits, black and white, trained by each objective
to a plateau of the validation log-likelihood; the test log-likelihood is the bound of 5,000 draws
a datum. On the left at equal batch and samples, on the right at equal cost, the log-weights
evaluated, where the ELBO may take one draw and more steps. Multilevel and SUMO stand beside.
"""

import argparse
import warnings
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import jaxmix as jm

LATENT, HIDDEN, PIXELS, BATCH, BLOCK = 8, 64, 64, 64, 100


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


class Data(NamedTuple):
    train: jax.Array
    validation: jax.Array
    test: jax.Array


def digits():
    pixels = jnp.asarray(load_digits().data > 7.5, jnp.float32)
    pixels = jax.random.permutation(jax.random.key(0), pixels)
    return Data(pixels[:1297], pixels[1297:1547], pixels[1547:])


def networks(key):
    k_decoder, k_encoder = jax.random.split(key)
    return (
        Decoder(eqx.nn.MLP(LATENT, PIXELS, HIDDEN, 2, key=k_decoder)),
        Encoder(eqx.nn.MLP(PIXELS, 2 * LATENT, HIDDEN, 2, key=k_encoder)),
    )


def bound(key, pair, xs, num_samples, rows_at_once):
    found = jm.log_evidence(key, *pair, xs, num_samples=num_samples, rows_at_once=rows_at_once)
    return found.value.mean(), found.total_std_error / len(xs)


def trainer(objective, data, rate):
    """Functions of a key: a start, and BLOCK steps with the validation bound after them."""
    optimiser = optax.adam(rate)
    static = eqx.partition(networks(jax.random.key(0)), eqx.is_inexact_array)[1]

    def start(key):
        params = eqx.filter(networks(key), eqx.is_inexact_array)
        return params, optimiser.init(params)

    def step(carry, key):
        params, state = carry
        k_rows, k_draws = jax.random.split(key)
        xs = data.train[jax.random.randint(k_rows, (BATCH,), 0, len(data.train))]
        loss = lambda p: -objective(k_draws, *eqx.combine(p, static), xs).mean()
        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def block(carry, key):
        carry, _ = jax.lax.scan(step, carry, jax.random.split(key, BLOCK))
        pair = eqx.combine(carry[0], static)
        return carry, bound(jax.random.key(7), pair, data.validation, 100, 50)[0]

    return start, block, static


def train(key, start, block, most_steps, patience):
    """The best parameters by validation, the step that gave them, and the best by each step."""
    k_start, k_steps = jax.random.split(key)
    carry = start(k_start)
    best, best_step, history = -np.inf, 0, []
    for index in range(most_steps // BLOCK):
        carry, value = block(carry, jax.random.fold_in(k_steps, index))
        if float(value) > best:
            best, best_step, params = float(value), (index + 1) * BLOCK, carry[0]
        history.append(params)
        if (index + 1) * BLOCK - best_step >= patience:
            break
    return params, best_step, history


def main(most_steps, repeats, draws, budget, only):
    warnings.simplefilter("ignore", jm.objectives.InfiniteVarianceWarning)
    data = digits()
    objectives = {
        "elbo": jm.elbo(draws),
        "iwae": jm.iwae(draws),
        "multilevel": jm.multilevel(),
        "sumo": jm.sumo(),
        "elbo, one draw": jm.elbo(1),
    }
    test = jax.jit(
        lambda key, params, static: bound(key, eqx.combine(params, static), data.test, 5000, 2),
        static_argnums=2,
    )
    print(
        f"{repeats} keys, batch {BATCH}; test log-likelihood of {len(data.test)} digits, nats a datum:"
        " mean over keys,\nits error, and that of one key's 5,000 draws. Left: to the validation "
        f"plateau, at most {most_steps} steps.\nRight: the best by validation within {budget} "
        "log-weights for each row of a batch.\n"
    )
    columns = "".join(f"{name:>9s}" for name in ("steps", "test", "+-", "+-"))
    print(f"{'objective':16s}{'draws':>7s}{columns}   {columns}")
    for name, objective in objectives.items():
        if only and name not in only:
            continue
        start, block, static = trainer(objective, data, 3e-3)
        cost, plateau, equal = objective.expected_cost, [], []
        for index in range(repeats):
            key = jax.random.fold_in(jax.random.key(1), index)
            params, step, history = train(key, start, block, most_steps, patience=600)
            plateau.append((step, *test(jax.random.key(2), params, static)))
            at = min(int(budget / (cost * BLOCK)), len(history)) - 1
            same = history[at] is params
            found = plateau[-1][1:] if same else test(jax.random.key(2), history[at], static)
            equal.append(((at + 1) * BLOCK, *found))
        print(f"{name:16s}{cost:7.2f}{summary(plateau)}   {summary(equal)}", flush=True)


def summary(rows):
    rows = np.asarray(rows, float)
    steps, value, error = rows.mean(0)
    spread = rows[:, 1].std(ddof=1) / len(rows) ** 0.5
    return f"{steps:9.0f}{value:9.3f}{spread:9.3f}{error:9.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--budget", type=int, default=3000, help="log-weights a row")
    parser.add_argument("--only", nargs="*", help="names of objectives, as the table has them")
    parsed = parser.parse_args()
    main(parsed.steps, parsed.repeats, parsed.draws, parsed.budget, parsed.only)
