"""Claim: the default `jm.fit` call finds the optimum of the record models, data set after data set.

    python -m benchmarks records.optimum
    python -m benchmarks.records.optimum [composite|hierarchical|waiting] ... [SEED]

- composite: mixtures of records (real, maybe-missing count, letters, set of letters), ten data
  sets of 1,000 rows drawn anew, from SEED on; the default call against EM started from the truth.
- hierarchical: four laws of sequences over three topics, at 1,000 and at 100,000 sequences; the
  default call against EM started from the truth, and against the symmetric saddle.
- waiting: two exponentials and a log-normal, whose likelihood is nearly flat; plain EM and its
  accelerations against the optimum that BFGS finds.
"""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxmix as jm


def record(means, p_count, p_missing, initial, transition, members):
    """One component of the composite model."""
    normals = jax.vmap(jm.Normal)(jnp.array(means), jnp.ones(2))
    return jm.Composite(
        (
            jm.MixtureSameFamily(jnp.array([0.5, 0.5]), normals),
            jm.Optional(jm.Geometric(p_count), p_missing),
            jm.MarkovChain(
                jnp.array(initial), jnp.array(transition), length=jm.Poisson(8.0), max_length=30
            ),
            jm.BernoulliSet(jnp.array(members)),
        )
    )


def composite_truth():
    first = record(
        (-10.0, 0.0), 0.1, 0.1, (0.5, 0.5), ((0.2, 0.8), (0.8, 0.2)), (0.1, 0.3, 0.7, 0.9)
    )
    second = record(
        (10.0, 5.0), 0.2, 0.2, (0.5, 0.5), ((0.8, 0.2), (0.2, 0.8)), (0.9, 0.8, 0.1, 0.1)
    )
    third = record(
        (0.0, 5.0), 0.9, 0.01, (0.8, 0.2), ((0.5, 0.5), (0.2, 0.8)), (0.5, 0.5, 0.5, 0.8)
    )
    return jm.Mixture(jnp.array([0.4, 0.3, 0.3]), [first, second, third])


def composite_template():
    one = jm.Composite(
        (
            jm.mixture_of(jm.Normal.template(), 2),
            jm.Optional(jm.Geometric.template(), 0.5),
            jm.MarkovChain.template(2, length=jm.Poisson.template(), max_length=30),
            jm.BernoulliSet.template(4),
        )
    )
    return jm.mixture_of(one, 3)


def events(truth, seed, rows):
    keys = jax.random.split(jax.random.key(seed), rows)
    return eqx.filter_jit(lambda d, k: jax.vmap(d.sample)(k))(truth, keys)


def from_truth(truth, data, **options):
    """EM started from the truth, run until nothing moves."""
    options = {"max_steps": 3000, "tol": 1e-9} | options
    return jm.fit(None, truth, data, init="given", progress=False, **options)


def composite(first=100, data_sets=10, rows=1000):
    truth, found = composite_truth(), 0
    print(f"{'data set':>8} {'truth':>12} {'from truth':>12} {'default':>12} {'gap':>9} {'s':>6}")
    for seed in range(data_sets):
        data = events(truth, first + seed, rows)
        start = float(jax.vmap(truth.log_prob)(data).sum())
        best = float(from_truth(truth, data).log_likelihood)
        tic = time.perf_counter()
        fit = jm.fit(jax.random.key(seed), composite_template(), data, progress=False)
        took = time.perf_counter() - tic
        got = float(fit.log_likelihood)
        within = sum(float(v) > best - 1 for v in fit.restarts.log_likelihood)
        found += got > best - 1
        print(
            f"{seed:8d} {start:12.2f} {best:12.2f} {got:12.2f} {got - best:9.2f} {took:6.1f}"
            f"   {within} of {len(fit.restarts.log_likelihood)} starts, {fit.num_steps} steps"
        )
    print(f"within 1 nat of EM from the truth: {found} of {data_sets}")


def hierarchical_truth():
    topics = jax.vmap(jm.Normal)(jnp.array([-5.0, 0.0, 5.0]), jnp.ones(3))
    rows = jnp.array([[0.34, 0.33, 0.33], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    return jm.HierarchicalMixture(jnp.array([0.4, 0.2, 0.2, 0.2]), rows, topics, max_length=5)


def hierarchical():
    truth = hierarchical_truth()
    template = jm.HierarchicalMixture.template(jm.Normal.template(), 3, 4, max_length=5)
    print(
        f"{'rows':>8} {'saddle':>10} {'from truth':>12} {'default':>12} {'gap, nats':>10} {'s':>6}"
    )
    for rows in (1000, 100_000):
        data = events(truth, 0, rows)
        best = float(from_truth(truth, data).log_likelihood)
        saddle = float(jm.fit(None, jm.Normal.template(), data.items.ravel(), init="given",
                              progress=False).log_likelihood)  # fmt: skip
        tic = time.perf_counter()
        fit = jm.fit(jax.random.key(0), template, data, progress=False)
        took = time.perf_counter() - tic
        got = float(fit.log_likelihood)
        print(
            f"{rows:8d} {saddle / rows:10.4f} {best / rows:12.4f} {got / rows:12.4f} "
            f"{got - best:10.2f} {took:6.1f}"
        )


def waiting(rows=10_000):
    """In double precision: the gap of each way from the optimum, in nats of the whole data."""
    from scipy.optimize import minimize

    from jaxmix.em.residual import parameters

    with jax.enable_x64(True):
        parts = [jm.Exponential(0.2), jm.Exponential(0.1), jm.LogNormal(0.5, 1.0)]
        truth = jm.Mixture(jnp.array([0.1, 0.3, 0.6]), parts)
        data = events(truth, 1, rows)
        vector, build = parameters(truth)
        loss = eqx.filter_jit(
            jax.value_and_grad(lambda v: -jax.vmap(build(v).log_prob)(data).sum())
        )
        peak = minimize(
            lambda v: tuple(map(lambda a: jax.device_get(a).astype(float), loss(jnp.asarray(v)))),
            vector, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000},
        )  # fmt: skip
        print(f"optimum by BFGS from the truth: {-peak.fun:.6f} nats")
        template = jm.Mixture.template(
            [jm.Exponential.template(), jm.Exponential.template(), jm.LogNormal.template()]
        )
        print(f"{'way':>20} {'gap, nats':>12} {'passes':>7} {'s':>6}")
        for name, options in (
            ("EM, 1,000 steps", {"tol": None, "max_steps": 1000}),
            ("squarem", {"accelerate": "squarem", "tol": 1e-11, "max_steps": 5000}),
            ("lbfgs", {"accelerate": "lbfgs", "tol": 1e-11, "max_steps": 5000}),
        ):
            tic = time.perf_counter()
            fit = jm.fit(
                jax.random.key(0), template, data, progress=False, num_restarts=4, **options
            )
            took = time.perf_counter() - tic
            gap = float(fit.log_likelihood) + peak.fun
            print(f"{name:>20} {gap:12.2e} {fit.num_steps:7d} {took:6.1f}", flush=True)


PARTS = {"composite": composite, "hierarchical": hierarchical, "waiting": waiting}


def main():
    chosen = [name for name in PARTS if name in sys.argv[1:]] or list(PARTS)
    seeds = [int(word) for word in sys.argv[1:] if word.isdigit()]
    for name in chosen:
        print(f"\n{name}", flush=True)
        PARTS[name](*(seeds if name == "composite" else ()))


if __name__ == "__main__":
    main()
