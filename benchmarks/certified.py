"""Certified bounds over regions beside the truth and beside plain draws on a grid of cells.

Each row: the mean of five certificates (delta = .01) at a number of draws, proposals placed and bets
fixed by pilots; the plain-grid tilt bound (Clopper-Pearson at each cell's centre, Hoelder over the
cell) of as many draws; the truth. Then a rare event with declared support, how often a bound at
delta = .2 is too low, calibrated thresholds, and the time of 1e6 draws at 289 vertices.

    python -m benchmarks.certified [--only table,rare,coverage,calibration,speed] [--seeds 5]
"""

import argparse
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import jaxmix as jm

from ._certified_problems import Problem, any_of, drop_the_loser, fisher, obrien_fleming

imp = jm.importance
DELTA, PILOT = 0.01, 20_000
normals = lambda means: jax.vmap(jm.Normal, (0, None))(jnp.asarray(means), 1.0)


def certified(problem: Problem, seed: int):
    k_place, k_pilot, k_draws = jax.random.split(jax.random.key(seed), 3)
    placed = imp.place(k_place, problem.f, problem.grid, num_draws=PILOT)
    pilot, draws = (
        imp.draw(key, placed.proposals, imp.allocate(placed.weights, n))
        for key, n in ((k_pilot, PILOT), (k_draws, problem.draws))
    )
    return imp.certify(
        problem.f, problem.grid, draws, delta=DELTA, pilot=pilot, seen=problem.seen, progress=False
    )


def plain_grid(problem: Problem, seed: int) -> float:
    """The largest tilt bound over cells, plain draws shared evenly among them."""
    low, high = problem.ends
    edges = np.linspace(low, high, problem.cells + 1)
    half = 0.5 * (edges[1] - edges[0])
    centres = list(itertools.product(edges[:-1] + half, repeat=problem.axes))
    if problem.name.startswith("Fisher"):
        centres = [c for c in centres if c[0] <= c[1] + 1e-9]
    each = problem.draws // len(centres)
    rng = np.random.default_rng(seed)
    rates = np.array([problem.exact(c) for c in centres])
    hits = rng.binomial(each, rates)
    limits = st.beta.ppf(1 - DELTA, hits + 1, each - hits)
    worst = 0.0
    for i in np.argsort(-limits)[:4]:
        corners = [
            np.add(centres[i], s) for s in itertools.product((-half, half), repeat=problem.axes)
        ]
        with jax.enable_x64(True):
            stack = jax.vmap(problem.centre)(jnp.asarray(corners))
            centre = problem.centre(jnp.asarray(centres[i]))
            worst = max(worst, imp.tilt_bound(float(limits[i]), centre, stack))
    return worst


def table(seeds: int) -> None:
    problems = [
        any_of(1, 409_600, 17, 0.0255, 8), any_of(2, 1_000_000, 9, 0.0500, 8),
        any_of(3, 4_000_000, 5, 0.0738, 6), drop_the_loser(), fisher(), obrien_fleming(),
    ]  # fmt: skip
    print(f"{'':30}{'draws':>10} {'truth':>8} {'certified':>10} {'sd':>8} {'expected':>9} "
          f"{'at most':>8} {'plain grid':>11} {'CPU s':>6}")  # fmt: skip
    for problem in problems:
        tops, expected, busy = [], [], time.process_time()
        for seed in range(seeds):
            certificate = certified(problem, seed)
            tops.append(float(certificate.supremum))
            slack = certificate.vertex_upper - certificate.value
            expected.append(problem.truth + slack.ravel()[certificate.value.argmax()])
        busy = (time.process_time() - busy) / seeds
        plain = np.mean([plain_grid(problem, seed) for seed in range(seeds)])
        print(f"{problem.name:30}{problem.draws:>10,} {problem.truth:8.5f} {np.mean(tops):10.5f} "
              f"{np.std(tops):8.5f} {np.mean(expected):9.5f} {problem.at_most:8.4f} {plain:11.5f} "
              f"{busy:6.1f}", flush=True)  # fmt: skip


def rare(seeds: int) -> None:
    print("P(x > 1.96), f = 0 below 1.5 declared, 10,000 draws: bound / truth over 20 seeds")
    for theta in (-1.0, -2.0, -3.0):
        truth, proposals = st.norm.sf(1.96 - theta), normals([theta, 2.2])
        ratios = []
        for seed in range(20):
            k_pilot, k_draws = jax.random.split(jax.random.key(seed))
            pilot = imp.draw(k_pilot, proposals, np.array([100, 900]))
            draws = imp.draw(k_draws, proposals, np.array([1000, 9000]))
            found = imp.certify(
                lambda x: x > 1.96, jm.Normal(theta, 1.0), draws, delta=DELTA, pilot=pilot,
                bound=imp.Box(1.5),
            )  # fmt: skip
            ratios.append(float(found.supremum) / truth)
        print(f"  f = {truth:.2g}: {np.mean(ratios):.3f} (sd {np.std(ratios):.3f} a seed)")


def coverage(runs: int = 2000) -> None:
    print(f"Share of {runs} bounds below the truth at delta = .2, 4,000 draws (at most .10 wanted)")
    bump = lambda x: jnp.abs(x + 0.5) < 0.3
    two = lambda a, b: jm.Composite((jm.Normal(a, 1.0), jm.Normal(b, 1.0)))
    square = jax.vmap(jax.vmap(two, (None, 0)), (0, None))(
        jnp.array([-1.0, 0.0]), jnp.array([-1.0, 0.0])
    )
    spread = jax.vmap(lambda m: two(m[0], m[1]))(
        jnp.array([[-1.2, -1.2], [-1.2, 0.2], [0.2, -1.2], [0.2, 0.2], [2.2, -0.4], [-0.4, 2.2]])
    )
    either = lambda x: (x[0] > 1.96) | (x[1] > 1.96)
    z_truth = st.norm.sf(1.96)
    problems = {
        "bump inside one cell": (
            bump, normals([-1.0, 0.0]), normals([-1.2, 0.2]), 2 * st.norm.cdf(0.3) - 1,
        ),
        "z test": (
            lambda x: x > 1.96, normals(np.linspace(-1, 0, 5)), normals([-1.2, -0.4, 0.2, 2.2]),
            z_truth,
        ),
        "any of two": (either, square, spread, 1 - (1 - z_truth) ** 2),
    }  # fmt: skip
    for name, (f, grid, proposals, truth) in problems.items():
        size = 2 if name.startswith("bump") else len(np.ravel(jax.tree.leaves(proposals)[0]))
        missed = dict.fromkeys(("fixed counts", "random labels", "normal interval", "no gap"), 0)
        pilot = imp.draw(jax.random.key(10**6), proposals, 1000)
        for seed in range(runs):
            key = jax.random.key(seed)
            draws = imp.draw(key, proposals, 4000 // size)
            options = {"delta": 0.2, "progress": False}
            found = imp.certify(f, grid, draws, pilot=pilot, **options)
            missed["fixed counts"] += found.supremum < truth
            missed["no gap"] += found.vertex_upper.max() < truth
            if seed % 2 == 0:  # half as many
                found = imp.certify(
                    f, grid, imp.draw_labelled(key, proposals, 4000), pilot=pilot, **options
                )
                missed["random labels"] += 2 * (found.supremum < truth)
                found = imp.certify(f, grid, draws, method="normal", **options)
                missed["normal interval"] += 2 * (found.supremum < truth)
        print(
            f"  {name:22}", ", ".join(f"{k} {v / runs:.3f}" for k, v in missed.items()), flush=True
        )


def calibration(runs: int = 200) -> None:
    print(f"Error at 0 of thresholds calibrated at .025 over [-1, 0], 64,000 draws, {runs} runs")
    proposals, grid = normals([-1.2, -0.4, 0.2, 2.2]), normals(np.linspace(-1, 0, 9))
    mean, sure = [], []
    pilot = imp.draw(jax.random.key(10**6), proposals, 1000)
    for seed in range(runs):
        draws = imp.draw_labelled(jax.random.key(seed), proposals, 64_000)
        mean.append(st.norm.sf(imp.calibrate(lambda x: x, grid, draws, alpha=0.025).value))
        draws = imp.draw(jax.random.key(seed), proposals, 16_000)
        found = imp.calibrate(lambda x: x, grid, draws, alpha=0.025, delta=0.05, pilot=pilot)
        sure.append(st.norm.sf(found.value))
    print(f"  in expectation: mean {np.mean(mean):.5f} (sd {np.std(mean):.5f})")
    print(f"  with probability .95: mean {np.mean(sure):.5f} (sd {np.std(sure):.5f}), above .025 in "
          f"{np.sum(np.array(sure) > 0.025)} of {runs}")  # fmt: skip


def speed() -> None:
    problem = any_of(2, 1_000_000, 17, 0.05, 8)
    placed = imp.place(jax.random.key(0), problem.f, problem.grid)
    pilot, draws = (
        imp.draw(jax.random.key(k), placed.proposals, imp.allocate(placed.weights, n))
        for k, n in ((1, PILOT), (2, problem.draws))
    )
    for what in ("with compiling", "again"):
        busy, start = time.process_time(), time.perf_counter()
        imp.certify(problem.f, problem.grid, draws, delta=DELTA, pilot=pilot)
        print(f"1e6 draws, 289 vertices, {what}: {time.process_time() - busy:.2f} s of the processor, "
              f"{time.perf_counter() - start:.2f} s")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="table,rare,coverage,calibration,speed")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    sections = {
        "table": lambda: table(options.seeds), "rare": lambda: rare(20), "coverage": coverage,
        "calibration": calibration, "speed": speed,
    }  # fmt: skip
    for section in options.only.split(","):
        sections[section]()
