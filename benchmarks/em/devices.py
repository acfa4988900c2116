"""Claim: what devices exchange in a pass is the size of the statistics, and a cost model holds.

    seconds(rows, d) = a * rows / d + b(d),    b = messages * latency * log2 d
                                                   + 2 (d - 1) / d * bytes / bandwidth

with a seconds a row on one device, and bytes those of the statistics, whatever the rows: for K
components in D dimensions with p statistics each (2 D + 1 for a diagonal, D (D + 3) / 2 + 1 for a
full covariance), K p numbers and the weights' K. So d devices are used to a share
1 / (1 + b d / (a rows)): a device needs rows b / a many before it waits half of its time.

Simulated devices share this machine's cores: their work takes a * rows whatever d is, and b is the
cost of their meeting. Both are taken from two small runs on 1, 2, 4 and 8 of them, and foretell a
large one, which is then measured. Bytes and messages are read from the compiled program. The table
of a cluster takes a from here and a data-centre network's latency and bandwidth (an assumption).
Run: python -m benchmarks.em.devices [rows] [picture.png]
"""

import importlib
import os
import re
import subprocess
import sys

DIM, COMPONENTS = 32, 64
WORKER = "JAXMIX_SCALE_DEVICES"
WIDTH = {"f32": 4, "f64": 8, "s32": 4, "pred": 1}
LATENCY, BANDWIDTH = 20e-6, 10e9  # seconds a message, bytes a second
CLUSTER = (1, 8, 64, 512)


def collectives(text):
    """Bytes of each collective in a compiled program."""
    found = []
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    for shapes in re.findall(rf"= (.*?) (?:{kinds})(?:-start)?\(", text):
        total = 0
        for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            size = WIDTH.get(kind, 4)
            for n in filter(None, dims.split(",")):
                size *= int(n)
            total += size
        found.append(total)
    return found


def meeting(devices, sent, messages):
    """Seconds that a pass spends on its sums, over separate devices."""
    if devices == 1:
        return 0.0
    hops = (devices - 1).bit_length()
    return messages * LATENCY * hops + 2 * (devices - 1) / devices * sent / BANDWIDTH


def worker(sizes):
    """Print seconds a pass for each number of rows, messages, and bytes."""
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxmix as jm

    internals = importlib.import_module("jaxmix.em.fit")
    from jaxmix.em.search.restarts import floor_prior
    from jaxmix.em.sharded import layout_of
    from jaxmix.em.solver import Rules

    x = np.random.default_rng(0).standard_normal((max(sizes), DIM), np.float32)
    parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:COMPONENTS]), jnp.ones((COMPONENTS, DIM)))
    start = jm.MixtureSameFamily(jnp.full(COMPONENTS, 1 / COMPONENTS), parts)
    prior = floor_prior(start, x[:4096], None, 1e-9)
    models = jax.tree.map(lambda a: a[None], start)
    # No step: the start's own pass alone.
    rules = Rules(jm.em.PlainEM(), prior, jnp.asarray(0), jnp.asarray(0.0), chunk_size=2048)
    seconds = []
    for rows in sizes:
        data, weights = jm.em.shard_rows(x[:rows])
        layout = layout_of(data)
        states = internals._begin(models, data, weights, rules.solver)
        given = (states, np.zeros(1, int), data, weights, rules, 50, layout)
        run = lambda given=given: jax.block_until_ready(internals._advance(*given))
        run()
        best = float("inf")
        for _ in range(7):
            began = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - began)
        seconds.append(best)
    sent = collectives(internals._advance.lower(*given).compile().compiled.as_text())
    print(*seconds, len(sent), sum(sent))


def measured(devices, sizes):
    """What a worker with so many simulated devices prints."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, WORKER: "1"}
    command = [sys.executable, "-m", "benchmarks.em.devices", *map(str, sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    *seconds, messages, sent = done.stdout.split()
    return [float(s) for s in seconds], int(messages), int(sent)


def picture(path, rows, found, a, sent, messages):
    """Seconds a pass on simulated devices against the model; efficiency of a cluster."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    devices = list(found)
    left.plot(devices, [found[d][0] for d in devices], "o", label="measured")
    left.plot(devices, [found[d][1] for d in devices], "_", ms=18, label="foretold from small runs")
    left.set(xscale="log", xlabel="simulated devices on shared cores", ylabel="seconds a pass",
             title=f"{rows:,} rows", xticks=devices, xticklabels=devices, ylim=(0, None))  # fmt: skip
    left.minorticks_off()
    left.legend(frameon=False)
    many = [2**i for i in range(11)]
    for each in (10**4, 10**5, 10**6, 10**7):
        shares = [a * each / d / (a * each / d + meeting(d, sent, messages)) for d in many]
        right.plot(many, shares, label=f"{each:,} rows")
    right.set(xscale="log", xlabel="separate devices", ylabel="share of their time at work",
              title="by the model", ylim=(0, 1.05))  # fmt: skip
    right.legend(frameon=False, title="in all")
    figure.savefig(path, dpi=120)


def main(rows=400_000, path=None):
    """Start a process for each number of devices, and print the tables."""
    small, middle = rows // 16, rows // 4
    number = COMPONENTS * (2 * DIM + 1) + COMPONENTS
    print(f"{DIM} columns, {COMPONENTS} diagonal components: {4 * number} bytes of statistics")
    print(
        "devices  messages   bytes  a (ns a row)  b (ms)  foretold  measured (s), of", rows, "rows"
    )
    found, one = {}, None
    for devices in (1, 2, 4, 8):
        (first, second, third), messages, sent = measured(devices, (small, middle, rows))
        a = (second - first) / (middle - small)
        b = first - a * small
        one = a if one is None else one
        found[devices] = third, a * rows + b
        print(
            f"{devices:7d}  {messages:8d}  {sent:6d}  {1e9 * a:12.1f}  {1e3 * b:6.2f}  "
            f"{a * rows + b:8.4f}  {third:8.4f} ({third / (a * rows + b) - 1:+.0%})",
            flush=True,
        )
    print("separate devices, by the model: share of their time at work")
    for devices in CLUSTER:
        cost = meeting(devices, sent, messages)
        shares = [one * n / devices / (one * n / devices + cost) for n in (10**6, 10**8)]
        print(f"{devices:7d}: {shares[0]:.1%} for 1e6 rows, {shares[1]:.1%} for 1e8")
    if path is not None:
        picture(path, rows, found, one, sent, messages)


if __name__ == "__main__":
    words = sys.argv[1:]
    if WORKER in os.environ:
        worker([int(word) for word in words])
    else:
        main(int(words[0]) if words else 400_000, words[1] if len(words) > 1 else None)
