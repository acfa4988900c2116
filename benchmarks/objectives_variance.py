"""One claim: sharing draws in a tree halves the variance x cost of a multilevel gradient.

The 20-dimensional normal model (chi2 about 1): bias of the value, variance of the model's
gradient (mean over coordinates) times the expected number of draws, for each objective. IWAE and
the jackknife stand beside: biased, or nearly unbiased, and cheaper.
"""

import argparse
import sys
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "objectives"))
from systems import DIM, system

warnings.simplefilter("ignore", jm.objectives.InfiniteVarianceWarning)


def measure(objective, draws, seed):
    """Values and gradients one row a call would give, from independent batches of one row."""
    model, guide, x, exact, _ = system()
    rows = 2000

    # The gradient of each row, from one vjp a row of a batch of thetas.
    def per_row(key):
        thetas = jnp.broadcast_to(model.theta, (rows, DIM))
        batch = jnp.broadcast_to(x, (rows, DIM))

        def loss(thetas):
            # The row's own theta rides along with its datum.
            joint = lambda z, pair: eqx.tree_at(lambda m: m.theta, model, pair[1])(z, pair[0])
            values = objective(key, joint, lambda pair: guide(pair[0]), (batch, thetas))
            return values.sum(), values

        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(thetas)
        return values, gradients

    run = jax.jit(per_row)
    parts = [run(k) for k in jax.random.split(jax.random.key(seed), draws // rows)]
    values = np.concatenate([np.asarray(v) for v, _ in parts])
    gradients = np.concatenate([np.asarray(g) for _, g in parts])
    bias, error = values.mean() - float(exact), values.std() / len(values) ** 0.5
    return bias, error, values.var(), gradients.var(0).mean()


def main(draws):
    paper = {"ratio": 0.6, "share": False}
    objectives = {
        "iwae 6": jm.iwae(6),
        "iwae 15": jm.iwae(15),
        "jackknife 6": jm.jackknife(6),
        "ml single-term, published": jm.multilevel("single-term", **paper),
        "ml roulette, published": jm.multilevel(**paper),
        "ml single-term, shared": jm.multilevel("single-term"),
        "ml roulette tree, base 1": jm.multilevel(),
        "ml roulette tree, base 2": jm.multilevel(base_samples=2),
        "ml roulette tree, base 8": jm.multilevel(ratio=0.6, base_samples=8),
        "sumo": jm.sumo(),
    }
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32, {draws} draws each")
    print(
        f"{'objective':28s}{'draws':>7s}{'bias':>10s}{'+-':>8s}{'var':>9s}{'var grad':>10s}{'x cost':>8s}"
    )
    for name, objective in objectives.items():
        bias, error, variance, spread = measure(objective, draws, seed=11)
        cost = objective.expected_cost
        print(
            f"{name:28s}{cost:7.2f}{bias:+10.4f}{error:8.4f}{variance:9.3f}{spread:10.4f}"
            f"{spread * cost:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100_000)
    main(parser.parse_args().draws)
