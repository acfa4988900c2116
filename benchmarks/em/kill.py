"""Claim: a streamed fit killed at random moments ends where the undisturbed one does.

A process is killed by SIGKILL at random moments of its work and started again until it ends; its
log-likelihood must be that of an undisturbed run to the last bit.
Run: python -m benchmarks.em.kill [kills]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS, STEPS = 20_000, 400

WORK = f"""
import sys, numpy as np, jax, jax.numpy as jnp, jaxmix as jm
from jaxmix.em import drive
drive.SECONDS = 0.0
x = np.load(sys.argv[1])
parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:4]), jnp.full((4, 2), 2.0))
start = jm.MixtureSameFamily(jnp.full(4, 1 / 4), parts)
class Told(jm.data.NpyFile):
    def batches(self):
        print("pass", flush=True)
        return super().batches()
fit = jm.fit(None, start, Told(sys.argv[1], batch_size=4096), init="given", max_steps={STEPS},
             tol=None, checkpoint=sys.argv[2])
print("end", float(fit.log_likelihood).hex(), fit.num_steps, flush=True)
"""


def run(path, folder, passes):
    """The last line of a process that is killed after so many passes, None for never."""
    command = [sys.executable, "-c", WORK, str(path), str(folder)]
    line, rng = "", np.random.default_rng(passes)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for count, text in enumerate(process.stdout):
            line = text
            if count == passes:
                time.sleep(rng.uniform(0, 0.02))
                process.kill()
        if process.wait() not in (0, -9):
            raise SystemExit(f"A resume failed after {count} passes.")
    return line.strip()


def main(kills=20):
    """Print what the kills came to."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 2)) * 2
    x = (centres[rng.integers(4, size=ROWS)] + rng.normal(size=(ROWS, 2))).astype(np.float32)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "x.npy"
        np.save(path, x)
        undisturbed = run(path, Path(place) / "whole", None)
        done = 0
        while done < kills:
            line = run(path, Path(place) / "kept", int(rng.integers(3, 2 * STEPS // kills)))
            if line.startswith("end"):
                break
            done += 1
        ended = run(path, Path(place) / "kept", None)
    print(f"undisturbed: {undisturbed}\nafter {done} kills: {ended}")
    print("equal to the last bit" if ended == undisturbed else "DIFFERENT")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
