"""Claim: a fit streamed from disk runs near the in-memory rate, in bounded memory.

Writes a float32 file of rows in 32 dimensions once, and fits a mixture of 64 diagonal components
to it by streaming. Beside the time of every pass: the bare reading of the first gigabytes, their
pages dropped from the system's cache before, and a fit in memory of rows that fit, before every
pass and after the last: a machine that others use changes its speed meanwhile.
Run: python -m benchmarks.em.streaming [gigabytes] [folder] [steps] [write|fit]
"""

import os
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

DIM, COMPONENTS, BATCH = 32, 64, 262_144
MEMORY_ROWS, POOL = 400_000, 1 << 20
READ_ALONE = 4e9  # bytes


def centres_of():
    """The middles of the clusters."""
    return 3 * np.random.default_rng(0).normal(size=(COMPONENTS, DIM)).astype(np.float32)


def write(path, rows):
    """Rows around 64 centres, piece by piece, their noise from a pool of a million rows."""
    rng = np.random.default_rng(1)
    centres, pool = centres_of(), rng.standard_normal((POOL, DIM), np.float32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, DIM)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            first = rng.integers(POOL - count)
            (pool[first : first + count] + centres[rng.integers(COMPONENTS, size=count)]).tofile(
                file
            )
        file.flush()
        os.fsync(file.fileno())


def forget(path):
    """Drop a file's pages from the cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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


class Timed:
    """A file that notes how long each reading of it took, and the rate in memory around it."""

    def __init__(self, file, rate):
        self.file, self.rate = file, rate
        self.num_rows, self.take = file.num_rows, file.take
        self.rates, self.began, self.took = [], time.perf_counter(), []

    def note(self):
        """A reading ended, and another may begin."""
        self.took.append(time.perf_counter() - self.began)
        self.rates.append(self.rate())
        print(
            f"after {self.took[-1]:.1f} s: in memory {self.rates[-1] / 1e6:.2f} million rows a "
            f"second; resident now {resident():.2f} GB",
            flush=True,
        )
        self.began = time.perf_counter()

    def batches(self):
        """The file's, after a look at the rate in memory."""
        self.note()
        yield from self.file.batches()


def reading_rate(path):
    """Rows a second of reading alone, from the disk."""
    forget(path)
    source = jm.data.NpyFile(path, batch_size=BATCH)
    began, done = time.perf_counter(), 0
    for batch in source.batches():
        done += len(batch)
        if done * 4 * DIM >= READ_ALONE:
            break
    return done / (time.perf_counter() - began)


def memory_rate(start, part, steps=20):
    """Rows a second of EM over arrays in memory: between a short fit and a longer one."""

    def seconds(count):
        began = time.perf_counter()
        jm.fit(None, start, part, init="given", max_steps=count, tol=None)
        return time.perf_counter() - began

    seconds(1)  # compiles
    short, long = (min(seconds(count) for _ in range(3)) for count in (1, 1 + steps))
    return len(part) * steps / (long - short)


def main(gigabytes=1.0, folder=None, steps=1, only=""):
    """Print rates and memory."""
    rows = int(gigabytes * 1e9) // (4 * DIM)
    place = Path(folder or tempfile.gettempdir())
    path = place / "scale_streaming.npy"
    if not path.exists():
        if shutil.disk_usage(place).free < 1.2e9 * gigabytes:
            raise SystemExit(f"{place} has no room for {gigabytes} GB.")
        began = time.perf_counter()
        write(path, rows)
        print(f"wrote {gigabytes:g} GB in {time.perf_counter() - began:.0f} s", flush=True)
    if only == "write":
        return
    try:
        parts = jax.vmap(jm.DiagonalNormal)(
            jnp.asarray(centres_of() + 0.3), jnp.full((COMPONENTS, DIM), 1.5, jnp.float32)
        )
        start = jm.MixtureSameFamily(jnp.full(COMPONENTS, 1 / COMPONENTS), parts)
        file = jm.data.NpyFile(path, batch_size=BATCH)
        warm = jm.data.Arrays(file.take(np.arange(2 * BATCH)), BATCH)
        jm.fit(None, start, warm, init="given", max_steps=1, tol=None)  # compiles
        part = file.take(np.arange(min(rows, MEMORY_ROWS)))
        memory_rate(start, part)
        reading = reading_rate(path)
        forget(path)
        source = Timed(file, lambda: memory_rate(start, part))
        watch = Watch()
        watch.start()
        found = jm.fit(None, start, source, init="given", max_steps=steps, tol=None)
        source.note()
        watch.over.set()
        # Before the first pass one batch was read; the last pass is for the entropy.
        took, around = np.array(source.took[2:-1]), np.array(source.rates[1:-1])
        memory = (around[:-1] + around[1:]) / 2
        ratios = rows / took / np.minimum(memory, reading)
        print(f"file {gigabytes:g} GB, {rows} rows, {DIM} columns, {COMPONENTS} components")
        print(f"peak resident memory while streaming: {watch.peak:.2f} GB")
        for label, rate in (
            ("reading alone", reading), ("streamed EM", rows / np.median(took)),
            ("in memory", np.median(memory)),
        ):  # fmt: skip
            print(
                f"{label:14s} {rate / 1e6:8.2f} million rows a second, {rate * 4 * DIM / 1e9:.2f} GB/s"
            )
        print(
            f"streamed / min(in memory, reading) = {np.median(ratios):.2f}, pass by pass "
            f"{np.round(ratios, 2).tolist()}"
        )
        print(f"log-likelihood {float(found.log_likelihood) / rows:.6f} nats a datum")
    finally:
        path.unlink()


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        float(words[0]) if words else 1.0,
        words[1] if len(words) > 1 else None,
        int(words[2]) if len(words) > 2 else 1,
        words[3] if len(words) > 3 else "",
    )
