"""Rare events and the ribbon: relative error, calls and coverage, against peers in the same run.

Every call of the score is counted, the pilot's too (a gradient counts as two). OpenTURNS runs its
own best algorithms on the same events where it is installed, and pypmc the example of its
documentation, the mass of two narrow modes. The ribbon is compared
with plain Monte Carlo of 1,000 draws a target.

    python -m benchmarks.importance.accuracy [--runs 200] [--only ribbon,peers,rare,modes,gradient]
"""

import argparse
import copy
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import jaxmix as jm

from ._problems import CENTRES, RARE, THETAS, RareEvent, normals

LEVEL = 600  # draws of a level
LAST = 1000  # calls that are kept for the estimate


def one_run(key, event: RareEvent, components: int, gradient: bool | None):
    """One pilot and one estimate within the calls allowed: value, error, calls, called out."""
    target = jm.DiagonalNormal(jnp.zeros(event.dim), jnp.ones(event.dim))
    k_pilot, k_draw = jax.random.split(key)
    pilot = jm.importance.adapt(
        k_pilot,
        None,
        target,
        score=event.score,
        gradient=gradient,
        num_draws=LEVEL,
        num_components=components,
        max_levels=(event.calls - LAST) // LEVEL,
    )
    left = event.calls - pilot.calls
    # One shape for all runs: the defensive count is fixed, the rest is shared out.
    last = left // 20
    counts = np.append(jm.importance.allocate(pilot.weights[:-1], left - last, at_least=2), last)
    draws = jm.importance.draw(k_draw, pilot.proposals, counts)
    out = jm.imp_est(lambda x: event.score(x) > 0, target, draws)
    return float(out.value), float(out.std_error), event.calls, bool(out.problems())


def report(label, rows, event: RareEvent, seconds):
    values, errors, calls, called_out = map(np.array, zip(*rows, strict=True))
    rmse = np.sqrt(np.mean((values / event.exact - 1) ** 2))
    covered = np.abs(values - event.exact) <= 1.96 * errors
    said = np.sqrt(np.mean((errors / event.exact) ** 2))
    unsaid = f", of the {np.sum(~called_out)} not called out {covered[~called_out].mean():5.3f}"
    print(
        f"{event.name + ', ' + label:46s} runs {len(rows):4d}  mean/true "
        f"{np.mean(values) / event.exact:6.3f}  rel RMSE {rmse:6.3f} (bar {event.bar:.3g})  "
        f"reported {said:6.3f}  cover {covered.mean():5.3f}{unsaid if called_out.any() else ''}  "
        f"calls {np.mean(calls):5.0f}  {seconds / len(rows):5.2f} s a run",
        flush=True,
    )
    return rmse


def rare_events(runs, seed, gradient=None):
    """By the defaults; with `gradient` the other way about, and of the first components only."""
    for number, event in enumerate(RARE):
        other = event.dim < 50
        for components in event.components[: 1 if gradient else None]:
            keys = jax.random.split(jax.random.key(1000 * seed + number), runs)
            start = time.perf_counter()
            rows = [one_run(key, event, components, other if gradient else None) for key in keys]
            way = "gradient" if other == bool(gradient) else "levels"
            label = f"{components} components, {way}"
            report(label, rows, event, time.perf_counter() - start)


MODES = {
    "weights": (0.3, 0.7),
    "means": ([5.0, 0.01], [-4.0, 1.0]),
    "scatters": ([[0.01, 0.003], [0.003, 0.0025]], [[0.1, 0.0], [0.0, 0.02]]),
}
STARTS = ([4.0, 0.0], [-5.0, 0.0], [0.0, 0.0])  # of three unit normals


def modes(runs, peer_runs, seed):
    """The mass of two modes far narrower than the start, 10,000 draws, each of which counts.

    The start says nothing of the modes' scale, so that nothing is shrunk towards it.
    """
    event = RareEvent("two modes", lambda x: x, 2, 1.0, 10_000, float("nan"), ())
    event = event._replace(bar=pypmc_modes(peer_runs, seed, event))
    family = lambda means, scatters: jax.vmap(jm.MultivariateNormal)(
        jnp.array(means), jnp.array(scatters)
    )
    target = jm.MixtureSameFamily(
        jnp.array(MODES["weights"]), family(MODES["means"], MODES["scatters"])
    )
    start = jm.MixtureSameFamily(jnp.ones(3) / 3, family(STARTS, [np.eye(2)] * 3))
    rows, began = [], time.perf_counter()
    for key in jax.random.split(jax.random.key(1000 * seed + 20), runs):
        draws = jm.importance.amis(
            key, None, target, num_draws=event.calls // 4, num_rounds=4, num_components=2,
            start=start, shrinkage=0.0,
        ).draws  # fmt: skip
        out = jm.imp_est(lambda x: jnp.ones(()), target, draws)
        called_out = bool(out.problems())
        rows.append((float(out.value), float(out.std_error), draws.num_draws, called_out))
    report("amis, 4 rounds, 2 components", rows, event, time.perf_counter() - began)


def pypmc_modes(runs, seed, event: RareEvent):
    """Its own example, rounds of 1,000 draws, all combined: the relative RMSE.

    A run that loses every component ends in an error of its own: the rounds before it count.
    """
    try:
        import pypmc
    except ImportError:
        print("pypmc is not installed: no peer.")
        return float("nan")
    mixture, sampling = pypmc.density.mixture, pypmc.sampler.importance_sampling
    target = mixture.create_gaussian_mixture(MODES["means"], MODES["scatters"], MODES["weights"])
    rows, broken, began = [], 0, time.perf_counter()
    for number in range(runs):
        np.random.seed(1000 * seed + number)
        parts = [pypmc.density.gauss.Gauss(np.array(mean), np.eye(2)) for mean in STARTS]
        sampler = sampling.ImportanceSampler(target.evaluate, mixture.MixtureDensity(parts))
        used, samples, weights = [], [], []
        for _ in range(event.calls // 1000):
            proposal = copy.deepcopy(sampler.proposal)
            try:
                origins = sampler.run(1000, trace_sort=True)
            except ValueError:
                broken += 1
                break
            used.append(proposal)
            samples.append(sampler.samples[-1])
            weights.append(sampler.weights[-1][:, 0])
            pypmc.mix_adapt.pmc.gaussian_pmc(
                samples[-1], sampler.proposal, weights[-1], origins,
                mincount=20, rb=False, copy=False,
            )  # fmt: skip
        w = sampling.combine_weights(samples, weights, used)[:][:, 0]
        rows.append((w.mean(), w.std(ddof=1) / len(w) ** 0.5, len(w), False))
    return report(f"pypmc, {broken} broken off", rows, event, time.perf_counter() - began)


def gain(plain, squares):
    """Plain variance over mean squares (runs, targets), in the geometric mean; its standard error.

    The error is that of a bootstrap over the runs.
    """
    plain, squares = np.asarray(plain, float), np.asarray(squares, float)
    ratio = lambda mean: np.exp(np.mean(np.log(plain / mean), -1))
    rows = np.random.default_rng(0).integers(0, len(squares), (2000, len(squares)))
    return ratio(squares.mean(0)), np.std(ratio(squares[rows].mean(1)), ddof=1)


def ribbon(runs, seed):
    """15,000 draws a run, against 1,000 plain draws a target, in the geometric mean over targets.

    From the source's 15 proposals, 1,000 draws each, the best coefficients of control variates
    would give 327.8; then from a pilot of 1,000 draws (one for all runs), 14,000 left to the run.
    """
    exact = norm.sf(1.96 - THETAS)
    plain = exact * (1 - exact) / 1000
    targets = normals(THETAS)
    theirs = normals(jnp.concatenate([THETAS, CENTRES]))
    pilot = jm.importance.adapt(
        jax.random.key(1000 * seed + 11),
        lambda x: x > 1.96,
        targets,
        num_draws=100,
        num_components=5,
    )
    shared = jm.importance.allocate(pilot.weights, 14_000, at_least=2)
    for label, proposals, counts, controls, bar in (
        ("source's proposals, pooled", theirs, 1000, False, 119),
        ("the same, control variates", theirs, 1000, True, 328),
        ("pilot, pooled", pilot.proposals, shared, False, 119),
        ("pilot, targets as controls", pilot.proposals, shared, targets, 328),
    ):

        @jax.jit
        def run(keys, proposals=proposals, counts=counts, controls=controls):
            def one(key):
                draws = jm.importance.draw(key, proposals, counts)
                out = jm.imp_est(lambda x: x > 1.96, targets, draws, control_variates=controls)
                return out.value, out.std_error

            return jax.lax.map(one, keys)

        value, error = run(jax.random.split(jax.random.key(1000 * seed + 10), runs))
        cover = jnp.mean(jnp.abs(value - exact) <= 1.96 * error)
        said, seen = gain(plain, error**2), gain(plain, (value - exact) ** 2)
        print(
            f"ribbon, {label:26s} runs {runs}  efficiency (bar {bar}): by its errors "
            f"{said[0]:6.1f} +- {said[1]:.1f}, observed {seen[0]:6.1f} +- {seen[1]:.1f}  "
            f"cover {cover:5.3f}",
            flush=True,
        )


def openturns(runs):
    """Adaptive importance sampling in two dimensions, subset sampling and FORM in a hundred."""
    try:
        import openturns as ot
    except ImportError:
        print("OpenTURNS is not installed: no peer.")
        return
    ot.Log.Show(ot.Log.NONE)
    total = "+".join(f"x{i + 1}" for i in range(100))
    branches = (
        "min(5+0.1*(x1-x2)^2-(x1+x2)/sqrt(2), 5+0.1*(x1-x2)^2+(x1+x2)/sqrt(2), "
        "(x1-x2)+9/sqrt(2), (x2-x1)+9/sqrt(2))"
    )
    cases = (
        (RARE[0], "NAIS", branches),
        (RARE[1], "NAIS", "6-(x1+x2)/sqrt(2)"),
        (RARE[2], "SubsetSampling", f"4.5-({total})/10"),
    )
    for event, name, formula in cases:
        score = ot.SymbolicFunction([f"x{i + 1}" for i in range(event.dim)], [formula])
        rows, start = [], time.perf_counter()
        for seed in range(runs):
            ot.RandomGenerator.SetSeed(seed)
            vector = ot.CompositeRandomVector(score, ot.RandomVector(ot.Normal(event.dim)))
            failed = ot.ThresholdEvent(vector, ot.Less(), 0.0)
            algorithm = ot.NAIS(failed, 0.1) if name == "NAIS" else ot.SubsetSampling(failed)
            algorithm.setMaximumOuterSampling(1000)
            algorithm.setBlockSize(1)
            before = score.getEvaluationCallsNumber()
            algorithm.run()
            result = algorithm.getResult()
            value = result.getProbabilityEstimate()
            error = result.getCoefficientOfVariation() * value
            rows.append((value, error, score.getEvaluationCallsNumber() - before, False))
        report(f"OpenTURNS {name}", rows, event, time.perf_counter() - start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--peer-runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="ribbon,peers,modes,rare")
    args = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float32, seed {args.seed}")
    if "ribbon" in args.only:
        ribbon(max(200, args.runs), args.seed)
    if "peers" in args.only:
        openturns(args.peer_runs)
    if "modes" in args.only:
        modes(args.runs, args.peer_runs, args.seed)
    if "rare" in args.only:
        rare_events(args.runs, args.seed)
    if "gradient" in args.only:
        rare_events(args.runs, args.seed, gradient=True)
