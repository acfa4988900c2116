"""Chapter four: how far bounds fall short of log p(x), and estimates that do not."""

import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import objectives
from .._page import heading, table
from ..families import DiagonalNormal

DIM, ROWS = 20, 4000


class Model(eqx.Module):
    """p(z) = N(theta, I), p(x | z) = N(z, I), so that p(x) = N(theta, 2 I)."""

    theta: jax.Array

    def __call__(self, z, x):
        one = jnp.ones_like(self.theta)
        prior = DiagonalNormal(self.theta, one)
        return prior.log_prob(z) + DiagonalNormal(z, one).log_prob(x)


class Guide(eqx.Module):
    """q(z | x) = N(slope x + bias, 2/3 I): wider than the posterior, and a little off it."""

    slope: float
    bias: jax.Array

    def __call__(self, x):
        scale = jnp.full_like(self.bias, (2 / 3) ** 0.5)
        return DiagonalNormal(self.slope * x + self.bias, scale)


def evidence(folder: Path) -> list[Path]:
    """Print each objective's gap to the exact log p(x) in twenty dimensions, with its error."""
    del folder
    heading(f"log p(x) in {DIM} dimensions: bounds, and estimates without bias")
    k_theta, k_x, k_bias, k_draws = jax.random.split(jax.random.key(0), 4)
    theta = jax.random.normal(k_theta, (DIM,))
    x = theta + 2**0.5 * jax.random.normal(k_x, (DIM,))
    bias = theta / 2 + 0.01 * jax.random.normal(k_bias, (DIM,))
    model, guide = Model(theta), Guide(0.5, bias)
    exact = float(DiagonalNormal(theta, jnp.full(DIM, 2**0.5)).log_prob(x))
    batch = jnp.broadcast_to(x, (ROWS, DIM))
    with warnings.catch_warnings():
        # Said below, where it can be seen beside the figures.
        warnings.simplefilter("ignore", objectives.InfiniteVarianceWarning)
        sumo = objectives.sumo()
    chosen = {
        "ELBO, 1 sample": objectives.elbo(num_samples=1),
        "IWAE, 6 samples": objectives.iwae(num_samples=6),
        "multilevel, single term": objectives.multilevel(kind="single-term"),
        "multilevel, roulette": objectives.multilevel(kind="russian-roulette"),
        "SUMO": sumo,
    }
    rows = []
    keys = jax.random.split(k_draws, len(chosen))
    for key, (name, objective) in zip(keys, chosen.items(), strict=True):
        gap = np.asarray(jax.jit(objective)(key, model, guide, batch)) - exact
        error = gap.std() / ROWS**0.5
        rows.append((name, f"{gap.mean():+.4f}", f"{error:.4f}", f"{gap.mean() / error:+.1f}"))
    print(f"Exact: {exact:.4f} nats. Mean over {ROWS} repetitions, minus the exact value:\n")
    table(("objective", "gap", "std error", "z"), rows)
    print("\nThe bounds fall short; the rest differ from 0 by chance only. SUMO's variance is not")
    print("finite, so that its error is a guess; the multilevel estimates have a finite one.")
    return []
