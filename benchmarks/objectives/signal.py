"""One claim: the guide's plain gradient loses its signal as draws grow; the doubly-reparametrised gains.

Signal to noise of gradients of the importance-weighted bound over 256 data of the 20-dimensional
normal model, near its optimum (Rainforth et al. 2018, arXiv 1802.04537): as sqrt(K) for the model,
1 / sqrt(K) for the guide by reparametrisation, sqrt(K) by DReG. Gradient of theta and of b, root
mean square over coordinates, the noise of the mean removed. The number of data scales all alike.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from tests.objectives.systems import DIM, Guide, Model

ROWS = 256
# Few draws give noisy gradients and cost little: repeats that make each ratio known to some 5 %.
FIGURES = (
    ("reparametrised", 1, 1000),
    ("reparametrised", 100, 400),
    ("reparametrised", 1000, 20),
    ("dreg", 30, 60),
    ("dreg", 1000, 20),
)


def setting():
    """Data, and parameters off their optimum by noise of scale 0.01."""
    k_theta, k_data, *k_noise = jax.random.split(jax.random.key(0), 5)
    theta = jax.random.normal(k_theta, (DIM,))
    xs = theta + 2**0.5 * jax.random.normal(k_data, (ROWS, DIM))
    best, shapes = xs.mean(0), ((DIM,), (DIM, DIM), (DIM,))
    off = [0.01 * jax.random.normal(k, s) for k, s in zip(k_noise, shapes, strict=True)]
    return Model(best + off[0]), Guide(jnp.eye(DIM) / 2 + off[1], best / 2 + off[2]), xs


def signals(rule, num_samples, repeats, key):
    """Signal to noise of the gradients of theta and of b, the noise of the mean removed."""
    model, guide, xs = setting()
    objective = jm.iwae(num_samples, guide_gradient=rule)
    # Rows in parts: memory stays below that of 64 x 1,000 draws.
    parts = xs.reshape(-1, min(ROWS, 64_000 // num_samples), DIM)

    def gradient(key):
        def part(given):
            key, batch = given

            def loss(pair):
                moved = eqx.tree_at(lambda m: m.theta, model, pair[0])
                held = eqx.tree_at(lambda g: g.bias, guide, pair[1])
                return objective(key, moved, held, batch).sum() / ROWS

            return jax.grad(loss)((model.theta, guide.bias))

        keys = jax.random.split(key, len(parts))
        return jax.tree.map(lambda a: a.sum(0), jax.lax.map(part, (keys, parts)))

    found = jax.jit(lambda keys: jax.lax.map(gradient, keys))(jax.random.split(key, repeats))

    def signal(g):
        return np.sqrt(max(np.mean(np.mean(g, 0) ** 2 / np.var(g, 0, ddof=1) - 1 / repeats), 0))

    return [signal(np.asarray(g, float)) for g in found]


def main(scale):
    print(f"jax {jax.__version__}, float32; {ROWS} data")
    print(f"{'rule':16s}{'K':>6s}{'repeats':>9s}{'model':>9s}{'guide':>9s}")
    table = {}
    for rule, size, repeats in FIGURES:
        repeats = int(repeats * scale)
        table[rule, size] = signals(rule, size, repeats, jax.random.key(size))
        model, guide = table[rule, size]
        print(f"{rule:16s}{size:6d}{repeats:9d}{model:9.3f}{guide:9.3f}", flush=True)
    for text, rule, column, first, last in (
        ("model", "reparametrised", 0, 100, 1000),
        ("guide, reparametrised", "reparametrised", 1, 1, 100),
        ("guide, dreg", "dreg", 1, 30, 1000),
    ):
        ratio = table[rule, last][column] / table[rule, first][column]
        theory = (last / first) ** (-0.5 if text == "guide, reparametrised" else 0.5)
        print(f"{text}: x{ratio:.2f} from K = {first} to {last} (theory x{theory:.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the repeats")
    main(parser.parse_args().scale)
