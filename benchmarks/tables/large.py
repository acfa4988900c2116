"""A long table through the command line: time, memory, and how long it said nothing.

    python -m benchmarks.tables.large [--rows N] [--parquet] [OPTIONS OF fit ...]

Trips as a city publishes them: a time, labels, counts, amounts with an atom at zero, gaps. By
default 3,300,000 rows, 202 MB of text. With `--parquet` twenty channels of a machine in three
states, by default 12,000,000 rows, 1.9 GB. The file is made in a temporary folder and fitted at the
defaults, or with what other options say, such as `--memory 1` (GB, beyond which it is read in
pieces) or `--components 1:4`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

PIECE = 500_000


def trips(rows: int, seed: int = 0) -> pd.DataFrame:
    """So many trips of three kinds: short ones of a city, rides to an airport, nights."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, rows, p=[0.7, 0.1, 0.2])
    distance = rng.gamma(np.array([2.0, 12.0, 3.0])[kind], np.array([0.8, 1.4, 1.1])[kind])
    fare = 3 + 2.6 * distance + rng.gamma(2.0, 1.0 + 2.0 * (kind == 0))
    card = rng.random(rows) < np.array([0.7, 0.9, 0.55])[kind]
    tip = np.where(card & (rng.random(rows) < 0.9), rng.gamma(4.0, 0.05, rows) * fare, 0.0)
    hour = np.where(kind == 2, rng.normal(23, 2, rows), rng.normal(14, 3.5, rows)) % 24
    seconds = np.round(86400 * (rng.integers(0, 31, rows) + hour / 24)).astype("timedelta64[s]")
    began = pd.DatetimeIndex(np.datetime64("2024-01-01") + seconds)
    passengers = 1 + rng.poisson(0.4, rows).astype(float)
    passengers[rng.random(rows) < 0.04] = np.nan
    zone = np.array(["north", "south", "east", "west", "airport"])
    at = np.where(kind == 1, 4, rng.integers(0, 4, rows))
    return pd.DataFrame({
        "began": began.strftime("%Y-%m-%d %H:%M:%S"), "vendor": rng.choice(["CMT", "VTS"], rows),
        "passengers": pd.array(passengers, dtype="Int64"), "miles": distance.round(2),
        "zone": zone[at], "payment": np.where(card, "card", "cash"), "fare": fare.round(1),
        "tip": tip.round(2), "driver": rng.integers(10_000, 99_999, rows),
        "wait": rng.exponential(3.0, rows).round(1),
    })  # fmt: skip


def channels(rows: int, seed: int = 0) -> pd.DataFrame:
    """So many seconds of a machine that is off, runs, or runs hot."""
    rng = np.random.default_rng(seed)
    state = rng.choice(3, rows, p=[0.2, 0.7, 0.1])
    levels = np.random.default_rng(99).normal(0, 2, (20, 3))
    return pd.DataFrame({f"channel {i}": rng.normal(levels[i][state], 1.0) for i in range(20)})


def write(path: Path, rows: int) -> None:
    writer = None
    for number, start in enumerate(range(0, rows, PIECE)):
        size = min(PIECE, rows - start)
        if path.suffix == ".csv":
            frame = trips(size, number)
            frame.to_csv(path, index=False, mode="a" if start else "w", header=not start)
            continue
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(channels(size, number), preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def watched(command: list[str], folder: Path) -> None:
    """Run it; print what it says with the time, and at the end what it took."""
    begun = last = time.monotonic()
    silent, peak = 0.0, 0
    child = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        status = Path(f"/proc/{child.pid}/status")
        while not done.wait(0.2) and status.exists():
            lines = [li for li in status.read_text().splitlines() if li.startswith("VmHWM")]
            peak = max([peak, *(int(line.split()[1]) for line in lines)])

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert child.stdout is not None
    for line in child.stdout:
        now = time.monotonic()
        silent, last = max(silent, now - last), now
        print(f"{now - begun:7.1f} s  {line}", end="", flush=True)
    child.wait()
    done.set()
    watcher.join()
    spent = os.times()
    print(
        f"rc {child.returncode}: {time.monotonic() - begun:.0f} s by the clock, "
        f"{spent.children_user + spent.children_system:.0f} s of CPU, {peak / 1024:.0f} MB resident "
        f"at most, silent for {max(silent, time.monotonic() - last):.0f} s at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--parquet", action="store_true")
    asked, options = parser.parse_known_args()
    rows = asked.rows or (12_000_000 if asked.parquet else 3_300_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "channels.parquet" if asked.parquet else "trips.csv")
        write(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        command = [sys.executable, "-m", "jaxmix", "fit", path.name, "--out", "out", *options]
        watched(command, Path(folder))


if __name__ == "__main__":
    main()
