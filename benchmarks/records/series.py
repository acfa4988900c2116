"""Claim: a long hidden chain is filtered, smoothed and scored no slower than by dynamax.

python -m benchmarks records.series

One series of 100,000 items under five normal states, float32: log-likelihood, filtered and smoothed
probabilities, each as one program, and ten steps of EM from means that are off by 0.5, by both
libraries from the same parameters. First the seconds of the first call, compilation included, in a
process that has compiled nothing; then the least of several runs. The answers are compared:
log-likelihoods by nats an item, probabilities and means by their largest difference (dynamax's EM
has weak priors).
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

ITEMS, STATES, TURNS = 100_000, 5, 5


def problem():
    rng = np.random.default_rng(0)
    rows = 0.9 * np.eye(STATES) + 0.1 / STATES
    path = np.cumsum(rng.random(ITEMS) < 0.08) % STATES
    means = 3.0 * np.arange(STATES)
    x = means[path] + 1.5 * rng.normal(size=ITEMS)
    return [jnp.asarray(a, jnp.float32) for a in (np.full(STATES, 1 / STATES), rows, means, x)]


def ours(initial, rows, means, x):
    emissions = jax.vmap(jm.Normal)(means, jnp.full(STATES, 1.5))
    model = jm.HiddenMarkov(initial, rows, emissions)
    whole = lambda method: jax.jit(lambda model, x: getattr(model, method)(x))
    names = {"log-likelihood": "log_prob", "filtered": "filtered", "smoothed": "smoothed"}
    calls = {what: (whole(method), (model, x)) for what, method in names.items()}
    start = jm.HiddenMarkov(initial, rows, jax.vmap(jm.Normal)(means + 0.5, jnp.full(STATES, 1.5)))
    series = jm.SequenceEvent(x[None], jnp.array([ITEMS]))
    fitted = lambda: jm.em.run(start, series, max_steps=10, tol=0.0).model.emissions.mean
    return {**calls, "ten steps of EM": (fitted, ())}


def peer(initial, rows, means, x):
    # The TensorFlow Probability that dynamax imports looks here for what newer JAX keeps elsewhere.
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        from jax._src import core

        jax.interpreters.xla.pytype_aval_mappings = core.pytype_aval_mappings
    from dynamax.hidden_markov_model import GaussianHMM, hmm_filter, hmm_smoother

    def given(initial, rows, means, scales, x):
        z = (x[:, None] - means[None]) / scales[None]
        return initial, rows, -0.5 * z**2 - jnp.log(scales)[None] - 0.5 * jnp.log(2 * jnp.pi)

    calls = {
        "log-likelihood": lambda *args: hmm_filter(*given(*args)).marginal_loglik,
        "filtered": lambda *args: hmm_filter(*given(*args)).filtered_probs,
        "smoothed": lambda *args: hmm_smoother(*given(*args)).smoothed_probs,
    }
    args = initial, rows, means, jnp.full(STATES, 1.5), x
    model = GaussianHMM(STATES, 1)
    start = model.initialize(
        jax.random.key(0), initial_probs=initial, transition_matrix=rows,
        emission_means=means[:, None] + 0.5, emission_covariances=jnp.full((STATES, 1, 1), 2.25),
    )  # fmt: skip
    fitted = lambda: model.fit_em(*start, x[:, None], num_iters=10, verbose=False)[0]
    programs = {what: (jax.jit(call), args) for what, call in calls.items()}
    return {**programs, "ten steps of EM": (lambda: fitted().emissions.means[:, 0], ())}


def timed(call, args):
    wall, cpu = time.perf_counter(), time.process_time()
    found = jax.block_until_ready(call(*args))
    return found, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """One row for each of the four; the cache of compilations is off."""
    jax.config.update("jax_enable_compilation_cache", False)
    given = problem()
    sides = [ours(*given), peer(*given)]
    print(
        "| what | first call s (CPU s), dynamax | least of "
        f"{TURNS} runs ms (CPU ms), dynamax | largest difference |\n|---|---|---|---|"
    )
    for what in sides[0]:
        first = [timed(*side[what]) for side in sides]
        runs = [[timed(*side[what])[1:] for side in sides] for _ in range(TURNS)]
        least = np.min(np.array(runs), 0)
        away = np.max(np.abs(np.asarray(first[0][0]) - np.asarray(first[1][0])))
        away = f"{away / ITEMS:.1e} nats an item" if what == "log-likelihood" else f"{away:.1e}"
        begun = ", ".join(f"{wall:.2f} ({cpu:.2f})" for _, wall, cpu in first)
        again = ", ".join(f"{1e3 * wall:.1f} ({1e3 * cpu:.1f})" for wall, cpu in least)
        print(f"| {what}, T = {ITEMS} | {begun} | {again} | {away} |", flush=True)


if __name__ == "__main__":
    main()
