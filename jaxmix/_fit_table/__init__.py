"""`python -m jaxmix fit TABLE`: a mixture over the columns of a file, chosen by BIC."""

from collections.abc import Sequence
from pathlib import Path

import jax

from .._page import heading, quickly_compiled, table
from ..data import infer_template
from .choose import choose, compared
from .read import components_of, read_table
from .write import on_a_part, write

FEW_ROWS = 5000  # up to which a fit takes less time than its compilation


def fit_table(
    path: Path,
    folder: Path,
    components: Sequence[int] = range(1, 9),
    ignore: Sequence[str] = (),
    restarts: int = 16,
    seed: int = 0,
) -> None:
    """Fit mixtures of each size to a table, and write the best one and what it says.

    Raises:
        ValueError: for a file or a column that can't be used, by a sentence.
        OSError: for a file that can't be read, or a folder that can't be written.
    """
    frame = read_table(path)
    unknown = [name for name in ignore if name not in list(frame.columns)]
    if unknown:
        raise ValueError(f"--ignore {unknown[0]}: the columns are {', '.join(map(str, frame))}.")
    if len(frame) < 2:
        raise ValueError(f"{path.name} has 1 row: a mixture needs at least 2.")
    proposed = infer_template(frame, ignore=tuple(ignore))
    folder.mkdir(parents=True, exist_ok=True)
    heading(f"{path.name}: {len(frame)} rows, {len(frame.columns)} columns")
    print(f"{proposed}\n")
    # A file's numbers may need every digit: dates as seconds, measurements far from 0.
    with jax.enable_x64(True), quickly_compiled(len(frame) <= FEW_ROWS):
        found = choose(proposed.template, frame, components, restarts, seed)
        table(*compared(found))
        print(*on_a_part(found, len(frame)), sep="\n", end="")
        print(f"\nChosen by BIC: K = {found.chosen}.\n{found.best}\n")
        written = write(folder, path.name, frame, proposed, found)
    print(f"Written to {folder.resolve()}:")
    for file in written:
        print(f"  {file.name}")


__all__ = ["components_of", "fit_table", "read_table"]
