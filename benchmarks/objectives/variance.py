"""One claim: sharing draws in a tree takes two thirds of the variance x cost of a multilevel gradient.

The 20-dimensional normal model at a given chi2 of the weights (1.077): bias of the value, and
variance of the model's gradient, mean over coordinates, times the expected number of draws; means
of independent repeats and their spread. IWAE and the jackknife stand beside: biased, or nearly
unbiased, and cheaper. The variance of SUMO is infinite: its figures do not settle.
"""

import argparse
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from tests.objectives.systems import DIM, system

warnings.simplefilter("ignore", jm.objectives.InfiniteVarianceWarning)

# The rest are beside the claim, and get a tenth of the draws.
CLAIMED = (
    "iwae 6",
    "jackknife 6",
    "ml single-term, published",
    "ml roulette tree, base 1",
    "ml roulette tree, base 2",
    "sumo",
)


def measure(objective, chi2, draws, repeats):
    """Bias, its error, variance of the value and of the gradient, a repeat each."""
    model, guide, x, exact, score = system(chi2)
    rows = min(draws, 2000)
    batch = jnp.broadcast_to(x, (rows, DIM))
    joint = lambda z, pair: eqx.tree_at(lambda m: m.theta, model, pair[1])(z, pair[0])

    def of_batch(key):
        """Values and gradients of each row: the row's own theta rides along with its datum."""

        def loss(thetas):
            values = objective(key, joint, lambda pair: guide(pair[0]), (batch, thetas))
            return values.sum(), values

        thetas = jnp.broadcast_to(model.theta, (rows, DIM))
        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(thetas)
        return values - exact, gradients - score

    def moments(key):
        keys = jax.random.split(key, draws // rows)
        gaps, errors = jax.lax.map(of_batch, keys)
        gaps, errors = gaps.ravel(), errors.reshape(-1, DIM)
        return gaps.mean(), gaps.var(), errors.mean(0), errors.var(0).mean()

    run = jax.jit(moments)
    found = [run(key) for key in jax.random.split(jax.random.key(11), repeats)]
    return [np.stack(part) for part in zip(*found, strict=True)]


def main(draws, repeats, chi2):
    paper = {"ratio": 0.6, "share": False}
    objectives = {
        "iwae 6": jm.iwae(6),
        "iwae 15": jm.iwae(15),
        "jackknife 6": jm.jackknife(6),
        "jackknife 6, order 2": jm.jackknife(6, order=2),
        "ml single-term, published": jm.multilevel("single-term", **paper),
        "ml roulette, published": jm.multilevel(**paper),
        "ml single-term, shared": jm.multilevel("single-term"),
        "ml roulette tree, base 1": jm.multilevel(),
        "ml roulette tree, base 2": jm.multilevel(base_samples=2),
        "ml roulette tree, base 8": jm.multilevel(base_samples=8),
        "sumo": jm.sumo(),
    }
    print(
        f"jax {jax.__version__}, {jax.devices()[0].platform}, float32; chi2 {chi2}; {repeats} "
        f"repeats of {draws} estimates (a tenth beside the claim);\n"
        f"gradient of the model, mean over {DIM} coordinates"
    )
    columns = ("draws", "bias", "+-", "variance", "grad bias", "grad var", "x draws", "+-")
    print(f"{'objective':26s}" + "".join(f"{name:>10s}" for name in columns))
    for name, objective in objectives.items():
        size = draws if name in CLAIMED else max(2, draws // 10)
        bias, variance, off, spread = measure(objective, chi2, size, repeats)
        cost, root = objective.expected_cost, repeats**0.5
        # The noise of the mean is taken out of the squared bias of the gradient.
        square = np.mean(off.mean(0) ** 2) - spread.mean() / (size * repeats)
        print(
            f"{name:26s}{cost:10.2f}{bias.mean():+10.4f}{bias.std(ddof=1) / root:10.4f}"
            f"{variance.mean():10.3f}{max(square, 0) ** 0.5:10.4f}{spread.mean():10.4f}"
            f"{spread.mean() * cost:10.2f}{spread.std(ddof=1) / root * cost:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--chi2", type=float, default=1.077, help="0.91 or more")
    parsed = parser.parse_args()
    main(parsed.draws, parsed.repeats, parsed.chi2)
