"""Claim: on data that most people have a first fit takes a second or two, another size nearly none.

    python -m benchmarks cold_start
    python -m benchmarks.cold_start [OLD] [CASE ...] [--runs N]

Every case is a process of its own, in which nothing is compiled yet: seconds by the clock and, of
both cores, of the processor; medians over runs. OLD is a path to another checkout, measured in
turn. A case `cached` reads compiled programs that a process before it has left. Peers make one
start each where they know no more; scikit-learn makes 16, as we do.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

import numpy as np


def iris():
    from sklearn.datasets import load_iris

    return load_iris().data.astype(np.float32)


def timed(found, name, call):
    """Call, and note its seconds: by the clock, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    found[name] = (time.perf_counter() - wall, time.process_time() - cpu)
    return out


def imports(found):
    import jax  # noqa: F401

    timed(found, "import beyond jax", lambda: __import__("jaxmix"))


def fit(found):
    import jax

    import jaxmix as jm

    x = iris()
    one = lambda k, n, c: jm.fit(jax.random.key(0), jm.gaussian_mixture(k, 4, covariance=c), x[:n])
    timed(found, "first fit, iris, K = 3, 16 restarts", lambda: one(3, 150, "full"))
    timed(found, "again", lambda: one(3, 150, "full"))
    timed(found, "next N", lambda: one(3, 149, "full"))
    timed(found, "next K", lambda: one(4, 150, "full"))
    timed(found, "next covariance", lambda: one(3, 150, "diag"))


def many(found):
    import jax

    import jaxmix as jm

    draw = np.random.default_rng(0)
    sets = [draw.normal(size=(80 + i % 41, 2)).astype(np.float32) for i in range(500)]
    template = jm.gaussian_mixture(2, 2)
    every = lambda: [jm.fit(jax.random.key(0), template, x, num_restarts=4) for x in sets]
    timed(found, "500 fits of 80 to 120 rows", every)


def sweep(found):
    import jax

    import jaxmix as jm

    x, templates = iris(), jm.choice.gaussian_templates(4, range(1, 9))
    every = lambda: jm.choice.sweep(jax.random.key(0), templates, x)
    timed(found, "sweep of K = 1..8 x 4 covariances", every)


def eager(found):
    import jax
    import jax.numpy as jnp

    import jaxmix as jm

    x = jnp.asarray(iris())
    parts = jax.vmap(jm.MultivariateNormal, (0, None))(x[:150:50], jnp.eye(4))
    start = jm.MixtureSameFamily(jnp.ones(3) / 3, parts)
    timed(found, "eager em.run, first", lambda: jm.em.run(start, x))
    timed(found, "eager em.run, again", lambda: jax.block_until_ready(jm.em.run(start, x).model))
    timed(found, "vmap(posterior)", lambda: jax.vmap(start.posterior)(x))


def derivatives(found):
    """Of a fit to wine, 13 columns under three full covariances, in the columns' units."""
    import jax
    import jax.numpy as jnp
    from sklearn.datasets import load_wine

    import jaxmix as jm

    x = load_wine().data
    x = jnp.asarray((x - x.mean(0)) / x.std(0), jnp.float32)
    parts = jax.vmap(jm.MultivariateNormal, (0, None))(x[:178:60], jnp.eye(13))
    start = jm.em.run(jm.MixtureSameFamily(jnp.ones(3) / 3, parts), x, max_steps=200).model
    value = lambda s: jnp.sum(jm.em.solve(start, x * (1 + s)).components.mean ** 2)
    for name, of in (("gradient", jax.grad), ("Hessian", jax.hessian)):
        one = lambda of=of: jax.block_until_ready(of(value)(jnp.zeros(13)))
        timed(found, f"{name} through em.solve, wine", one)


def importance(found):
    import jax
    import jax.numpy as jnp

    import jaxmix as jm

    targets = jax.vmap(jm.Normal, in_axes=(0, None))(jnp.linspace(-2.0, 2.0, 11), 1.0)
    rejects = lambda x: x > 1.96

    def whole():
        pilot = jm.importance.adapt(
            jax.random.key(0), rejects, targets, num_draws=500, num_components=3
        )
        draws = jm.importance.draw(jax.random.key(1), pilot.proposals, 500)
        return jm.imp_est(rejects, targets, draws)

    timed(found, "adapt + draw + imp_est", whole)


def objectives(found):
    import jax
    import jax.numpy as jnp

    import jaxmix as jm

    target = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    guide = lambda mean: lambda x: jm.Normal(mean * x, 1)
    x = jnp.linspace(-1.0, 1.0, 100)
    for name in ("sumo", "iwae", "multilevel"):
        rule = getattr(jm, name)() if name != "iwae" else jm.iwae(num_samples=8)
        value = lambda m, rule=rule: jnp.mean(rule(jax.random.key(0), target, guide(m), x))
        timed(found, f"{name}, value and gradient", lambda v=value: jax.value_and_grad(v)(0.5))


def table(found):
    """120 numeric columns of 2,000 rows."""
    import csv
    from pathlib import Path

    from jaxmix._fit_table import Asked, fit_table

    draw = np.random.default_rng(0)
    x = draw.normal(size=(2000, 120)) + 3 * draw.integers(0, 2, (2000, 1))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "wide.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[f"c{i}" for i in range(120)], *x.round(3)])
        out, asked = path.parent / "out", Asked(range(1, 5))
        timed(found, "a table of 120 columns", lambda: fit_table(path, out, asked))


def command(found, *arguments):
    """The command line, as a process."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as out:
        shell = {**os.environ, "XDG_CACHE_HOME": cache, "MPLBACKEND": "Agg"}
        shell.pop("JAX_COMPILATION_CACHE_DIR", None)
        line = [sys.executable, "-m", "jaxmix", *arguments, "--out", out]
        for state in ("cold", "warm"):
            before = sum(os.times()[2:4])
            wall = time.perf_counter()
            subprocess.run(line, env=shell, check=True, capture_output=True)
            name = f"{'fit penguins.csv' if arguments else 'the tour'}, {state}"
            found[name] = (time.perf_counter() - wall, sum(os.times()[2:4]) - before)


def penguins(found):
    from importlib.resources import files

    command(found, "fit", str(files("jaxmix.datasets") / "penguins.csv"))


def tour(found):
    command(found)


def scikit_learn(found):
    from sklearn.mixture import GaussianMixture

    x = iris()
    one = lambda k, n: GaussianMixture(k, n_init=16, random_state=0).fit(x[:n])
    for name, k, n in (("first fit", 3, 150), ("next N", 3, 149), ("next K", 4, 150)):
        timed(found, f"scikit-learn: {name}", lambda k=k, n=n: one(k, n))
    timed(found, "scikit-learn: K = 1..8", lambda: [one(k, 150) for k in range(1, 9)])


def gmmx(found):
    from gmmx import EMFitter, GaussianMixtureModelJax

    x = iris()

    def one(k, n):
        start = GaussianMixtureModelJax.from_k_means(x[:n], n_components=k)
        return EMFitter(tol=1e-6, max_iter=1000).fit(x=x[:n], gmm=start)

    for name, k, n in (("first fit", 3, 150), ("next N", 3, 149), ("next K", 4, 150)):
        timed(found, f"gmmx: {name}", lambda k=k, n=n: one(k, n))


def dynamax(found):
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import GaussianHMM

    x = jnp.asarray(iris())

    def one(k, n):
        model = GaussianHMM(k, 4)
        params, kinds = model.initialize(jax.random.key(0), method="kmeans", emissions=x[:n])
        return model.fit_em(params, kinds, x[:n], num_iters=50, verbose=False)

    for name, k, n in (("first fit", 3, 150), ("next N", 3, 149), ("next K", 4, 150)):
        timed(found, f"dynamax (chain): {name}", lambda k=k, n=n: one(k, n))


OURS = (
    imports,
    fit,
    many,
    sweep,
    eager,
    derivatives,
    importance,
    objectives,
    table,
    penguins,
    tour,
)
PEERS = (scikit_learn, gmmx, dynamax)
CASES = {case.__name__: case for case in (*OURS, *PEERS)}


def kept_in(cache: str) -> dict[str, str]:
    """The environment of a process that keeps every compiled program in a folder."""
    return {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def alone(case: str, checkout: str | None, cache: str | None) -> dict[str, list[float]]:
    """One case in a process of its own, with this package or another checkout's."""
    shell = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    here = os.getcwd() if checkout is None else checkout
    shell["PYTHONPATH"] = here
    if cache is not None:
        shell |= kept_in(cache)
    line = [sys.executable, os.path.abspath(__file__), "--alone", case]
    done = subprocess.run(line, env=shell, capture_output=True, text=True, check=False)
    if done.returncode:
        return {f"{case}: failed, {done.stderr.strip().splitlines()[-1][:60]}": [np.nan, np.nan]}
    return json.loads(done.stdout.splitlines()[-1])


def medians(case: str, checkout: str | None, runs: int) -> None:
    with tempfile.TemporaryDirectory() as cache:
        for kind in (None, cache) if case == "fit" else (None,):
            if kind is not None:
                alone(case, checkout, kind)  # which fills the cache
            seen = [alone(case, checkout, kind) for _ in range(runs)]
            for name in seen[0]:
                wall, cpu = (
                    statistics.median(run[name][i] for run in seen if name in run) for i in (0, 1)
                )
                label = name + (", cached" if kind is not None else "")
                where = "" if checkout is None else "  (old)"
                print(f"{label:48s} {wall:8.2f} s {cpu:8.2f} CPU-s{where}", flush=True)


def main(arguments=()) -> None:
    arguments = list(arguments)
    runs = int(arguments[arguments.index("--runs") + 1]) if "--runs" in arguments else 5
    old = next((a for a in arguments if os.path.isdir(a)), None)
    wanted = [a for a in arguments if a in CASES] or [
        name for name in CASES if name not in ("gmmx", "dynamax") or find_spec(name)
    ]
    for case in wanted:
        medians(case, None, runs)
        if old is not None and case in [c.__name__ for c in OURS]:
            medians(case, old, runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        found: dict[str, tuple[float, float]] = {}
        with contextlib.redirect_stdout(sys.stderr):
            CASES[sys.argv[2]](found)
        print(json.dumps(found))
    else:
        main(sys.argv[1:])
