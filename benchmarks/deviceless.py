"""Claim: on an accelerator a pass is a few dozen trips of some twenty kernels, in about 1 GB.

What XLA's compilers for an H200 (CUDA, sm_90) and a TPU v5e make of the main programs, without
either at hand: trips of the longest loop and kernels in one, kernels in all and what launching them
takes (2 microseconds each, assumed), bytes beside arguments and results, and of a TPU the cycles
that its compiler expects, at 1.5 GHz. Beside them the floor: the products at the device's peak for
float32 (on the TPU six passes of bfloat16) or the memory's traffic, whichever takes longer. A loop
whose length is not known counts once, and of a condition the branch of fewest launches. Nothing
here was measured on a device.

A fused pass (logits, softmax and statistics in one kernel, rows read once) is left out by these
counts. Of the diagonal case the kernels of an iteration move 33 GB on an H200, 22 GB of which are
not the products' own: 5 ms beside 16 ms of products in float32, so that it could save a quarter. The
statistics there, 1 MB, do not fit a multiprocessor's memory, and blocks would add them in an order
that changes from run to run.

Needs `pip install libtpu` as jax[tpu] pins it, or jax[cuda13] and its `ptxas` on the PATH.

python -m benchmarks.deviceless [cuda tpu] [name=BEGINNING] [FOLDER OF ANOTHER VERSION ...]
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxmix as jm
from benchmarks._autoencoder import loss_by
from benchmarks._hlo import read

LAUNCH = 2e-6
CLOCK = 1.5e9
PEAKS = {"cuda": (67e12, 4.8e12), "tpu": (197e12 / 6, 0.819e12)}  # operations, bytes a second
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  shared_memory_per_block: 49152
  shared_memory_per_core: 233472  threads_per_core_limit: 2048  core_count: 132  fpus_per_core: 128
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000  l2_cache_size: 62914560  clock_rate_ghz: 1.98
  device_memory_size: 150754820096  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H200"
"""


class Program(NamedTuple):
    """A function, its abstract arguments, and the work that no implementation is spared."""

    function: Callable
    arguments: tuple
    operations: float = 0.0
    traffic: float = 0.0


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def step(covariance, rows, dim, k, **how) -> Program:
    """One EM step of a Gaussian mixture: two products with all features."""
    model = jax.eval_shape(lambda: jm.gaussian_mixture(k, dim, covariance=covariance))
    features = {"full": (dim + 1) * ((dim + 1) // 2 + 1), "diag": 2 * dim, "spherical": dim + 1}

    def one(model, x):
        with jm.products_in(how["precision"]) if how else contextlib.nullcontext():
            return jm.em.step(model, x)[0]

    return Program(
        one, (model, f32(rows, dim)), 4.0 * rows * k * features[covariance], 4.0 * rows * dim
    )


def small_fits(many) -> Program:
    def one(model, x):
        return jm.em.run(model, x, max_steps=50, history_size=50).model

    stack = lambda: jax.tree.map(lambda a: jnp.stack([a] * many), jm.gaussian_mixture(3, 2))
    return Program(jax.vmap(one), (jax.eval_shape(stack), f32(many, 200, 2)))


def chain(states, length, rows) -> Program:
    def make():
        even = jnp.full(states, 1 / states)
        return jm.HiddenMarkov(
            even, jnp.broadcast_to(even, (states, states)), jax.vmap(jm.Normal)(even, even)
        )

    data = jm.SequenceEvent(f32(rows, length), jax.ShapeDtypeStruct((rows,), jnp.int32))
    work = 6.0 * rows * length * states**2
    return Program(jm.em.expected_stats, (jax.eval_shape(make), data), work, 4.0 * rows * length)


def estimate(slope) -> Program:
    j, k, each = 200, 210, 500

    def value(targets, proposals, x, weights):
        family = lambda means: jax.vmap(jm.Normal)(means, jnp.ones_like(means))
        draws = jm.importance.Draws.of(x, family(proposals))
        return jm.imp_est(lambda x: x > 1.96, family(targets), draws, weights=weights).value

    function = jax.grad(lambda *a: jnp.sum(value(*a))) if slope else value
    work = (4.0 if slope else 2.0) * j * k * k * each
    return Program(function, (f32(j), f32(k), f32(k, each), f32(j, k)), work, 4.0 * k * each)


def objective(configured) -> Program:
    """Value and gradient of an objective for a small variational autoencoder."""
    batch, dim, latent, hidden = 1024, 784, 50, 200
    shapes = {"a": f32(latent, hidden), "b": f32(hidden, dim), "c": f32(dim, hidden),
              "m": f32(hidden, latent), "s": f32(hidden, latent)}  # fmt: skip

    key = jax.eval_shape(lambda: jax.random.key(0))
    work = 6.0 * (latent * hidden + hidden * dim) * configured.expected_cost * batch
    return Program(
        jax.value_and_grad(loss_by(configured)),
        (shapes, key, f32(batch, dim)),
        work,
        4.0 * batch * dim,
    )


PROGRAMS: dict[str, Callable[[], Program]] = {
    "diagonal, 1e6 x 128, K = 1024": lambda: step("diag", 1_000_000, 128, 1024),
    "the same in bf16x3": lambda: step("diag", 1_000_000, 128, 1024, precision="bf16x3"),
    "spherical, 1e6 x 128, K = 1024": lambda: step("spherical", 1_000_000, 128, 1024),
    "full, 1e6 x 32, K = 64": lambda: step("full", 1_000_000, 32, 64),
    "10,000 fits of 200 x 2, K = 3, a step": lambda: small_fits(10_000),
    "hidden chain, S = 64, T = 1000, 4,096 rows": lambda: chain(64, 1000, 4096),
    "hidden chain, S = 8, T = 20,000, one row": lambda: chain(8, 20_000, 1),
    "imp_est, 200 targets, 210 x 500 draws": lambda: estimate(False),
    "its gradient": lambda: estimate(True),
    "iwae(16), value and gradient": lambda: objective(jm.iwae(16)),
    "multilevel(), value and gradient": lambda: objective(jm.multilevel()),
}


def device(platform: str) -> Any:
    """A device that is not there."""
    if platform == "cuda":
        return topologies.get_topology_desc(
            platform="cuda", topology="1x1x1", target_config=H200
        ).devices[0]
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4"}
    where = {"topology_name": "v5e:1x1", "chips_per_host_bounds": (1, 1, 1)}
    return topologies.get_topology_desc(platform="tpu", **where).devices[0]


def told(name: str, platform: str) -> dict[str, Any]:
    """What a compiler says of one program."""
    there = SingleDeviceSharding(device(platform))
    put = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there)
    sized_for = getattr(jm.em, "sized_for", lambda _: contextlib.nullcontext())
    with sized_for(platform):
        program = PROGRAMS[name]()
        arrays, rest = eqx.partition(program.arguments, lambda a: hasattr(a, "shape"))
        call = lambda arrays: eqx.filter(program.function(*eqx.combine(arrays, rest)), eqx.is_array)
        traced = jax.jit(call, out_shardings=there).trace(jax.tree.map(put, arrays))
        lowered = traced.lower(lowering_platforms=(platform,))
    begun = time.process_time()
    compiled = lowered.compile()
    whole = read(compiled.as_text())
    main = max(whole.loops(), key=lambda loop: (loop.trips or 1) * loop.kernels)
    operations, bandwidth = PEAKS[platform]
    return {
        "trips": main.trips, "kernels": main.kernels, "launches": whole.launches(),
        "temporary": compiled.memory_analysis().temp_size_in_bytes,
        "cycles": whole.all_cycles(), "seconds": time.process_time() - begun,
        "floor": max(program.operations / operations, program.traffic / bandwidth),
    }  # fmt: skip


def versions(name: str, platform: str, folders: list[str]) -> list[dict[str, Any]]:
    """The same of other versions of the package, each in a process of its own."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import jaxmix; sys.path[0] = sys.argv[2];"
        "import json; from benchmarks.deviceless import told; print(json.dumps(told(*sys.argv[3:])))"
    )
    here = str(Path(__file__).parents[1])
    around = os.environ | {"PYTHONPATH": "", "JAX_PLATFORMS": "cpu"}
    found = []
    for folder in folders:
        done = subprocess.run(
            [sys.executable, "-c", code, folder, here, name, platform],
            capture_output=True, text=True, cwd="/", env=around,
        )  # fmt: skip
        last = done.stdout.strip().splitlines()[-1:]
        found.append(json.loads(last[0]) if not done.returncode else {"failed": done.stderr[-300:]})
    return found


def row(name: str, platform: str, version: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    if "failed" in found:
        return (
            f"| {name} | {platform} | {version} | failed: {found['failed'].splitlines()[-1][:90]} |"
        )
    trips = "?" if found["trips"] is None else found["trips"]
    cycles = f"{1e3 * found['cycles'] / CLOCK:.1f}" if platform == "tpu" else ""
    return (
        f"| {name} | {platform} | {version} | {trips} x {found['kernels']} | {found['launches']:,} | "
        f"{1e3 * LAUNCH * found['launches']:.2f} | {found['temporary'] / 1e6:,.0f} | {cycles} | "
        f"{1e3 * found['floor']:.2f} | {found['seconds']:.0f} |"
    )


def main(given: list[str]) -> None:
    """The table, a program at a time, this version after the others."""
    platforms = [p for p in given if p in PEAKS] or list(PEAKS)
    beginning = next((g.removeprefix("name=") for g in given if g.startswith("name=")), "")
    folders = [g for g in given if Path(g).is_dir()]
    heads = ["program", "for", "version", "trips x kernels", "launches", "launch ms", "temporary MB",
             "compiler's ms", "floor ms", "s to compile"]  # fmt: skip
    print(f"jax {jax.__version__}; nothing here was measured on a device")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    here = str(Path(__file__).parents[1])
    for name in PROGRAMS:
        if not name.startswith(beginning):
            continue
        for platform in platforms:
            found = versions(name, platform, [*folders, here])
            for version, one in zip(
                [*map(str, range(1, len(folders) + 1)), "this"], found, strict=True
            ):
                print(row(name, platform, version, one), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
