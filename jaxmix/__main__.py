"""The command line: `python -m jaxmix` gives a tour on real data."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ._tour import tour


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, by default the process's own."""
    parser = argparse.ArgumentParser(prog="python -m jaxmix", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("jaxmix-report"), help="folder for the pictures"
    )
    options = parser.parse_args(arguments)
    tour(options.out)


if __name__ == "__main__":
    main()
