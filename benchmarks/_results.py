"""The table of all figures: `python -m benchmarks._results` writes RESULTS.md from results.toml.

`python -m benchmarks._results --run WORD` runs the commands of the rows that hold the word, and
prints below each what its row says: to be read beside, and entered in results.toml by hand.
"""

import argparse
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """# Figures

Written by `python -m benchmarks._results` from `results.toml`; `--run WORD` measures anew.

On two cores of a CPU, in float32 unless said; other libraries ran in the same run on the same data,
and their answers were compared before the times. Nothing here was measured on a GPU.

| what | figure | command, after `python -m benchmarks.` |
|---|---|---|
"""


def rows() -> list[dict[str, str]]:
    """The rows as they stand in the file."""
    return tomllib.loads((FOLDER / "results.toml").read_text(encoding="utf-8"))["row"]


def line(row: dict[str, str]) -> str:
    """A row of the table."""
    commands = ", ".join(f"`{command.strip()}`" for command in row["command"].split(";"))
    return f"| {row['what']} | {row['figure']} | {commands} |"


def table() -> str:
    """The whole page."""
    return HEAD + "\n".join(map(line, rows())) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", metavar="WORD", help="run the rows that hold this word")
    word = parser.parse_args(arguments).run
    if word is None:
        (FOLDER / "RESULTS.md").write_text(table(), encoding="utf-8")
        return 0
    failed = 0
    for row in rows():
        if word not in line(row):
            continue
        for command in row["command"].split(";"):
            name, *rest = shlex.split(command)
            print(f"\n## {row['what']}\n", flush=True)
            run = [sys.executable, "-m", f"benchmarks.{name}", *rest]
            failed += subprocess.run(run, cwd=FOLDER.parent).returncode != 0
        print(f"\nThe table says: {row['figure']}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
