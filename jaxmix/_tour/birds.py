"""Chapters one and two: mixtures of the penguins, of their measurements and of whole records."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from .. import plot
from .._fit_table.choose import choose, compared
from .._fit_table.describe import described
from .._fit_table.rows import filled_in, rows_under
from .._page import heading, save, table
from ..choice import gaussian_templates, sweep
from ..data import infer_template
from ..datasets import penguins

RESTARTS, RECORD_RESTARTS = 8, 4
COLUMNS = ("island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex")
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
    return save(
        folder,
        {
            "penguins_mixture": lambda: plot.mixture(best.model, x, names=NAMES),
            "penguins_assignments": lambda: plot.assignments(best.model, x, posterior=posterior),
            "penguins_history": lambda: plot.history(best),
        },
    )


def records(folder: Path, components: Sequence[int] = (2, 3)) -> list[Path]:
    """Fit mixtures of all the penguins' columns but the species, choose by BIC, fill the gaps."""
    heading("The same penguins as records: labels and numbers, with their missing entries")
    rows = penguins().rows
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    proposed = infer_template(columns)
    print(f"A density for each column, chosen by held-out score:\n\n{proposed}\n")
    found = choose(proposed.template, columns, components, RECORD_RESTARTS, seed=0)
    table(*compared(found))
    model, data = found.best.model, found.data
    print(f"\nChosen by BIC: K = {found.chosen}.\n")
    names = [f"component {k}" for k in range(found.chosen)]
    table(("", *names), [(name, *described(model, name)) for name in COLUMNS])

    posterior = rows_under(model, data).posterior
    species = [row["species"] for row in rows]
    counts = Counter(zip(posterior.argmax(1).tolist(), species, strict=True))
    print("\nThe species, which the fit did not see:\n")
    kinds = sorted(set(species))
    table(
        ("component", *kinds),
        [(k, *(counts[k, kind] for kind in kinds)) for k in range(found.chosen)],
    )
    gaps = [i for i, mass in enumerate(columns["body_mass_g"]) if mass is None]
    masses, _ = filled_in(model, "body_mass_g", posterior[gaps])
    print("\nWithout any measurement, the mean given what else is known:\n")
    table(
        ("row", "species", "island", "imputed mass (g)"),
        [
            (i, species[i], columns["island"][i], f"{float(mass):.0f}")
            for i, mass in zip(gaps, masses, strict=True)
        ],
    )
    return save(
        folder, {"records_fields": lambda: plot.fields(model, data, posterior=posterior)[0]}
    )
