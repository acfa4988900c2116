"""What the command line is given: a file, and a range of numbers."""

from pathlib import Path
from typing import Any


def read_table(path: Path) -> Any:
    """A CSV or Parquet file as a pandas table.

    The separator of a CSV is whichever of `,`, `;`, tab and `|` is commonest in its first line.

    Raises:
        ValueError: for another kind of file, or one that can't be read as what it is called.
        OSError: for a file that is absent.
        ModuleNotFoundError: without the extra `tables`.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ValueError(f"TABLE must be a .csv or a .parquet file; it was {path.name}.")
    try:
        import pandas as pd
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Tables need pandas and pyarrow, which the extra `tables` installs: "
            "pip install 'jaxmix[tables]'."
        ) from missing
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        frame = _read_csv(pd, path) if kind == ".csv" else pd.read_parquet(path)
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path.name} can't be read as {kind[1:]}: {reason}.") from error
    if len(frame) == 0:
        raise ValueError(f"{path.name} has no rows.")
    return frame


def _read_csv(pd: Any, path: Path) -> Any:
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    if b"\0" in first:
        raise ValueError("it is no text")
    counts = {mark: first.count(mark.encode()) for mark in ",;\t|"}
    return pd.read_csv(path, sep=max(counts, key=lambda mark: counts[mark]))


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
