"""Rare events and the ribbon: relative error, calls and coverage, against peers in one run.

Every call of the score is counted, the pilot's too (a gradient counts as two calls).

    python -m benchmarks.importance_accuracy [--runs 200] [--peers]
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import jaxmix as jm

from ._importance_problems import four_branch, half_space

# name, score, dimension, exact probability, draws of a level, calls allowed, bar on relative RMSE
PROBLEMS = [
    ("four-branch (5, 9)", four_branch(5.0, 9.0), 2, 7.120360734712e-6, 600, 4000, 0.10),
    ("half-space 6, d 2", half_space(6.0, 2), 2, 9.865876450e-10, 600, 7000, 0.063),
    ("half-space 4.5, d 100", half_space(4.5, 100), 100, 3.397673e-6, 600, 5000, 0.38),
    ("half-space 7, d 10", half_space(7.0, 10), 10, 1.279812544e-12, 600, 7000, None),
]


def one_run(key, score, dim, level, calls, components, gradient):
    """One pilot and one estimate within the calls allowed: value, error, calls."""
    target = jm.DiagonalNormal(jnp.zeros(dim), jnp.ones(dim))
    k_pilot, k_draw = jax.random.split(key)
    pilot = jm.importance.adapt(
        k_pilot,
        None,
        target,
        score=score,
        gradient=gradient,
        num_draws=level,
        num_components=components,
        max_levels=max(1, (calls - 1000) // level),
    )
    left = calls - pilot.calls
    if left < 100:
        return np.nan, np.nan, pilot.calls
    # One shape for all runs: the defensive count is fixed, the rest is shared out.
    last = left // 20
    counts = np.append(jm.importance.allocate(pilot.weights[:-1], left - last, at_least=2), last)
    draws = jm.importance.draw(k_draw, pilot.proposals, counts)
    estimate = jm.imp_est(lambda x: score(x) > 0, target, draws)
    return float(estimate.value), float(estimate.std_error), pilot.calls + left


def report(name, values, errors, calls, exact, bar, seconds):
    values, errors = np.array(values), np.array(errors)
    rmse = np.sqrt(np.mean((values / exact - 1) ** 2))
    covered = np.mean(np.abs(values - exact) <= 1.96 * errors)
    said = np.sqrt(np.mean((errors / exact) ** 2))
    print(
        f"{name:34s} runs {len(values):4d}  mean/true {np.mean(values) / exact:6.3f}  "
        f"relRMSE {rmse:6.3f} (bar {bar})  reported {said:6.3f}  cover {covered:5.3f}  "
        f"calls {np.max(calls):5.0f}  {seconds / len(values):5.2f} s a run",
        flush=True,
    )


def rare_events(runs):
    for name, score, dim, exact, level, calls, bar in PROBLEMS:
        for gradient in (None, False):
            if gradient is False and dim == 100:
                level, components = 1000, 1
            else:
                components = 4 if "branch" in name else (2 if dim < 50 else 1)
            keys = jax.random.split(jax.random.key(2024), runs)
            start = time.perf_counter()
            out = [one_run(k, score, dim, level, calls, components, gradient) for k in keys]
            seconds = time.perf_counter() - start
            label = f"{name}, {'scores only' if gradient is False else 'gradient'}"
            report(label, *map(list, zip(*out, strict=True)), exact, bar, seconds)


THETAS = jnp.linspace(-2.0, 2.0, 11)[1:]  # ten targets, as in the reference figures
CENTRES = jnp.array([2.15110038, 3.52505375, 4.34462706, 2.5527284, 2.99012636])


def normals(means):
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)


def ribbon(runs):
    """15,000 draws from the source's 15 proposals, against 1,000 plain draws a target."""
    exact = norm.sf(1.96 - THETAS)
    plain = exact * (1 - exact) / 1000
    proposals = normals(jnp.concatenate([THETAS, CENTRES]))
    for label, controls in [("pooled", False), ("pooled, control variates", True)]:

        @jax.jit
        def run(key, controls=controls):
            draws = jm.importance.draw(key, proposals, 1000)
            estimate = jm.imp_est(
                lambda x: x > 1.96, normals(THETAS), draws, control_variates=controls
            )
            return estimate.value, estimate.std_error

        keys = jax.random.split(jax.random.key(7), runs)
        value, error = jax.lax.map(run, keys)
        cover = jnp.mean(jnp.abs(value - exact[None]) <= 1.96 * error)
        said = jnp.exp(jnp.mean(jnp.log(plain[None] / jnp.mean(error**2, 0, keepdims=True))))
        seen = jnp.exp(jnp.mean(jnp.log(plain / jnp.mean((value - exact[None]) ** 2, 0))))
        print(
            f"ribbon, {label:28s} runs {runs}  efficiency observed {seen:6.1f}  by its own "
            f"errors {said:6.1f}  cover {cover:5.3f}",
            flush=True,
        )
    draw_key, pilot_key = jax.random.split(jax.random.key(8))
    pilot = jm.importance.adapt(
        pilot_key, lambda x: x > 1.96, normals(THETAS), num_draws=1000, num_components=5
    )
    counts = jm.importance.allocate(pilot.weights, 15_000, at_least=2)
    draws = jm.importance.draw(draw_key, pilot.proposals, counts)
    for label, controls in [("adapted", False), ("adapted, targets as controls", normals(THETAS))]:
        estimate = jm.imp_est(lambda x: x > 1.96, normals(THETAS), draws, control_variates=controls)
        gain = jnp.exp(jnp.mean(jnp.log(plain / estimate.std_error**2)))
        z = jnp.max(jnp.abs(estimate.value - exact) / estimate.std_error)
        print(f"ribbon, {label:28s} efficiency by its own errors {gain:6.1f}  largest |z| {z:4.2f}")


def openturns_peers(runs):
    import openturns as ot

    ot.Log.Show(ot.Log.NONE)
    for (b, k), exact in [((5.0, 9.0), 7.120360734712e-6)]:
        g = ot.SymbolicFunction(
            ["x1", "x2"],
            [
                f"min({b}+0.1*(x1-x2)^2-(x1+x2)/sqrt(2), {b}+0.1*(x1-x2)^2+(x1+x2)/sqrt(2), "
                f"(x1-x2)+{k}/sqrt(2), (x2-x1)+{k}/sqrt(2))"
            ],
        )
        out = []
        for seed in range(runs):
            ot.RandomGenerator.SetSeed(seed)
            event = ot.ThresholdEvent(
                ot.CompositeRandomVector(g, ot.RandomVector(ot.Normal(2))), ot.Less(), 0.0
            )
            algo = ot.NAIS(event, 0.1)
            algo.setMaximumOuterSampling(1000)
            algo.setBlockSize(1)
            before = g.getEvaluationCallsNumber()
            algo.run()
            result = algo.getResult()
            p = result.getProbabilityEstimate()
            cost = g.getEvaluationCallsNumber() - before
            out.append((p, result.getCoefficientOfVariation() * p, cost))
        report(
            "OpenTURNS NAIS, four-branch (5, 9)", *map(list, zip(*out, strict=True)), exact, "-", 0
        )


def pymbar_peer():
    import pymbar

    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        stiff, counts = np.array([1.0, 2, 4, 8, 16]), np.full(5, 1000)
        centre = np.arange(5.0)
        x = np.concatenate(
            [rng.normal(c, s**-0.5, n) for c, s, n in zip(centre, stiff, counts, strict=True)]
        )
        energies = 0.5 * stiff[:, None] * (x[None] - centre[:, None]) ** 2
        start = time.perf_counter()
        peer = pymbar.MBAR(energies, counts, solver_protocol="robust")
        theirs = peer.compute_free_energy_differences()
        middle = time.perf_counter()
        ours = jm.importance.normalising_constants(jnp.asarray(-energies.T), jnp.asarray(counts))
        ours.log_z.block_until_ready()
        end = time.perf_counter()
        gap = np.abs(np.asarray(ours.log_z) + theirs["Delta_f"][0]).max()
        spread = np.abs(np.asarray(ours.std_error) - theirs["dDelta_f"][0]).max()
        print(
            f"pymbar, oscillators: free energies differ by {gap:.1e}, errors by {spread:.1e}; "
            f"{middle - start:.2f} s there, {end - middle:.2f} s here with compiling"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", default="ribbon,rare,peers")
    args = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32")
    if "ribbon" in args.only:
        ribbon(max(200, args.runs))
    if "rare" in args.only:
        rare_events(args.runs)
    if "peers" in args.only:
        pymbar_peer()
        openturns_peers(min(args.runs, 50))
