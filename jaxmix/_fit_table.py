"""`python -m jaxmix fit TABLE`: a mixture over the columns of a file, chosen by BIC."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import plot
from ._tour._page import heading, save, table
from .combinators import mixture_of
from .data import encode, infer_template
from .data import save as save_model
from .em import fit


def read_table(path: Path) -> Any:
    """A CSV or Parquet file as a pandas table.

    Raises:
        ValueError: for another kind of file.
        ModuleNotFoundError: without the extra `tables`.
    """
    readers = {".csv": "read_csv", ".parquet": "read_parquet"}
    if path.suffix not in readers:
        raise ValueError(f"TABLE must be a .csv or a .parquet file; it was {path.name}.")
    try:
        import pandas as pd
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Tables need pandas and pyarrow, which the extra `tables` installs: "
            "pip install 'jaxmix[tables]'."
        ) from missing
    return getattr(pd, readers[path.suffix])(path)


def components_of(text: str) -> range:
    """The numbers of components that `A:B` names, both ends included; `A` is that one alone.

    Raises:
        ValueError: for anything else.

    Example:
        >>> list(components_of("2:4"))
        [2, 3, 4]
    """
    first, _, last = text.partition(":")
    try:
        numbers = range(int(first), int(last or first) + 1)
    except ValueError:
        numbers = range(0)
    if not numbers or numbers[0] < 1:
        raise ValueError(f"--components must be A:B with 1 <= A <= B; it was {text!r}.")
    return numbers


def fit_table(
    path: Path,
    folder: Path,
    components: Iterable[int] = range(1, 7),
    ignore: Sequence[str] = (),
    restarts: int = 16,
    seed: int = 0,
) -> None:
    """Fit mixtures of each size to a table, and write the best: model, posteriors, picture."""
    frame = read_table(path)
    proposed = infer_template(frame, ignore=tuple(ignore))
    heading(f"{path.name}: {len(frame)} rows")
    print(f"{proposed}\n")
    data = encode(proposed.template, frame)
    fits = {
        k: fit(jax.random.key(seed), mixture_of(proposed.template, k), data, num_restarts=restarts)
        for k in components
    }
    chosen = min(fits, key=lambda k: fits[k].bic)
    table(
        ("K", "log-likelihood", "parameters", "BIC", "ICL"),
        [
            (
                f"{k}{'*' if k == chosen else ''}",
                f"{float(found.log_likelihood):.2f}",
                found.num_parameters,
                f"{found.bic:.1f}",
                f"{found.icl:.1f}",
            )
            for k, found in fits.items()
        ],
    )
    best = fits[chosen]
    print(f"\nChosen by BIC: K = {chosen}.\n{best}\n")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.npz", best.model)
    posterior = np.asarray(jax.vmap(best.model.posterior)(data))
    with open(folder / "posteriors.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f"component {k}" for k in range(chosen)])
        writer.writerows([[f"{p:.6g}" for p in row] for row in posterior])
    written = [folder / "model.npz", folder / "posteriors.csv"]
    written += save(folder, {"assignments": lambda: plot.assignments(best.model, data)})
    print(f"Written to {folder.resolve()}: {', '.join(file.name for file in written)}")
