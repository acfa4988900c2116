"""The command line: a tour on real data, `fit TABLE` for a mixture over a file's columns,
`apply MODEL TABLE` for what it says of other rows, `docs` for pages of every public name.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ._compile import Effort, compilation_cache
from ._docs import docs
from ._fit_table import Asked, apply, components_of, fit_table
from ._page import looking_seldom_for_garbage, without_fusions

OUT = Path("jaxmix-report")
LARGE = 1_000_000  # bytes of a table from which a fit takes longer than its compilation


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, by default the process's own."""
    parser = argparse.ArgumentParser(prog="python -m jaxmix", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the pictures")
    commands = parser.add_subparsers(dest="command")
    fitting = commands.add_parser("fit", help="fit a mixture to a table, with K chosen by BIC")
    fitting.add_argument("table", type=Path, help="a file, a folder of Parquet files, or -")
    fitting.add_argument("--components", default="1:8", help="A:B, numbers of components to try")
    fitting.add_argument("--ignore", action="append", default=[], help="a column to leave out")
    fitting.add_argument(
        "--as", action="append", default=[], dest="families", metavar="COLUMN=Family",
        help="the family of a column",
    )  # fmt: skip
    fitting.add_argument("--proposal", type=Path, help="an edited proposal of --dry-run")
    fitting.add_argument("--dry-run", action="store_true", help="only print the proposal")
    fitting.add_argument("--response", metavar="COLUMN", help="a column to be regressed on others")
    fitting.add_argument(
        "--given", action="append", metavar="COLUMNS", help="its covariates, with commas between"
    )
    fitting.add_argument("--weights", metavar="COLUMN", help="a column of case weights")
    fitting.add_argument(
        "--prior", type=_from(0.0), default=0.0, help="pseudo-rows for each density"
    )
    fitting.add_argument("--decimal", choices=[".", ","], help="the mark before decimals")
    fitting.add_argument(
        "--thousands",
        choices=[".", ",", " ", "'", "\u2019", "_"],
        help="the mark between thousands",
    )
    fitting.add_argument("--date-parts", action="store_true", help="add months, days and hours")
    fitting.add_argument("--restarts", type=_from(1), default=16, help="starts for each K")
    fitting.add_argument(
        "--resamples",
        type=_from(0),
        default=6,
        help="of the rows, to see whether the groups come back",
    )
    fitting.add_argument("--seed", type=_from(0), default=0, help="of the starts")
    fitting.add_argument("--only-summary", action="store_true", help="a report and a model only")
    fitting.add_argument(
        "--joint", action="store_true", help="try correlated numbers as one normal density"
    )
    applying = commands.add_parser("apply", help="what a fitted mixture says of a table's rows")
    applying.add_argument("model", type=Path, help="the model.npz of a fit")
    applying.add_argument("table", type=Path, help="a file with the columns of the fitted one")
    pages = commands.add_parser("docs", help="write pages of every public name, by pdoc")
    pages.add_argument("--out", type=Path, default=Path("jaxmix-docs"), help="folder for the pages")
    pages.add_argument("--notebooks", type=Path, help="a folder of notebooks to execute and show")
    fitting.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER",
        help="where the fit to all rows of a long table keeps its state, to go on from there",
    )  # fmt: skip
    for command in (fitting, applying):
        command.add_argument(
            "--memory", type=_from(0.001), metavar="GB",
            help="what the table may need in memory: a longer one is read in pieces, again and "
            "again; half of what is free if it is not given",
        )  # fmt: skip
        command.add_argument("--na", action="append", default=[], help="a text for what is missing")
        command.add_argument("--out", type=Path, default=OUT, help="folder for the report")
        command.add_argument("--force", action="store_true", help="overwrite what is in the folder")
    options = parser.parse_args(arguments)
    try:
        if options.command is None:
            from ._tour import tour  # which imports more than a fit needs

            tour(options.out)
            return
        if options.command == "docs":
            print(f"{len(docs(options.out, options.notebooks))} pages in {options.out}")
            return
        given = {name: told for name, told in vars(options).items() if name in Asked._fields}
        if options.command == "apply":
            apply(options.model, options.table, options.out, Asked(**given))
            return
        given["components"] = components_of(options.components)
        fit_table(options.table, options.out, Asked(**given))
    except (ValueError, OSError, ModuleNotFoundError) as trouble:
        parser.exit(2, f"{_sentence(trouble)}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nInterrupted.\n")


def _from(least: float) -> Callable[[str], float]:
    """What reads a finite number from a least one up, whole ones where that is whole."""

    def number(text: str) -> float:
        value = type(least)(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"a number from {least} up was expected, not {text}")
        return value

    return number


def _sentence(trouble: Exception) -> str:
    """What the system's own errors say, without their numbers."""
    if not isinstance(trouble, OSError) or trouble.strerror is None:
        return str(trouble)
    return f"{trouble.strerror}{'' if trouble.filename is None else f': {trouble.filename}'}."


if __name__ == "__main__":
    compilation_cache()
    given = map(Path, sys.argv[1:])
    if not any(path.is_file() and path.stat().st_size > LARGE for path in given):
        # What runs once, or over few rows.
        without_fusions()
        looking_seldom_for_garbage()
    Effort.least = 1 if "fit" in sys.argv else 0
    main()
