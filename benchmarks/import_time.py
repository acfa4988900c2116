"""Claim: `import jaxmix` takes less than 1.5 times `import jax, equinox, optax`.

Fresh processes in turn, bytecode cached beforehand. python -m benchmarks import_time
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE, OURS = "import jax, equinox, optax", "import jaxmix"


def main(repeats: int = 9) -> int:
    """Print medians and their ratio."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache

        def seconds(code):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                check=True,
                cwd=Path(__file__).parents[1],
            )
            return time.perf_counter() - began

        for code in (BASE, OURS):
            seconds(code)
        base, ours = zip(*((seconds(BASE), seconds(OURS)) for _ in range(repeats)), strict=True)
    ratio = statistics.median(o / b for b, o in zip(base, ours, strict=True))
    for code, times in ((BASE, base), (OURS, ours)):
        print(f"{code}: {statistics.median(times):.2f} s (spread {max(times) - min(times):.2f})")
    print(f"ratio {ratio:.2f}")
    return 0 if ratio < 1.5 else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
