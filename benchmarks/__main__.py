"""Every benchmark in this folder, one after another: `python -m benchmarks [NAME ...]`.

Each is a script of its own, in a process of its own, and prints the table that its docstring
claims; names or beginnings of names choose among them (`em`, `em.speed`, `cold_start`).
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def scripts() -> list[str]:
    """The names of all: those of the folder itself, and those of the wings' folders."""
    files = [*FOLDER.glob("[!_]*.py"), *FOLDER.glob("*/[!_]*.py")]
    return sorted(".".join(file.relative_to(FOLDER).with_suffix("").parts) for file in files)


def main(chosen: list[str]) -> int:
    """Run the scripts, and return how many of them failed."""
    names = [name for name in scripts() if not chosen or name.startswith(tuple(chosen))]
    if not names:
        print(f"No benchmark is called {' or '.join(chosen)}.")
        return 1
    failed = []
    for name in names:
        print(f"\n## {name}\n", flush=True)
        began = time.perf_counter()
        status = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent
        ).returncode
        print(f"\n({time.perf_counter() - began:.0f} s)", flush=True)
        if status:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
