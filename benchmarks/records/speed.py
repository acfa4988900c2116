"""One EM iteration over records against dmx-learn's and mixle's, a hidden chain against dynamax's.

python -m benchmarks records.speed

One step from the same model over the same rows; the log-likelihoods after it are compared first.
dmx-learn's iteration is what its `optimize` does: the step and the log-likelihood of the result;
mixle's is the same by the same functions, over the composite model alone (its compiled kernels have
no part in that model: with NUMBA_DISABLE_JIT=0 it takes as long).
Ours is that of `jm.em.step`, which gives that log-likelihood as part of the pass. Both in float64 for the
comparison, ours timed in float32, its default. Encoding is of 1,000,000 flat rows. Names or
beginnings of cases as arguments choose among them.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # its compilation at import takes 39 s, unused

import jax
import jax.interpreters.xla
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from jaxmix.combinators._buckets import bucketed
from jaxmix.em.expected import expect
from jaxmix.em.m_step import maximise

REPEATS = 5


def timed(run, repeats):
    """Median seconds by the clock and of the processor, and the spread of the former."""
    wall, cpu = [], []
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        jax.block_until_ready(run())
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return statistics.median(wall), statistics.median(cpu), max(wall) - min(wall)


@jax.jit
def step(model, data):
    expected = expect(model, data)
    return maximise(model, expected, data).model, expected.log_likelihood.value


@jax.jit
def total(model, data):
    return jnp.sum(jax.lax.map(model.log_prob, data, batch_size=4096))


def as_type(tree, dtype):
    cast = lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.inexact) else a
    return jax.tree.map(cast, tree)


def letters(rng, rows, initial, transition, lengths):
    """Chains of 0 and 1, one a row."""
    chains = np.empty((rows, lengths.max()), int)
    chains[:, 0] = rng.random(rows) < initial[:, 1]
    for t in range(1, chains.shape[1]):
        stay = transition[np.arange(rows), chains[:, t - 1]]
        chains[:, t] = rng.random(rows) < stay[:, 1]
    return [["ab"[c] for c in chain[:n]] for chain, n in zip(chains, lengths, strict=True)]


MEANS = ((-10.0, 0.0), (10.0, 5.0), (0.0, 5.0))
COUNT, MISSING = (0.1, 0.2, 0.9), (0.1, 0.2, 0.01)
INITIAL = ((0.5, 0.5), (0.5, 0.5), (0.8, 0.2))
TRANSITION = (((0.2, 0.8), (0.8, 0.2)), ((0.8, 0.2), (0.2, 0.8)), ((0.5, 0.5), (0.2, 0.8)))
MEMBERS = ((0.1, 0.3, 0.7, 0.9), (0.9, 0.8, 0.1, 0.1), (0.5, 0.5, 0.5, 0.8))


def composite(dmx, n=100_000):
    """A mixture of records: inner mixture, maybe-missing count, chain of letters, set."""
    rng = np.random.default_rng(0)
    z = rng.choice(3, n, p=[0.4, 0.3, 0.3])
    pick = lambda table: np.array(table)[z]
    numbers = pick(MEANS)[np.arange(n), rng.integers(0, 2, n)] + rng.normal(size=n)
    counts = rng.geometric(pick(COUNT))
    gone = rng.random(n) < pick(MISSING)
    counts = [None if miss else int(c) for miss, c in zip(gone, counts, strict=True)]
    chains = letters(rng, n, pick(INITIAL), pick(TRANSITION), rng.poisson(8, n))
    inside = rng.random((n, 4)) < pick(MEMBERS)
    sets = [[name for name, there in zip("abcd", row, strict=True) if there] for row in inside]
    rows = list(zip(numbers.tolist(), counts, chains, sets, strict=True))

    ours = [
        jm.Composite(
            (
                jm.MixtureSameFamily(
                    jnp.array([0.5, 0.5]), jax.vmap(jm.Normal)(jnp.array(MEANS[k]), jnp.ones(2))
                ),
                jm.Optional(jm.Geometric(COUNT[k]), MISSING[k]),
                jm.MarkovChain(
                    jnp.array(INITIAL[k]), jnp.array(TRANSITION[k]),
                    length=jm.Poisson(8.0), labels=("a", "b"),
                ),
                jm.BernoulliSet(jnp.array(MEMBERS[k]), labels=tuple("abcd")),
            )
        )
        for k in range(3)
    ]  # fmt: skip
    stack = jax.tree.map(lambda *parts: jnp.stack(parts), *ours)
    model = jm.MixtureSameFamily(jnp.array([0.4, 0.3, 0.3]), stack)
    if dmx is None:
        return rows, model, None, None
    named = lambda row: {"a": row[0], "b": row[1]}
    parts = [
        dmx.CompositeDistribution(
            [
                dmx.MixtureDistribution(
                    [dmx.GaussianDistribution(m, 1.0) for m in MEANS[k]], [0.5, 0.5]
                ),
                dmx.OptionalDistribution(dmx.GeometricDistribution(COUNT[k]), p=MISSING[k]),
                dmx.MarkovChainDistribution(
                    named(INITIAL[k]),
                    {"a": named(TRANSITION[k][0]), "b": named(TRANSITION[k][1])},
                    len_dist=dmx.PoissonDistribution(8.0),
                ),
                dmx.BernoulliSetDistribution(dict(zip("abcd", MEMBERS[k], strict=True))),
            ]
        )
        for k in range(3)
    ]
    inner = dmx.MixtureEstimator([dmx.GaussianEstimator()] * 2)
    estimator = dmx.MixtureEstimator(
        [
            dmx.CompositeEstimator(
                (
                    inner,
                    dmx.OptionalEstimator(dmx.GeometricEstimator(), est_prob=True),
                    dmx.MarkovChainEstimator(len_estimator=dmx.PoissonEstimator()),
                    dmx.BernoulliSetEstimator(),
                )
            )
        ]
        * 3
    )
    return rows, model, dmx.MixtureDistribution(parts, [0.4, 0.3, 0.3]), estimator


TOPICS = (-5.0, 0.0, 5.0)
TAUS = ((0.34, 0.33, 0.33), (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))


def hierarchical(dmx, n=100_000):
    """Four laws of sequences of five over three shared topics."""
    rng = np.random.default_rng(0)
    outer = rng.choice(4, n, p=[0.4, 0.2, 0.2, 0.2])
    topic = (rng.random((n, 5, 1)) > np.cumsum(np.array(TAUS)[outer], 1)[:, None, :-1]).sum(-1)
    rows = (np.array(TOPICS)[topic] + rng.normal(size=topic.shape)).tolist()
    weights = [0.4, 0.2, 0.2, 0.2]
    topics = jax.vmap(jm.Normal)(jnp.array(TOPICS), jnp.ones(3))
    model = jm.HierarchicalMixture(jnp.array(weights), jnp.array(TAUS), topics)
    if dmx is None:
        return rows, model, None, None
    theirs = dmx.HierarchicalMixtureDistribution(
        [dmx.GaussianDistribution(m, 1.0) for m in TOPICS], weights, [list(t) for t in TAUS]
    )
    return rows, model, theirs, dmx.HierarchicalMixtureEstimator([dmx.GaussianEstimator()] * 3, 4)


def joint(dmx, n=1_000_000):
    """A label and a number, linked to a sequence of numbers."""
    rng = np.random.default_rng(0)
    links = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    first = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    second = (rng.random((n, 1)) > np.cumsum(links[first], 1)[:, :-1]).sum(-1)
    means = np.array([-2.0, 0.0, 2.0])
    # Labels that say most, not all: else one step is already at the end.
    labels = np.where(rng.random(n) < 0.9, first, rng.integers(0, 3, n))
    numbers = (means[first] + rng.normal(size=n)).tolist()
    lengths = rng.poisson(3, n)
    items = (-np.repeat(means[second], lengths) + rng.normal(size=lengths.sum())).tolist()
    ends = np.cumsum(lengths).tolist()
    sequences = [items[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    names = np.array(list("abc"))[labels].tolist()
    rows = list(zip(zip(names, numbers, strict=True), sequences, strict=True))
    probs = np.full((3, 3), 1 / 30) + 0.9 * np.eye(3)
    normal = lambda m: jm.Normal(m, 1.0)
    record = lambda p, m: jm.Composite((jm.Categorical(p, labels=tuple("abc")), normal(m)))
    sequence = lambda m: jm.Sequence(normal(m), jm.Poisson(3.0))
    weights = [0.6, 0.3, 0.1]
    model = jm.JointMixture(
        jnp.array(weights), jnp.array(links),
        jax.vmap(record)(jnp.array(probs), jnp.array(means)), jax.vmap(sequence)(jnp.array(-means)),
    )  # fmt: skip
    if dmx is None:
        return rows, model, None, None
    parts = [
        dmx.CompositeDistribution(
            [
                dmx.CategoricalDistribution(dict(zip("abc", p.tolist(), strict=True))),
                dmx.GaussianDistribution(m, 1.0),
            ]
        )
        for p, m in zip(probs, means, strict=True)
    ]
    others = [
        dmx.SequenceDistribution(dmx.GaussianDistribution(-m, 1.0), dmx.PoissonDistribution(3.0))
        for m in means
    ]
    marginal = (np.array(weights) @ links).tolist()
    theirs = dmx.JointMixtureDistribution(parts, others, weights, marginal, links, links.T)
    estimator = dmx.JointMixtureEstimator(
        [dmx.CompositeEstimator([dmx.CategoricalEstimator(), dmx.GaussianEstimator()])] * 3,
        [dmx.SequenceEstimator(dmx.GaussianEstimator(), dmx.PoissonEstimator())] * 3,
    )
    return rows, model, theirs, estimator


def peer_step(library, rows, theirs, estimator):
    """An iteration of a library of dmx-learn's kind, which gives the log-likelihood after it."""
    encoded = library.seq_encode(rows, model=theirs)

    def run():
        new = library.seq_estimate(encoded, estimator, theirs)
        return library.seq_log_density_sum(encoded, new)[1]

    return run


def iteration(name, make, bar, peers):
    made = {peer: make(library) for peer, library in peers.items()}
    rows, model, *_ = next(iter(made.values())) if made else make(None)
    times = {}
    if peers:
        with jax.enable_x64(True):
            data = jm.encode(model, rows)
            new, _ = step(as_type(model, jnp.float64), data)
            mine = float(total(new, data))
    for peer, library in peers.items():
        run = peer_step(library, rows, *made[peer][2:])
        after = run()
        if abs(mine - after) > 1e-8 * abs(after):
            sys.exit(f"{name}: answers differ: {mine} and {peer}'s {after} nats after a step")
        times[peer] = timed(run, 2)
    # As `jm.fit` passes over them: sequences in groups of like lengths, where that saves work.
    data, _ = bucketed(jm.encode(model, rows), None, 1)
    model = as_type(model, jnp.float32)
    began = time.perf_counter()
    jax.block_until_ready(step(model, data))
    compiling = time.perf_counter() - began
    wall, cpu, spread = timed(lambda: step(model, data), REPEATS)
    line = f"| {name} | {wall:.4f} ({spread:.4f}), {cpu:.4f} "
    if not times:
        print(f"{line}| absent | | {bar} | {compiling:.1f} |", flush=True)
    for peer, (peer_wall, peer_cpu, peer_spread) in times.items():
        print(
            f"{line}| {peer} {peer_wall:.3f} ({peer_spread:.3f}), {peer_cpu:.3f} "
            f"| {peer_wall / wall:.1f}, {peer_cpu / cpu:.1f} | {bar} | {compiling:.1f} |",
            flush=True,
        )


def hidden_markov(length=20_000, states=5):
    """Smoothing and expected statistics of one long sequence, emissions included."""
    rng = np.random.default_rng(0)
    rows = 0.9 * np.eye(states) + 0.1 / states
    path = np.cumsum(rng.random(length) < 0.08) % states
    means = 3.0 * np.arange(states)
    x = jnp.asarray(means[path] + rng.normal(size=length), jnp.float32)
    rows = jnp.asarray(rows, jnp.float32)
    emissions = jax.vmap(jm.Normal)(jnp.asarray(means, jnp.float32), jnp.ones(states))
    initial = jnp.full(states, 1 / states)
    model = jm.HiddenMarkov(initial, rows, emissions)
    event = jm.SequenceEvent(x[None], jnp.array([length]))
    ours = jax.jit(lambda event: jm.em.expected_stats(model, event))
    mine, stats = jax.block_until_ready(ours(event))
    wall, cpu, spread = timed(lambda: ours(event), REPEATS)
    # The TensorFlow Probability that dynamax imports looks here for what newer JAX keeps elsewhere.
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        from jax._src import core

        jax.interpreters.xla.pytype_aval_mappings = core.pytype_aval_mappings
    try:
        from dynamax.hidden_markov_model import hmm_smoother
    except (ImportError, AttributeError) as error:
        print(
            f"| HMM, T = {length} | {wall:.4f} ({spread:.4f}), {cpu:.4f} | no dynamax: {error} |||"
        )
        return

    @jax.jit
    def peer(x):
        under = -0.5 * (x[:, None] - jnp.asarray(means)) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
        found = hmm_smoother(initial, rows, under)
        share = found.smoothed_probs
        return found.marginal_loglik, found.trans_probs, share.sum(0), share.T @ x

    theirs = jax.block_until_ready(peer(x))
    if abs(float(mine) - float(theirs[0])) > 1e-4 * abs(float(mine)):
        sys.exit(f"HMM: answers differ: {float(mine)} and {float(theirs[0])} nats")
    np.testing.assert_allclose(stats.transition.outcomes, theirs[1], rtol=0.01, atol=1)
    np.testing.assert_allclose(stats.emissions.count, theirs[2], rtol=1e-3)
    peer_wall, peer_cpu, peer_spread = timed(lambda: peer(x), REPEATS)
    print(
        f"| HMM, T = {length}, {states} states | {wall:.4f} ({spread:.4f}), {cpu:.4f} "
        f"| dynamax {peer_wall:.4f} ({peer_spread:.4f}), {peer_cpu:.4f} "
        f"| {peer_wall / wall:.2f}, {peer_cpu / cpu:.2f} | 1 | |",
        flush=True,
    )


def encoding(rows=1_000_000):
    rng = np.random.default_rng(0)
    numbers, counts = rng.normal(size=rows).tolist(), rng.poisson(4, rows).tolist()
    kinds = rng.choice(["red", "green", "blue"], rows).tolist()
    maybe = [None if i % 5 == 0 else v for i, v in enumerate(numbers)]
    flat = list(zip(numbers, counts, kinds, maybe, strict=True))
    template = jm.Composite(
        (
            jm.Normal.template(),
            jm.Poisson.template(),
            jm.Categorical.template(labels=("blue", "green", "red")),
            jm.Optional(jm.Normal.template()),
        )
    )
    wall, cpu, spread = timed(lambda: jm.encode(template, flat), 3)
    print(
        f"| encoding {rows} rows of 4 fields | {wall:.2f} ({spread:.2f}), {cpu:.2f} | | | < 3 s | |"
    )


CASES = {
    "composite, N = 100,000": (composite, 100),
    "hierarchical, N = 100,000": (hierarchical, 10),
    "joint, N = 1,000,000": (joint, 10),
}


def main():
    wanted = sys.argv[1:]
    chosen = lambda name: not wanted or any(name.startswith(word) for word in wanted)
    peers = {}
    try:
        import dmx.stats

        peers["dmx-learn"] = dmx.stats
    except ModuleNotFoundError:
        print("dmx-learn is absent (pip install dmx-learn).\n")
    try:
        import mixle.stats
        from mixle.stats.compute.sequence import seq_estimate

        mixle.stats.seq_estimate = seq_estimate
        others = {"mixle": mixle.stats}
    except ModuleNotFoundError:
        others = {}
        print("mixle is absent (pip install mixle).\n")
    print(
        f"jax {jax.__version__}, {jax.devices()[0].platform}; seconds: clock (spread), processor\n"
    )
    print("| case | jaxmix | peer | ratio | bar | compile |")
    print("|---|---|---|---|---|---|")
    for name, (make, bar) in CASES.items():
        if chosen(name):
            iteration(name, make, bar, peers | (others if make is composite else {}))
    if chosen("HMM"):
        hidden_markov()
    if chosen("encoding"):
        encoding()


if __name__ == "__main__":
    main()
