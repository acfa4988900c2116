"""Every benchmark in this folder, one after another: `python -m benchmarks [NAME ...]`.

Each is a script of its own, in a process of its own, and prints the table that its docstring
claims; names or beginnings of names choose among them.
"""

import subprocess
import sys
import time
from pathlib import Path


def main(chosen: list[str]) -> int:
    """Run the scripts, and return how many of them failed."""
    folder = Path(__file__).parent
    scripts = [
        script
        for script in sorted(folder.glob("[!_]*.py"))
        if not chosen or any(script.stem.startswith(name) for name in chosen)
    ]
    if not scripts:
        print(f"No benchmark is called {' or '.join(chosen)}.")
        return 1
    failed = []
    for script in scripts:
        print(f"\n## {script.stem}\n", flush=True)
        began = time.perf_counter()
        status = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{script.stem}"], cwd=folder.parent
        ).returncode
        print(f"\n({time.perf_counter() - began:.0f} s)", flush=True)
        if status:
            failed.append(script.stem)
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
