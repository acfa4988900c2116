"""Claim: a device gives the answers of float64, each figure near the device's own ceilings.

First 33 answers against float64 on the CPU of the same machine; then the device's ceilings (products
in each precision, a copy, a tiny kernel); then EM, importance sampling, objectives, many small fits
and a hidden chain, each as a multiple of the time that its products or its traffic need at these
ceilings. One command for a machine that has an accelerator; on a CPU it runs too, on tiny sizes.

python -m benchmarks.accelerator [seconds for the times, 300 by default]
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from benchmarks._accelerator_answers import chain, compare, estimate, importance_inputs, start
from benchmarks._autoencoder import loss_by
from jaxmix._platform import PRECISIONS, UNKNOWN

DEVICE = jax.devices()[0]
LARGE = DEVICE.platform != "cpu"


class Case(NamedTuple):
    """A program, and the work that no implementation is spared."""

    function: Callable
    arguments: tuple
    operations: float
    traffic: float


def seconds(
    function: Callable, arguments: tuple, span: float = 1.5
) -> tuple[float, float, float, int]:
    """The median and the least of several runs, seconds to compile, temporary bytes."""
    begun = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    to_compile = time.perf_counter() - begun
    memory: Any = compiled.memory_analysis()
    for _ in range(2):
        jax.block_until_ready(compiled(*arguments))
    times: list[float] = []
    end = time.perf_counter() + span
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 50):
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - begun)
    temporary = memory.temp_size_in_bytes if memory else 0
    return statistics.median(times), min(times), to_compile, temporary


def ceilings() -> dict[str, float]:
    """Operations a second in each precision, bytes a second, seconds a kernel."""
    n = 8192 if LARGE else 512
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(k, (n, n), jnp.float32) for k in keys)
    exact = np.asarray(a[:64], np.float64) @ np.asarray(b, np.float64)
    found = {}
    for name in PRECISIONS:
        if name in UNKNOWN.get(jax.default_backend(), ()):
            print(f"product in {name}: not known here")
            continue
        product = lambda a, b, p=PRECISIONS[name]: jnp.matmul(a, b, precision=p)
        least = seconds(product, (a, b), 0.4)[1]
        miss = np.linalg.norm(np.asarray(product(a, b))[:64] - exact) / np.linalg.norm(exact)
        found[name] = 2 * n**3 / least
        print(f"product in {name}: {found[name] / 1e12:.2f} TFLOP/s, relative error {miss:.1e}")
    whole = jnp.ones((1 << 29) if LARGE else (1 << 22), jnp.float32)
    found["bytes"] = 2 * whole.nbytes / seconds(lambda x: x + 1, (whole,), 0.4)[1]
    tiny = lambda x: jax.lax.fori_loop(0, 1000, lambda i, x: jnp.sort(x), x)
    found["kernel"] = seconds(tiny, (jnp.arange(64.0),), 0.3)[1] / 1000
    print(f"copy: {found['bytes'] / 1e12:.3f} TB/s; a tiny kernel: {1e6 * found['kernel']:.2f} us")
    return found


def step(covariance: str, rows: int, dim: int, k: int, **how: Any) -> Case:
    x = jax.random.normal(jax.random.key(7), (rows, dim), jnp.float32)
    centres = 0.5 * jax.random.normal(jax.random.key(8), (k, dim))
    features = {"full": (dim + 1) * ((dim + 1) // 2 + 1), "diag": 2 * dim, "spherical": dim + 1}
    model = start(covariance, centres, jnp.float32)

    def one(model, x):
        with jm.products_in(how.get("precision")):
            if "chunk_size" in how:
                return jm.em.expected_stats(model, x, chunk_size=how["chunk_size"])
            return jm.em.step(model, x)[0]

    return Case(one, (model, x), 4.0 * rows * k * features[covariance], 4.0 * rows * dim)


def small_fits(many: int) -> Case:
    x = jax.random.normal(jax.random.key(10), (many, 200, 2))
    one = start("full", np.array([[-1, 0], [0, 1], [1, -1]]), jnp.float32)
    models = jax.tree.map(lambda a: jnp.broadcast_to(a, (many, *a.shape)), one)

    def fit(model, x):
        return jm.em.run(model, x, max_steps=50, tol=None, history_size=50).model.weights

    return Case(jax.vmap(fit), (models, x), 4.0 * many * 200 * 3 * 6 * 50, 50 * 4.0 * x.size)


def importance(slope: bool) -> Case:
    j, k, each = (200, 210, 500) if LARGE else (20, 21, 100)
    value = lambda *given: estimate(*given).value
    function = jax.grad(lambda *given: jnp.sum(value(*given))) if slope else value
    work = (4.0 if slope else 2.0) * j * k * k * each
    return Case(function, importance_inputs(j, k, each, jnp.float32), work, 4.0 * k * each)


def objective(configured: Any) -> Case:
    """Value and gradient for a small variational autoencoder."""
    dim, latent, hidden, batch = (784, 50, 200, 4096) if LARGE else (64, 16, 32, 256)
    shapes = {"a": (latent, hidden), "b": (hidden, dim), "c": (dim, hidden), "m": (hidden, latent),
              "s": (hidden, latent)}  # fmt: skip
    rng = np.random.default_rng(4)
    p = {n: jnp.asarray(0.1 * rng.standard_normal(s).astype(np.float32)) for n, s in shapes.items()}
    x = jnp.asarray((rng.random((batch, dim)) < 0.3).astype(np.float32))

    work = 6.0 * (p["a"].size + p["b"].size) * configured.expected_cost * batch
    return Case(
        jax.value_and_grad(loss_by(configured)), (p, jax.random.key(9), x), work, 4.0 * x.size
    )


def one_chain(states: int, length: int, rows: int) -> Case:
    x = jax.random.normal(jax.random.key(11), (rows, length))
    data = jm.SequenceEvent(x, jnp.full(rows, length))
    function = lambda m, data: eqx.filter(jm.em.expected_stats(m, data), eqx.is_array)
    work = 6.0 * rows * length * states**2
    return Case(function, (chain(states, jnp.float32), data), work, 4.0 * x.size)


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """In the order of their worth."""
    rows = 1_000_000 if LARGE else 20_000
    wide, narrow = ((128, 1024), (32, 64)) if LARGE else ((16, 32), (8, 8))
    for covariance, (d, k) in (
        ("diag", wide),
        ("spherical", wide),
        ("full", narrow),
        ("diag", narrow),
    ):
        name = f"EM step, {covariance}, {rows:,} x {d}, K = {k}"
        yield name, lambda c=covariance, d=d, k=k: step(c, rows, d, k)
    for precision in ("bf16x6", "tf32x3", "bf16x3"):
        if precision not in UNKNOWN.get(jax.default_backend(), ()):
            yield (
                f"the first in {precision}",
                lambda p=precision: step("diag", rows, *wide, precision=p),
            )
    for size in (4096, 32768, 131072) if LARGE else (1000, 5000):
        yield (
            f"a pass of the first, chunks of {size:,}",
            lambda s=size: step("diag", rows, *wide, chunk_size=s),
        )
    yield "imp_est", lambda: importance(False)
    yield "its gradient", lambda: importance(True)
    for name, configured in (
        ("elbo(1)", jm.elbo(1)),
        ("iwae(16)", jm.iwae(16)),
        ("multilevel()", jm.multilevel()),
    ):
        yield f"{name}, value and gradient", lambda c=configured: objective(c)
    many = 10_000 if LARGE else 200
    yield f"{many:,} fits of 200 x 2, K = 3, 50 steps", lambda: small_fits(many)
    yield "one long hidden chain, S = 8", lambda: one_chain(8, 20_000 if LARGE else 500, 1)
    s, t, n = (64, 1000, 4096) if LARGE else (16, 100, 64)
    yield f"hidden chains, S = {s}, T = {t}, {n:,} rows", lambda: one_chain(s, t, n)


def main(budget: float) -> int:
    """Answers, ceilings, times; how many answers are wrong."""
    print(
        f"jax {jax.__version__}; measured on {DEVICE.platform} ({DEVICE.device_kind})\n", flush=True
    )
    wrong = compare(LARGE)
    print(f"\n{wrong} answers wrong\n" if wrong else "\nall answers right\n", flush=True)
    top, begun = ceilings(), time.monotonic()
    heads = ["what", "median ms", "least ms", "floor ms", "x floor", "temporary MB", "s to compile"]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for name, make in cases():
        if time.monotonic() - begun > budget:
            print(f"| {name} | out of time |")
            continue
        try:
            case = make()
            median, least, to_compile, temporary = seconds(case.function, case.arguments)
        except Exception as error:  # one failure must not cost the others
            print(f"| {name} | {type(error).__name__}: {str(error)[:120]} |", flush=True)
            continue
        floor = max(case.operations / top["float32"], case.traffic / top["bytes"])
        cells = [f"{1e3 * median:.3f}", f"{1e3 * least:.3f}", f"{1e3 * floor:.3f}",
                 f"{median / floor:.1f}", f"{temporary / 1e6:.1f}", f"{to_compile:.1f}"]  # fmt: skip
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 300.0))
