"""The core against enumeration, autodiff, and sums over subsets written out."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import jaxmix as jm
from jaxmix.objectives import (
    Blocks,
    DeltaCorrection,
    Halves,
    LeaveOut,
    Posterior,
    Prefixes,
    Tempered,
    Tree,
    combine,
)


def weights(size, seed=0, scale=1.5):
    return np.random.default_rng(seed).normal(-35, scale, size)


def log_mean(w):
    return logsumexp(w) - np.log(len(w))


def terms_of(size):
    k = jnp.arange(1.0, size - 1)
    return {
        "blocks": [Blocks(4, 0.3), Blocks(1, 0.7)],
        "halves": [Blocks(1), Halves(2, 1.7)],
        "tree": [Blocks(1), Tree(1, jnp.array([1.0, 2.0, 3.0]), jnp.array([4, 2, 1]))],
        "prefixes": [Prefixes(2, jnp.concatenate([k[:3], jnp.zeros(size - 5)]))],
        "jackknife": [LeaveOut(1)],
        "jackknife 2": [LeaveOut(2)],
        "tempered": [Tempered(0.4)],
        "upper": [Tempered(-1.0)],
        "delta": [Blocks(size), DeltaCorrection()],
        "posterior": [Posterior()],
    }


@pytest.mark.parametrize("name", terms_of(8))
def test_coefficients_equal_autodiff(name, x64):
    log_w, terms = jnp.asarray(weights(8)), terms_of(8)[name]

    def plain(log_w):
        return sum(term.parts(log_w).value for term in terms)

    @jax.jit
    def both(log_w):
        again = jax.grad(lambda w: combine(w, terms).value)(log_w)
        return (
            combine(log_w, terms),
            plain(log_w),
            jax.grad(plain)(log_w),
            jax.hessian(plain)(log_w),
            again,
        )

    found, value, gradient, hessian, again = both(log_w)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.model, gradient, atol=1e-10)
    np.testing.assert_allclose(found.path, gradient - jnp.diag(hessian), atol=1e-10)
    np.testing.assert_allclose(again, gradient, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_jackknife_equals_leave_out_sums(order, x64):
    log_w, size = weights(7), 7
    expected = 0.0
    for j in range(order + 1):
        c = (-1) ** j * (size - j) ** order / math.factorial(order - j) / math.factorial(j)
        kept = itertools.combinations(range(size), size - j)
        expected += c * np.mean([log_mean(log_w[list(s)]) for s in kept])
    np.testing.assert_allclose(
        combine(jnp.asarray(log_w), [LeaveOut(order)]).value, expected, rtol=1e-12
    )


def test_jackknife_with_one_dominating_weight(x64):
    log_w = np.array([0.0, -30.0, -31.0, -32.0])
    expected = 4 * log_mean(log_w) - 3 * np.mean([log_mean(np.delete(log_w, i)) for i in range(4)])
    np.testing.assert_allclose(
        combine(jnp.asarray(log_w), [LeaveOut(1)]).value, expected, rtol=1e-10
    )


def test_delta_method_equals_its_definition(x64):
    log_w = weights(6)
    w = np.exp(log_w - log_w.max())
    expected = log_mean(log_w) + np.var(w, ddof=1) / (12 * np.mean(w) ** 2)
    found = combine(jnp.asarray(log_w), [Blocks(6), DeltaCorrection()]).value
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def rows(objective, log_w, levels):
    """The objective's values on one fixed stream, one a level, with padding beyond its draws."""
    length = objective.padded(objective.count(max(levels)))
    stream = jnp.asarray(np.concatenate([log_w, np.full(length - len(log_w), np.nan)]))
    one = jax.jit(lambda k: objective.row(stream, k)[0].value)
    return [float(one(jnp.asarray(k))) for k in levels]


@pytest.mark.parametrize("kind", ["single-term", "russian-roulette"])
@pytest.mark.parametrize("base", [1, 3])
def test_published_multilevel_telescopes_by_enumeration(kind, base, x64):
    top = 4
    objective = jm.multilevel(kind, ratio=0.6, base_samples=base, share=False, max_level=top)
    log_w = weights(base * 2 ** (top + 1))
    probabilities = np.array([0.6 * 0.4**k for k in range(top)] + [0.4**top])
    assert abs(probabilities.sum() - 1) < 1e-12
    found = np.dot(probabilities, rows(objective, log_w, range(top + 1)))
    expected = log_mean(log_w[:base])
    for k in range(top + 1):
        both, half = log_w[: base * 2 ** (k + 1)], base * 2**k
        expected += log_mean(both) - (log_mean(both[:half]) + log_mean(both[half:])) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["single-term", "russian-roulette"])
def test_shared_multilevel_equals_its_block_averages(kind, x64):
    base, top = 2, 3
    objective = jm.multilevel(kind, ratio=0.6, base_samples=base, max_level=top)
    log_w = weights(base * 2 ** (top + 1), seed=3)
    for level, found in enumerate(rows(objective, log_w, range(top + 1))):
        own = log_w[: base * 2 ** (level + 1)]
        expected = np.mean([log_mean(b) for b in own.reshape(-1, base)])
        for k in range(level + 1):
            if kind == "single-term" and k < level:
                continue
            means = np.array([log_mean(b) for b in own.reshape(-1, base * 2**k)])
            pairs = np.array([log_mean(b) for b in own.reshape(-1, base * 2 ** (k + 1))])
            last = kind == "single-term" and k < top
            p = 0.6 * 0.4**k if last else 0.4**k
            expected += np.mean(pairs - means.reshape(-1, 2).mean(1)) / p
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("base", [1, 3])
def test_sumo_telescopes_by_enumeration(base, x64):
    top = 9
    law = jm.objectives.HarmonicCounts(cutoff=5, max_count=top)
    objective = jm.sumo(base_samples=base, law=law)
    log_w = weights(base + top, seed=1)
    survival = np.array([1 / k if k < 5 else 0.9 ** (k - 5) / 5 for k in range(1, top + 1)])
    probabilities = survival - np.append(survival[1:], 0)
    found = np.dot(probabilities, rows(objective, log_w, range(1, top + 1)))
    np.testing.assert_allclose(found, log_mean(log_w), rtol=1e-12)


def test_level_12_in_float32():
    rng = np.random.default_rng(0)
    error, size = [], []
    with jax.enable_x64(True):
        log_w = [rng.normal(-35, 1, 2**13).astype(np.float32) for _ in range(6)]
        run = jax.jit(lambda w: combine(w, [Halves(2**12)]).value)
        exact = [float(run(jnp.asarray(w, jnp.float64))) for w in log_w]
    scales, used = jnp.zeros(13).at[12].set(1.0), jnp.ones(13, int)
    for term in (Halves(2**12), Tree(1, scales, used)):
        run = jax.jit(lambda w, term=term: combine(w, [term]).value)
        for w, right in zip(log_w, exact, strict=True):
            error.append(float(run(jnp.asarray(w))) - right)
            size.append(right)
    assert np.sqrt(np.mean(np.square(error)) / np.mean(np.square(size))) < 1e-3


def test_equal_weights_have_no_differences(dtype):
    terms = (
        [Halves(1), Halves(8)],
        [Tree(1, jnp.ones(4, dtype), jnp.array([8, 4, 2, 1]))],
        [Prefixes(1, jnp.ones(15, dtype))],
    )
    run = jax.jit(lambda log_w: [combine(log_w, group).value for group in terms])
    assert run(jnp.full(16, -35, dtype)) == [0, 0, -35]


def test_zero_weights():
    log_w = jnp.array([-jnp.inf, 0.0, -jnp.inf, 0.0])
    run = jax.jit(jax.value_and_grad(lambda w: combine(w, [Blocks(4)]).value))
    np.testing.assert_allclose(run(log_w)[1], [0, 0.5, 0, 0.5])
    # A half whose weights are all 0 leaves the difference undefined: it is not hidden.
    halves = jax.jit(lambda w: combine(w, [Halves(2)]).value)
    assert not jnp.isfinite(halves(jnp.array([-jnp.inf, -jnp.inf, 0, 0])))
    assert run(jnp.full(4, -jnp.inf))[0] == -jnp.inf
