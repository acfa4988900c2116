"""Claim: a fit streamed from disk runs near the in-memory rate, in bounded memory.

Writes a float32 file of rows in 32 dimensions once, then times EM steps of a mixture of 64
diagonal components: streamed, in memory on a part that fits, and the bare reading of the file.
Run: python benchmarks/scale_streaming.py [gigabytes] [folder] [steps]
"""

import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

DIM, COMPONENTS, BATCH = 32, 64, 65_536
MEMORY_ROWS = 500_000


def write(path, rows):
    """Rows around 64 centres, written piece by piece."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(COMPONENTS, DIM)).astype(np.float32) * 3
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, DIM)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            noise = rng.standard_normal((count, DIM), np.float32)
            (noise + centres[rng.integers(COMPONENTS, size=count)]).tofile(file)
    return centres


def resident():
    """Resident memory of this process in gigabytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e9


class Watch(threading.Thread):
    """The peak of resident memory while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.over = 0.0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, resident())


def timed_steps(start, data, steps):
    """Seconds a step, compilation apart: between a short fit and a longer one."""
    seconds = []
    for count in (1, 1 + steps):
        jm.fit(None, start, data, init="given", max_steps=1, tol=None)
        began = time.perf_counter()
        found = jm.fit(None, start, data, init="given", max_steps=count, tol=None)
        seconds.append(time.perf_counter() - began)
    return (seconds[1] - seconds[0]) / steps, found


def main(gigabytes=1.0, folder=None, steps=2):
    """Print rates and memory."""
    rows = int(gigabytes * 1e9) // (4 * DIM)
    place = Path(folder or tempfile.gettempdir())
    if shutil.disk_usage(place).free < 1.2e9 * gigabytes:
        raise SystemExit(f"{place} has no room for {gigabytes} GB.")
    path = place / "scale_streaming.npy"
    centres = write(path, rows)
    try:
        parts = jax.vmap(jm.DiagonalNormal)(
            jnp.asarray(centres + 0.3), jnp.full((COMPONENTS, DIM), 1.5, jnp.float32)
        )
        start = jm.MixtureSameFamily(jnp.full(COMPONENTS, 1 / COMPONENTS), parts)
        source = jm.data.NpyFile(path, batch_size=BATCH)
        began = time.perf_counter()
        read = sum(len(batch) for batch in source.batches())
        reading = read / (time.perf_counter() - began)
        watch = Watch()
        watch.start()
        each, found = timed_steps(start, source, steps)
        watch.over.set()
        streamed = rows / each
        part = source.take(np.arange(min(rows, MEMORY_ROWS)))
        whole = len(part) / timed_steps(start, part, max(steps, 2))[0]
        print(f"file {gigabytes:g} GB, {rows} rows, {DIM} columns, {COMPONENTS} components")
        print(f"reading alone   {reading / 1e6:8.2f} million rows a second")
        print(f"streamed EM     {streamed / 1e6:8.2f} million rows a second")
        print(f"in memory       {whole / 1e6:8.2f} million rows a second ({len(part)} rows)")
        print(f"streamed / min(in memory, reading) = {streamed / min(whole, reading):.2f}")
        print(f"peak resident memory while streaming: {watch.peak:.2f} GB")
        print(f"log-likelihood {float(found.log_likelihood) / rows:.6f} nats a datum")
    finally:
        path.unlink()


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        float(words[0]) if words else 1.0,
        words[1] if len(words) > 1 else None,
        int(words[2]) if len(words) > 2 else 2,
    )
