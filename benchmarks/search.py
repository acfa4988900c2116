"""Claim: the default `jm.fit` ends no lower than 16 starts of scikit-learn, in a third of the time.

    python -m benchmarks search
    python -m benchmarks.search [OLD] [PROBLEM ...] [ROWS ...] [--keys N]
    python -m benchmarks.search optima [OLD] [PROBLEM ...] [--keys N]

1,000 to 1,000,000 rows of four problems: eight full-covariance components in eight columns, far
apart, overlapping, and with one of 1 % among large ones ("overlapping diag" fits other covariances
to them, 'tied' and 'spherical' too); and records of four fields under four
components, which scikit-learn has no model of. OLD is a path to another checkout, whose `jm.fit`
runs in the same way. Optima are compared before times: the mean over keys, in nats a row. Times are
of warm calls, the median over keys; `cpu` counts both cores. Every line is a process of its own.
Above 5,000 rows scikit-learn makes one start, whose time is multiplied by 16.

`optima`: of real data and of the composite records of `records.optimum`, over 24 keys, the share of
starts that end at the best optimum known (within 0.001 nats a datum of the best of all these runs,
every start run to its end), and the best of 16 by the default call; standard errors are over keys.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

DIM, COMPONENTS, STARTS = 8, 8, 16
PROBLEMS = ("apart", "overlapping", "tiny", "records")
ROWS = (1_000, 5_000, 20_000, 100_000, 1_000_000)
WHOLE = 5_000  # rows up to which scikit-learn makes every start
OPTIMA = (
    *(f"iris {kind} {size}" for kind in ("full", "tied", "diag", "spherical") for size in (3, 4)),
    "wine full 3", "wine diag 3", "digits full 10", "composite",
)  # fmt: skip
HERE = Path(__file__).parent.parent
CLOSE = 1e-3  # nats a datum


def vectors(problem, rows):
    """Rows of eight normal components with covariances of their own."""
    rng = np.random.default_rng(3)
    far = {"apart": 3.0, "overlapping": 0.6, "tiny": 1.5}[problem]
    centres = far * rng.normal(size=(COMPONENTS, DIM))
    shapes = rng.normal(size=(COMPONENTS, DIM, DIM)) / DIM**0.5 + 0.3 * np.eye(DIM)
    weights = np.full(COMPONENTS, 1 / COMPONENTS)
    if problem == "tiny":
        weights = np.array([0.01, *np.full(COMPONENTS - 1, 0.99 / (COMPONENTS - 1))])
    label = rng.choice(COMPONENTS, rows, p=weights)
    x = np.empty((rows, DIM))
    for k in range(COMPONENTS):
        mine = label == k
        x[mine] = centres[k] + rng.normal(size=(int(mine.sum()), DIM)) @ shapes[k].T
    return x.astype(np.float32)


def fields(rows):
    """A number, a count, a label of six and a number that may be missing, of four components."""
    rng = np.random.default_rng(3)
    label = rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
    number = rng.normal(np.array([-2.0, 0, 1, 3])[label], 1).astype(np.float32)
    count = rng.poisson(np.array([1.0, 4, 4, 9])[label]).astype(np.int32)
    odds = rng.dirichlet(np.ones(6), 4)
    kind = (rng.uniform(size=(rows, 1)) > odds.cumsum(1)[label][:, :-1]).sum(1).astype(np.int32)
    size = rng.gamma(2.0, np.array([1.0, 3, 1, 3])[label]).astype(np.float32)
    return number, count, kind, np.where(rng.uniform(size=rows) < 0.2, np.nan, size)


def ours(problem, rows, keys):
    """Levels and times of the default call, after one call that compiles."""
    import jax
    import jax.numpy as jnp

    import jaxmix as jm

    if problem == "records":
        number, count, kind, size = fields(rows)
        one = jm.Composite(
            (
                jm.Normal.template(), jm.Poisson.template(), jm.Categorical.template(6),
                jm.Optional(jm.LogNormal.template(), 0.5),
            )
        )  # fmt: skip
        template = jm.mixture_of(one, 4)
        missing = np.isnan(size)
        held = jm.OptionalEvent(
            jnp.asarray(np.where(missing, 1, size), jnp.float32), jnp.asarray(~missing)
        )
        data = (jnp.asarray(number), jnp.asarray(count), jnp.asarray(kind), held)
    else:
        problem, _, kind = problem.partition(" ")
        template = jm.gaussian_mixture(COMPONENTS, DIM, covariance=kind or "full")
        data = jnp.asarray(vectors(problem, rows))
    call = lambda key: jm.fit(jax.random.key(key), template, data, progress=False)
    return measured(lambda key: float(call(key).log_likelihood) / rows, keys)


def known(problem):
    """Template and data of a problem of `optima`; digits are eight principal components."""
    import jax.numpy as jnp

    import jaxmix as jm

    if problem == "composite":
        from benchmarks.records import optimum as records

        return records.composite_template(), records.events(records.composite_truth(), 100, 1000)
    from sklearn import datasets
    from sklearn.decomposition import PCA

    name, covariance, size = problem.split()
    x = getattr(datasets, f"load_{name}")().data
    if name != "iris":
        x = PCA(8, random_state=0).fit_transform(x) if name == "digits" else x / x.std(0)
    x = jnp.asarray(x, jnp.float32)
    return jm.gaussian_mixture(int(size), x.shape[1], covariance=covariance), x


def ends(problem, rows, keys):
    """For each key the level of the default call, and those at which all its starts end."""
    import jax

    import jaxmix as jm

    del rows
    template, data = known(problem)
    many = jax.tree.leaves(data)[0].shape[0]
    default, every = [], []
    for key in range(keys):
        call = functools.partial(jm.fit, jax.random.key(key), template, data, progress=False)
        fit = call()
        default.append(float(fit.log_likelihood) / many)
        table = fit.restarts
        if any(result.startswith(("dropped", "twin")) for result in table.result):
            table = call(validation=data).restarts  # by which none is left before its end
        sound = [result not in ("degenerate", "nonfinite") for result in table.result]
        every.append(np.where(sound, table.log_likelihood / many, -np.inf).tolist())
    return default, every


def compare_optima(problems, folders, keys):
    """Print the table of `optima`; the number of lines on which this checkout is the lower one."""
    print(f"{'problem':>16} {'who':>7} {'at the best':>17} {'best of 16, nats a datum':>27}")
    lower = 0
    for problem in problems:
        found = {who: asked("ends", problem, 0, keys, folder) for who, folder in folders.items()}
        top = max(max(default) for default, _ in found.values())
        figures = {}
        for who, (default, every) in found.items():
            shares = [sum(level > top - CLOSE for level in one) / STARTS for one in every]
            figures[who] = tables = np.array([shares, default])
            error = tables.std(1, ddof=1) / keys**0.5
            print(
                f"{problem:>16} {who:>7} {np.mean(shares):9.3f} +- {error[0]:.3f} "
                f"{np.mean(default):18.4f} +- {error[1]:.4f}", flush=True,
            )  # fmt: skip
        if "old" in figures:
            apart = figures["jaxmix"] - figures["old"]
            error = sum(one.var(1, ddof=1) for one in figures.values()) / keys
            lower += int((apart.mean(1) < -2 * np.sqrt(error) - 1e-6).any())
    return lower


def theirs(problem, rows, keys):
    """The same of scikit-learn."""
    from sklearn.mixture import GaussianMixture

    problem, _, kind = problem.partition(" ")
    x, starts = vectors(problem, rows), STARTS if rows <= WHOLE else 1
    options = {"covariance_type": kind or "full", "n_init": starts}

    def call(key):
        return GaussianMixture(COMPONENTS, **options, random_state=key).fit(x).score(x)

    levels, walls, cpus = measured(call, keys, warm=False)
    return levels, *([STARTS / starts * t for t in times] for times in (walls, cpus))


def measured(call, keys, warm=True):
    """Levels, seconds of wall clock and seconds of all cores, one a key."""
    levels, walls, cpus = [], [], []
    for key in range(-1 if warm else 0, keys):
        wall, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            level = call(max(key, 0) if key >= 0 else keys)
        if key >= 0:
            levels.append(level)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return levels, walls, cpus


def asked(who, problem, rows, keys, folder):
    """One line's figures, from a process of its own in a checkout."""
    # -P: what lies beside this file is no module of its own.
    command = [sys.executable, "-P", __file__, "--one", who, problem, str(rows), str(keys)]
    path = os.pathsep.join(map(str, (folder, HERE)))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main(words) -> int:
    """Print the table; the number of lines in which `jm.fit` ends lower."""
    if words[:1] == ["--one"]:
        who, problem, rows, keys = words[1:]
        one = {"theirs": theirs, "ends": ends}.get(who, ours)
        print(json.dumps(one(problem, int(rows), int(keys))))
        return 0
    keys = 24 if "optima" in words else 3
    if "--keys" in words:
        at = words.index("--keys")
        keys, words = int(words[at + 1]), words[:at] + words[at + 2 :]

    old = next((Path(word).resolve() for word in words if Path(word).is_dir()), None)
    if "optima" in words:
        chosen = [p for p in OPTIMA if p in words] or OPTIMA
        return compare_optima(chosen, {"jaxmix": HERE} | ({"old": old} if old else {}), keys)
    problems = [word for word in words if word.split()[0] in PROBLEMS] or PROBLEMS
    sizes = [int(word) for word in words if word.isdigit()] or ROWS
    print(f"{'problem':>21} {'rows':>9} {'who':>13} {'nats a row':>11} {'s':>8} {'cpu s':>8}")
    lower = 0
    for problem in problems:
        for rows in sizes:
            # Few keys where a call lasts.
            many = keys if rows <= 20_000 else 1
            folders = {"jaxmix": HERE} | ({"old": old} if old else {})
            folders |= {} if problem == "records" else {"theirs": HERE}
            mine = None
            for who, folder in folders.items():
                levels, walls, cpus = asked(who, problem, rows, many, folder)
                level = statistics.fmean(levels)
                mine = level if mine is None else mine
                lower += level > mine + 1e-3
                name = {"theirs": "scikit-learn"}.get(who, who)
                print(
                    f"{problem:>21} {rows:>9,} {name:>13} {level:11.4f} "
                    f"{statistics.median(walls):8.2f} {statistics.median(cpus):8.2f}"
                    + ("  higher than jm.fit" if level > mine + 1e-3 else ""),
                    flush=True,
                )
    return lower


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
