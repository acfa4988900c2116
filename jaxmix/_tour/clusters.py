"""Chapter one: Gaussian mixtures of the penguins, the number and the shape chosen by BIC."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from .. import plot
from .._page import heading, save, table
from ..choice import gaussian_templates, sweep
from ..datasets import penguins

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
    x = np.asarray(x)
    x = (x - x.mean(0, keepdims=True)) / x.std(0, keepdims=True)
    print(f"{len(x)} penguins, four measurements, each scaled to mean 0 and variance 1.")
    print(f"BIC of the best of {RESTARTS} restarts (smaller is better):\n")

    templates = gaussian_templates(x.shape[1], list(components), covariances)
    found = sweep(jax.random.key(0), templates, x, num_restarts=RESTARTS, progress=False)
    if len(found.fits) < len(templates):  # what was done by then is no chapter
        raise KeyboardInterrupt
    fits, chosen = found.fits, found.best("bic")
    table(
        ("K", *covariances),
        [
            (k, *(f"{fits[c, k].bic:.1f}{'*' if (c, k) == chosen else ' '}" for c in covariances))
            for k in components
        ],
    )
    best = fits[chosen]
    print(f"\nChosen: K = {chosen[1]}, {chosen[0]} covariance.\n{best}\n")

    posterior = np.asarray(jax.jit(jax.vmap(best.model.posterior))(x))
    component, weights = posterior.argmax(-1), np.asarray(best.model.weights)
    counts = Counter(zip(component.tolist(), species, strict=True))
    kinds = sorted(set(species))
    table(
        ("component", "weight", *kinds),
        [(k, f"{weights[k]:.3f}", *(counts[k, kind] for kind in kinds)) for k in range(chosen[1])],
    )
    of_species = np.array([kinds.index(kind) for kind in species])
    print(f"Adjusted Rand index with the species: {adjusted_rand(component, of_species):.3f}")
    return save(
        folder,
        {
            "penguins_mixture": lambda: plot.mixture(best.model, x, names=NAMES),
            "penguins_assignments": lambda: plot.assignments(best.model, x, posterior=posterior),
            "penguins_history": lambda: plot.history(best),
        },
    )


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two labellings beyond chance: 1 if equal (Hubert and Arabie 1985)."""
    together = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(together, (a, b), 1)

    def pairs(counts):
        return float(np.sum(counts * (counts - 1) / 2))

    both, in_a, in_b = pairs(together), pairs(together.sum(1)), pairs(together.sum(0))
    expected = in_a * in_b / pairs(np.asarray(len(a)))
    return (both - expected) / ((in_a + in_b) / 2 - expected)
