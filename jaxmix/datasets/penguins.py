"""The Palmer penguins: 344 rows of mixed columns, some of them missing."""

import csv
from importlib.resources import files
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

MEASUREMENTS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
NUMBERS = (*MEASUREMENTS, "year")


class Penguins(NamedTuple):
    """A table of penguins; every column has one entry a row.

    `rows` are dicts as the file has them: floats for the four measurements and the year, strings
    for species, island and sex, `None` where an entry is missing.
    """

    rows: list[dict]

    def measured(self) -> tuple[Float[Array, "n 4"], list[str]]:
        """The four measurements of the rows that have them all, and those rows' species."""
        complete = [row for row in self.rows if all(row[m] is not None for m in MEASUREMENTS)]
        values = jnp.array([[row[m] for m in MEASUREMENTS] for row in complete])
        return values, [row["species"] for row in complete]


def penguins() -> Penguins:
    """Read the Palmer penguins table, which ships with the package under CC0.

    Bill length and depth and flipper length are in millimetres, body mass is in grams.
    Source: Gorman, Williams and Fraser (2014), doi:10.1371/journal.pone.0090081.

    Returns:
        344 rows; 2 lack the measurements, 11 the sex.

    Example:
        >>> from jaxmix.datasets import penguins
        >>> x, species = penguins().measured()
        >>> x.shape, species[0]
        ((342, 4), 'Adelie')
    """
    text = files("jaxmix.datasets").joinpath("penguins.csv").read_text(encoding="utf-8")
    read = lambda name, entry: float(entry) if name in NUMBERS else entry
    there = lambda name, entry: None if entry == "NA" else read(name, entry)
    table = csv.DictReader(text.splitlines())
    return Penguins([{name: there(name, entry) for name, entry in row.items()} for row in table])
