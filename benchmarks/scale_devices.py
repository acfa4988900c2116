"""Claim: what devices exchange in a step is the size of the statistics, whatever the rows.

Runs one step on 1, 2, 4 and 8 simulated devices, measures time and the bytes of every collective
in the compiled program, and compares them with a cost model:

    seconds(d) = rows * seconds_a_row / min(d, cores) + messages * latency + bytes / bandwidth

Simulated devices share the machine's cores, so beyond these no speed is to be had here; the model
tells what separate machines would give. Run: python benchmarks/scale_devices.py [rows]
"""

import importlib
import os
import re
import subprocess
import sys

DIM, COMPONENTS = 32, 64
WORKER = "JAXMIX_SCALE_DEVICES"
WIDTH = {"f32": 4, "f64": 8, "s32": 4, "pred": 1}
NETWORK = {"latency": 20e-6, "bandwidth": 10e9}  # of a data-centre network: an assumption


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


def predicted(rows, seconds_a_row, devices, sent, messages):
    """Seconds of a step on as many separate devices, by the cost model."""
    local = rows * seconds_a_row / devices
    return local + messages * NETWORK["latency"] + 2 * sent / NETWORK["bandwidth"]


def worker(devices, rows):
    """Print seconds a step, messages, and bytes."""
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxmix as jm

    internals = importlib.import_module("jaxmix.em.in_memory")
    from jaxmix.em.sharded import layout_of

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, DIM), np.float32)
    parts = jax.vmap(jm.DiagonalNormal)(jnp.asarray(x[:COMPONENTS]), jnp.ones((COMPONENTS, DIM)))
    start = jm.MixtureSameFamily(jnp.full(COMPONENTS, 1 / COMPONENTS), parts)
    data, weights = jm.em.shard_rows(x)
    layout = layout_of(data)
    prior = internals._floor_prior(start, x[:4096], None, 1e-9)
    models = jax.tree.map(lambda a: a[None], start)
    lowered = internals._start.lower(
        models, data, weights, prior, "soft", None, 2048, layout
    ).compile()
    run = lambda: jax.block_until_ready(
        internals._start(models, data, weights, prior, "soft", None, 2048, layout)
    )
    run()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    sent = collectives(lowered.compiled.as_text())
    print(min(seconds), len(sent), sum(sent))


def main(rows=200_000):
    """Start a process for each number of devices, and print the table."""
    print(f"{rows} rows, {DIM} columns, {COMPONENTS} diagonal components; {os.cpu_count()} cores")
    print("devices  seconds a pass  messages    bytes  by the model, separate devices (efficiency)")
    one = None
    for devices in (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = {**os.environ, "XLA_FLAGS": flags, WORKER: str(devices)}
        done = subprocess.run(
            [sys.executable, __file__, str(rows)], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        seconds, messages, sent = done.stdout.split()
        one = float(seconds) if one is None else one
        model = predicted(rows, one / rows, devices, int(sent), int(messages))
        share = one / devices / model
        print(
            f"{devices:7d}  {float(seconds):14.4f}  {messages:>8}  {sent:>7}  "
            f"{model:.4f} s ({share:.0%})"
        )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] or [200_000]
    if WORKER in os.environ:
        worker(int(os.environ[WORKER]), numbers[0])
    else:
        main(numbers[0])
