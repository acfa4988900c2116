"""Claim: an EM iteration takes a tenth of the time of the fastest peer on a CPU, or less.

The same data, the same start, a fixed number of iterations; answers are compared before times.
Beside: the two matrix products of an iteration alone, as the library runs them and at the peak
that this machine shows for a large square product; compilation; memory beyond the data.

python -m benchmarks.em.speed [full small diagonal spherical univariate] [--limit SECONDS]
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxmix as jm
from benchmarks.em._cases import CASES, Case, draw
from benchmarks.em._parts import programs

PEERS = ("scikit-learn", "gmmx", "pomegranate")


def peer(name: str, case: str, limit: float) -> dict:
    """What a peer's own process printed, or why there is nothing."""
    command = [sys.executable, "-m", "benchmarks.em._peers", name, case]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, cwd=Path(__file__).parents[2]
        )
    except subprocess.TimeoutExpired:
        return {"why": f"no answer in {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"why": f"ended with code {done.returncode}"}
    return json.loads(lines[-1])


def start(means, case: Case):
    k, d = means.shape
    means = jnp.asarray(means)
    one = jnp.ones((), means.dtype)
    if d == 1:
        parts = jax.vmap(lambda m: jm.Normal(m[0], one))(means)
    elif case.covariance == "full":
        parts = jax.vmap(lambda m: jm.MultivariateNormal(m, jnp.eye(d, dtype=means.dtype)))(means)
    elif case.covariance == "diag":
        parts = jax.vmap(lambda m: jm.DiagonalNormal(m, jnp.ones(d, means.dtype)))(means)
    else:
        parts = jax.vmap(lambda m: jm.SphericalNormal(m, one))(means)
    return jm.MixtureSameFamily(jnp.full(k, 1 / k, means.dtype), parts)


@eqx.filter_jit
def advance(model, x, steps):
    return jm.em.run(model, x, max_steps=steps, tol=None, floor=0.0, history_size=1000)


@jax.jit
def score(model, x):
    return jnp.mean(jax.lax.map(model.log_prob, x, batch_size=4096))


def seconds(function) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def resident(key: str) -> int:
    """A line of this process's memory, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def peak_memory(function) -> int:
    """Bytes by which a call raises the process's memory at its highest."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    except OSError:
        return 0
    before = resident("VmRSS")
    jax.block_until_ready(function())
    return resident("VmHWM") - before


def ours(x, means, case: Case) -> dict:
    """Seconds an iteration, from what further iterations add to a fit."""
    x = jnp.asarray(x[:, 0] if case.dim == 1 else x)
    model = start(means, case)
    compiling = -time.perf_counter()
    lowered = advance.lower(model, x, jnp.asarray(1)).compile()
    compiling += time.perf_counter()
    # Numbers would be constants of the compiled function, whatever it is called with later.
    compiled = lambda model, x, steps: lowered(model, x, jnp.asarray(steps))
    seconds(lambda: compiled(model, x, 1).model)
    spans = []
    for _ in range(5):
        short = seconds(lambda: compiled(model, x, 1).model)
        long = seconds(lambda: compiled(model, x, 1 + case.steps).model)
        spans.append((long - short) / case.steps)
    return {
        "median": statistics.median(spans),
        "spread": max(spans) - min(spans),
        "compiling": compiling,
        "memory": peak_memory(lambda: compiled(model, x, 2).model),
        "scores": {
            steps: float(score(compiled(model, x, steps).model, x[: case.scored]))
            for steps in (1 + case.peer_steps,)
        },
    }


def product_seconds(x, means, case: Case) -> float:
    """The two matrix products of an iteration alone, by chunks, as the library makes them."""
    x = jnp.asarray(x[:, 0] if case.dim == 1 else x)
    model = start(means, case)
    alone = programs(model, x, case)[0]
    seconds(alone)
    return min(seconds(alone) for _ in range(3))


def peak_flops(dtype: str) -> float:
    """The most that a large square product reaches, in operations a second."""
    size = 1024
    square = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: jnp.dot(a, a))
    seconds(lambda: product(square))
    return 2 * size**3 / min(seconds(lambda: product(square)) for _ in range(20))


def run(name: str, limit: float) -> bool:
    """One case; prints its rows, and says whether the answers agree."""
    case = CASES[name]
    with jax.enable_x64(case.dtype == "float64"):
        x, means = draw(case)
        mine = ours(x, means, case)
        products = product_seconds(x, means, case)
        ideal = 4 * case.rows * case.components * case.features / peak_flops(case.dtype)
    del x
    answers = {other: peer(other, name, limit) for other in PEERS}
    mean_score = mine["scores"][1 + case.peer_steps]
    agree = True
    for other, answer in answers.items():
        if "why" in answer:
            continue
        # gmmx and pomegranate count steps alike: one update each.
        apart = abs(answer["score"] - mean_score)
        agree = agree and apart < 1e-3
        print(f"{other} scores {answer['score']:.5f} nats a row, jaxmix {mean_score:.5f}")
    times = [answer["median"] for answer in answers.values() if "why" not in answer]
    milliseconds = lambda s: f"{1e3 * s:.1f}"
    cells = [
        f"{name}: {case.rows} x {case.dim}, {case.components} {case.covariance} {case.dtype}",
        f"{milliseconds(mine['median'])} ({milliseconds(mine['spread'])})",
        *(
            answer["why"]
            if "why" in answer
            else f"{milliseconds(answer['median'])} ({milliseconds(answer['spread'])})"
            for answer in answers.values()
        ),
        f"{min(times) / mine['median']:.1f}" if times else "-",
        milliseconds(products),
        milliseconds(ideal),
        f"{mine['median'] / ideal:.1f}",
        f"{mine['compiling']:.1f}",
        f"{mine['memory'] / 2**20:.0f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)
    return agree


def main(arguments: list[str]) -> int:
    """The chosen cases, one row each."""
    limit = 60.0
    if "--limit" in arguments:
        at = arguments.index("--limit")
        limit = float(arguments[at + 1])
        arguments = arguments[:at] + arguments[at + 2 :]
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; ms an iteration (spread)")
    heads = ["case", "jaxmix", *PEERS, "fastest peer / jaxmix", "products alone"]
    heads += ["products at peak", "jaxmix / peak", "compile, s", "memory, MB"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    return 0 if all([run(name, limit) for name in arguments or CASES]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
