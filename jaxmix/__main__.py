"""The command line: a tour on real data, or `fit TABLE` for a mixture over a file's columns."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ._compile import compilation_cache
from ._fit_table import components_of, fit_table
from ._page import without_fusions
from ._tour import tour

OUT = Path("jaxmix-report")
LARGE = 1_000_000  # bytes of a table from which a fit takes longer than its compilation


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, by default the process's own."""
    parser = argparse.ArgumentParser(prog="python -m jaxmix", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the pictures")
    commands = parser.add_subparsers(dest="command")
    fitting = commands.add_parser("fit", help="fit a mixture to a table, with K chosen by BIC")
    fitting.add_argument("table", type=Path, help="a .csv or .parquet file")
    fitting.add_argument("--components", default="1:8", help="A:B, numbers of components to try")
    fitting.add_argument("--ignore", action="append", default=[], help="a column to leave out")
    fitting.add_argument("--restarts", type=int, default=16, help="starts for each K")
    fitting.add_argument("--seed", type=int, default=0, help="of the starts")
    fitting.add_argument("--out", type=Path, default=OUT, help="folder for the report")
    options = parser.parse_args(arguments)
    if options.command is None:
        tour(options.out)
        return
    try:
        components = components_of(options.components)
        fit_table(
            options.table, options.out, components, options.ignore, options.restarts, options.seed
        )
    except (ValueError, OSError, ModuleNotFoundError) as trouble:
        parser.exit(2, f"{trouble}\n")


def _is_large(argument: str) -> bool:
    path = Path(argument)
    return path.is_file() and path.stat().st_size > LARGE


if __name__ == "__main__":
    compilation_cache()
    if not any(map(_is_large, sys.argv[1:])):  # what runs once, or over few rows
        without_fusions()
    main()
