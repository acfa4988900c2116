"""Claim: an EM iteration of a mixture of regressions takes little more than its two products.

python -m benchmarks regression.speed

Eight linear regressions of 1,000,000 rows on 16 covariates, float32. The products: the rows' 17
features with eight coefficient vectors, and the responsibilities with the 153 products of two
features, over chunks as the pass has them. Then a weighted logistic regression, and how many
passes its M-step takes to 1e-8 nats a datum. The least of several runs in turns.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from benchmarks.em.speed import seconds
from jaxmix.em.chunks import chunk_rows, take_chunk

ROWS, FEATURES, COMPONENTS, STEPS, TURNS = 1_000_000, 16, 8, 4, 7
TINY = 1e-9


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    slopes = rng.normal(size=(COMPONENTS, FEATURES)).astype(np.float32)
    which = rng.integers(0, COMPONENTS, ROWS)
    y = np.sum(x * slopes[which], 1) + rng.normal(size=ROWS).astype(np.float32)
    parts = jax.vmap(jm.LinearRegression)(
        jnp.asarray(slopes + 0.1), jnp.zeros(COMPONENTS), jnp.ones(COMPONENTS)
    )
    model = jm.MixtureSameFamily(jnp.full(COMPONENTS, 1 / COMPONENTS), parts)
    return model, (jnp.asarray(y), jnp.asarray(x))


def products(data, chunk):
    """The two products of a pass, chunk by chunk, no two of them the same."""
    pairs = (FEATURES + 1) * (FEATURES + 2) // 2

    @jax.jit
    def passed(weights, sums, x):
        def body(carry, index):
            weights, sums = carry
            rows, _ = take_chunk(x, None, index, chunk, x.dtype)
            under = jnp.dot(rows, weights, precision="highest")
            features = jnp.tile(rows, (1, -(-pairs // FEATURES)))[:, :pairs]
            sums = sums + jnp.dot(under.T, features, precision="highest")
            return (weights + TINY * sums[:, :FEATURES].T, sums), None

        return jax.lax.scan(body, (weights, sums), jnp.arange(-(-ROWS // chunk)))[0]

    start = jnp.ones((FEATURES, COMPONENTS)), jnp.zeros((COMPONENTS, pairs))
    return lambda: passed(*start, data[1])


def timed(call) -> tuple[float, float]:
    """Seconds by the clock, and of CPU: the machine has other work too."""
    began = time.process_time()
    return seconds(call), time.process_time() - began


def main() -> None:
    """One row for the mixture, one for the logistic regression."""
    model, data = problem()
    chunk = chunk_rows(model, data, None)

    @jax.jit
    def advance(model, count, data):
        step = lambda _, m: jm.em.step(m, data)[0]
        return jax.lax.fori_loop(0, count, step, model)

    steps = lambda count: lambda: advance(model, jnp.asarray(count), data).components.intercept
    every = [steps(1), steps(1 + STEPS), products(data, chunk)]
    for each in every:
        timed(each)
    least = np.min([[timed(each) for each in every] for _ in range(TURNS)], 0)
    iteration, alone = (least[1] - least[0]) / STEPS, least[2]
    print("| what | figure |\n|---|---|")
    print(
        f"| iteration of {COMPONENTS} regressions, {ROWS} x {FEATURES} | {1e3 * iteration[0]:.1f} ms, "
        f"CPU {1e3 * iteration[1]:.1f} ms: {iteration[1] / alone[1]:.2f} times the CPU time of its "
        f"two products alone ({1e3 * alone[1]:.1f} ms; bar 1.5) |"
    )
    rng = np.random.default_rng(1)
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-np.asarray(data[1]) @ rng.normal(size=FEATURES)))) * 1
    weights = jnp.asarray(rng.uniform(0, 1, ROWS), jnp.float32)
    logistic = jm.LogisticRegression.template(FEATURES)
    found = jm.em.run(logistic, (jnp.asarray(y), data[1]), weights=weights, tol=1e-6)
    print(
        f"| weighted logistic regression, {ROWS} x {FEATURES} | {int(found.num_steps)} passes "
        f"to {jm.em.solution.name(found.result)} (bar 8) |"
    )


if __name__ == "__main__":
    main()
