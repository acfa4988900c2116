"""Chapter two: records of mixed columns, some of them missing, from a table as it is."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .. import plot
from .._fit_table.choose import choose, compared
from .._fit_table.describe import described
from .._fit_table.rows import filled_in, rows_under
from .._page import heading, save, table
from ..data import infer_template
from ..datasets import penguins

COLUMNS = ("island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex")
RESTARTS = 4


def records(folder: Path, components: Sequence[int] = (2, 3)) -> list[Path]:
    """Fit mixtures of all the penguins' columns but the species, choose by BIC, fill the gaps."""
    heading("The same penguins as records: labels and numbers, with their missing entries")
    rows = penguins().rows
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    proposed = infer_template(columns)
    print(f"A density for each column, chosen by held-out score:\n\n{proposed}\n")
    found = choose(proposed.template, columns, components, RESTARTS, seed=0)
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
