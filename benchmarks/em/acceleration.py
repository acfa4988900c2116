"""Claim: acceleration cuts the passes over the data that EM needs, and seldom ends lower.

Fifty random mixtures of full-covariance normals in overlapping clusters, and two slow models of
records: a hierarchical mixture from a flat start, which EM leaves only after many hundred steps,
and a mixture of two exponentials and a log-normal, whose components hardly differ. All fits start
alike, in float64. Counted: passes until within 1e-6 nats a datum of the run's own end, at most
1,500; a run ends lower or higher where it differs from plain EM's end by more than 2e-6.
`solve`: `em.solve`, which goes on until nothing moves, takes at most twice the passes of the
quasi-Newton fit to a gain of 1e-13, on the two slow models and one mixture.
Run: python -m benchmarks.em.acceleration [solve] [problems] [seed]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

SHAPES = ((2, 1), (3, 2), (4, 2), (5, 3), (8, 4))
ROWS, STEPS = 1000, 1500
KINDS = (None, "squarem", "lbfgs")


def random_mixtures(key, components, dim, many):
    """Data of overlapping clusters, and starts, stacked."""

    def one(key):
        k_centre, k_which, k_noise, k_start, k_far = jax.random.split(key, 5)
        far = jax.random.uniform(k_far, (), minval=1.0, maxval=3.0)
        centres = far * jax.random.normal(k_centre, (components, dim))
        which = jax.random.randint(k_which, (ROWS,), 0, components)
        x = centres[which] + jax.random.normal(k_noise, (ROWS, dim))
        template = jm.gaussian_mixture(components, dim, covariance="full")
        return x, jm.em.init(k_start, template, x)

    return jax.jit(jax.vmap(one))(jax.random.split(key, many))


def flat_hierarchy(seed):
    """Sequences of five items over three topics, and a start of nearly equal topics."""
    rng = np.random.default_rng(seed)
    shares = np.array([[0.34, 0.33, 0.33], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    which = rng.choice(4, size=ROWS, p=[0.4, 0.2, 0.2, 0.2])
    topic = np.array([rng.choice(3, size=5, p=shares[i]) for i in which])
    x = np.array([-5.0, 0.0, 5.0])[topic] + rng.normal(size=topic.shape)
    near = 1 / 3 + 0.01 * rng.normal(size=(4, 3))
    topics = jax.vmap(jm.Normal)(
        jnp.asarray(x.mean() + 0.05 * rng.normal(size=3)), jnp.full(3, x.std())
    )
    near = jnp.asarray(near / near.sum(1, keepdims=True))
    start = jm.HierarchicalMixture(jnp.full(4, 0.25), near, topics)
    return jm.SequenceEvent(jnp.asarray(x), jnp.full(ROWS, 5)), start


def unlike_families(seed):
    """Waiting times of two rates and a log-normal, and a start at the overall means."""
    rng, rows = np.random.default_rng(seed), 10_000
    which = rng.choice(3, size=rows, p=[0.1, 0.3, 0.6])
    slow = rng.exponential(np.where(which == 0, 5.0, 10.0))
    x = np.where(which < 2, slow, np.exp(0.5 + rng.normal(size=rows)))
    rate, log_x = 1 / x.mean(), np.log(x)
    parts = [
        jm.Exponential(1.1 * rate), jm.Exponential(0.9 * rate),
        jm.LogNormal(log_x.mean(), log_x.std()),
    ]  # fmt: skip
    return jnp.asarray(x), jm.Mixture(jnp.full(3, 1 / 3), parts)


def traces(xs, starts):
    """The objective, nats a datum, after each pass of each kind; problems are stacked."""
    out = {}
    for kind in KINDS:

        def run(start, x, kind=kind):
            return jm.em.run(
                start, x, tol=1e-10, max_steps=STEPS, history_size=STEPS, accelerate=kind
            )

        history = jax.jit(jax.vmap(run))(starts, xs).history.objective
        out[kind] = np.asarray(history) / jax.tree.leaves(xs)[0].shape[1]
        falls = np.nanmin(np.diff(out[kind], axis=1))
        assert falls > -1e-9, f"the objective fell by {falls}"
    return out


def passes(trace):
    """Steps until within 1e-6 of the end."""
    return int(np.argmax(trace >= np.nanmax(trace) - 1e-6)) + 1


def solve(seed=1):
    """Print the passes of `em.solve` and of the fit; on how many problems the former are too many."""
    xs, starts = random_mixtures(jax.random.key(seed), 4, 2, 1)
    one = jax.tree.map(lambda a: a[0], (xs, starts))
    problems = {
        "hierarchical, flat start": flat_hierarchy(seed),
        "exponentials and log-normal": unlike_families(seed),
        "K=4 D=2": one,
    }
    over = 0
    for name, (x, start) in problems.items():
        fit = jm.em.run(start, x, tol=1e-13, max_steps=STEPS, accelerate="lbfgs").num_steps
        found = jm.em.fixed_point(start, x)
        over += not (found.result == jm.RESULTS.successful and found.num_steps <= 2 * fit)
        print(f"{name}: solve {found.num_steps} passes, lbfgs {fit}", flush=True)
    return over


def main(problems=50, seed=1):
    """Print one line a group of problems, then the medians."""
    groups = {}
    for components, dim in SHAPES:
        key = jax.random.fold_in(jax.random.key(seed), components)
        groups[f"K={components} D={dim}"] = random_mixtures(key, components, dim, -(-problems // 5))
    one = lambda made: jax.tree.map(lambda a: jnp.asarray(a)[None], made)
    groups["hierarchical, flat start"] = one(flat_hierarchy(seed))
    groups["exponentials and log-normal"] = one(unlike_families(seed))
    ratios, ends = {k: [] for k in KINDS[1:]}, {k: [] for k in KINDS[1:]}
    for name, (xs, starts) in groups.items():
        found = traces(xs, starts)
        counts = {k: np.array([passes(one) for one in t]) for k, t in found.items()}
        print(f"{name}:", ", ".join(f"{k or 'plain'} {np.median(c):.0f}" for k, c in counts.items()),
              "passes in the median", flush=True)  # fmt: skip
        for kind in KINDS[1:]:
            ratios[kind] += list(counts[None] / counts[kind])
            ends[kind] += list(np.nanmax(found[kind], axis=1) - np.nanmax(found[None], axis=1))
    for kind, values in ratios.items():
        quarter, half, three = np.percentile(values, [25, 50, 75])
        print(
            f"{kind}: passes cut {half:.2f} times in the median (quartiles {quarter:.2f}, "
            f"{three:.2f}) over {len(values)} problems; ends lower than plain EM in "
            f"{np.sum(np.array(ends[kind]) < -2e-6)}, higher in "
            f"{np.sum(np.array(ends[kind]) > 2e-6)}"
        )


if __name__ == "__main__":
    with jax.enable_x64(True):
        if sys.argv[1:2] == ["solve"]:
            sys.exit(solve(*map(int, sys.argv[2:])))
        main(*map(int, sys.argv[1:]))
