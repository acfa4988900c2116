"""Chapter one: Gaussian mixtures of the penguins, the number and the shape chosen by BIC."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp

from .. import plot
from .._page import heading, save, table
from ..combinators import gaussian_mixture
from ..datasets import penguins
from ..em import fit

RESTARTS = 8
NAMES = ("bill length", "bill depth", "flipper length", "body mass")


def clusters(
    folder: Path,
    components: Iterable[int] = range(2, 6),
    covariances: Sequence[str] = ("full", "tied", "diag"),
) -> list[Path]:
    """Fit every number and shape of components, choose by BIC, compare with the species."""
    heading("Penguins: how many Gaussian components, of which shape?")
    x, species = penguins().measured()
    x = (x - x.mean(0, keepdims=True)) / x.std(0, keepdims=True)
    print(f"{len(x)} penguins, four measurements, each scaled to mean 0 and variance 1.")
    print(f"BIC of the best of {RESTARTS} restarts (smaller is better):\n")

    def fitted(choice):
        k, covariance = choice
        template = gaussian_mixture(k, x.shape[1], covariance=covariance)
        return choice, fit(jax.random.key(0), template, x, num_restarts=RESTARTS, progress=False)

    # Each choice is a compilation of its own, and compilations run beside one another.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fits = dict(pool.map(fitted, product(components, covariances)))
    chosen = min(fits, key=lambda choice: fits[choice].bic)
    table(
        ("K", *covariances),
        [
            (k, *(f"{fits[k, c].bic:.1f}{'*' if (k, c) == chosen else ' '}" for c in covariances))
            for k in components
        ],
    )
    best = fits[chosen]
    print(f"\nChosen: K = {chosen[0]}, {chosen[1]} covariance.\n{best}\n")

    component = jax.vmap(best.model.posterior)(x).argmax(-1)
    counts = Counter(zip(component.tolist(), species, strict=True))
    kinds = sorted(set(species))
    table(
        ("component", "weight", *kinds),
        [
            (k, f"{best.model.weights[k]:.3f}", *(counts[k, kind] for kind in kinds))
            for k in range(chosen[0])
        ],
    )
    of_species = jnp.array([kinds.index(kind) for kind in species])
    print(f"Adjusted Rand index with the species: {adjusted_rand(component, of_species):.3f}")
    return save(
        folder,
        {
            "penguins_mixture": lambda: plot.mixture(best.model, x, names=NAMES),
            "penguins_assignments": lambda: plot.assignments(best.model, x),
            "penguins_history": lambda: plot.history(best),
        },
    )


def adjusted_rand(a: jax.Array, b: jax.Array) -> float:
    """Agreement of two labellings beyond chance: 1 if equal (Hubert and Arabie 1985)."""
    together = jnp.zeros((int(a.max()) + 1, int(b.max()) + 1)).at[a, b].add(1)

    def pairs(counts):
        return float(jnp.sum(counts * (counts - 1) / 2))

    both, in_a, in_b = pairs(together), pairs(together.sum(1)), pairs(together.sum(0))
    expected = in_a * in_b / pairs(jnp.asarray(len(a), together.dtype))
    return (both - expected) / ((in_a + in_b) / 2 - expected)
