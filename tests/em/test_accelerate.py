"""Fewer passes to the same optimum, directions as theory has them, and stopping that foresees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import LbfgsInvHessProduct
from scipy.special import ndtr

import jaxmix as jm
from jaxmix.em import accelerate
from jaxmix.em.solver import to_come


def test_directions_are_those_of_lbfgs_in_the_metric_of_em():
    rng = np.random.default_rng(0)
    size, pairs = 5, 3
    square = lambda: (lambda a: a @ a.T + size * np.eye(size))(rng.normal(size=(size, size)))
    hessian, metric = square(), square()
    moved = rng.normal(size=(pairs, size))
    bent = moved @ hessian
    slope = rng.normal(size=size)
    # In coordinates z = L^-1 theta, with metric L L', it is L-BFGS from the identity.
    root = np.linalg.cholesky(metric)
    inverse = LbfgsInvHessProduct(np.linalg.solve(root, moved.T).T, bent @ root)
    expected = root @ inverse.matvec(root.T @ slope)
    empty = np.zeros((2, size))
    rows = [jnp.asarray(np.concatenate([empty, a])) for a in (moved, bent, bent @ metric)]
    found = accelerate.newton_step(
        accelerate.Pairs(*rows), jnp.asarray(slope), jnp.asarray(metric @ slope)
    )
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    none = accelerate.Pairs(*(jnp.zeros((2, size)) for _ in range(3)))
    np.testing.assert_array_equal(
        accelerate.newton_step(none, jnp.asarray(slope), jnp.asarray(slope)), jnp.asarray(slope)
    )


def test_geometric_gains_are_summed_to_their_end():
    gains = 3.0 * 0.9 ** np.arange(200)
    left = to_come(jnp.asarray(gains[5], float), jnp.asarray(gains[4], float))
    np.testing.assert_allclose(left, gains[6:].sum(), rtol=1e-4)
    assert to_come(jnp.asarray(2.0), jnp.asarray(1.0)) == jnp.inf
    assert to_come(jnp.asarray(1.0), jnp.asarray(jnp.inf)) == jnp.inf
    assert to_come(jnp.asarray(-1e-9), jnp.asarray(1.0)) < 0


@pytest.fixture(scope="module")
def waiting():
    """Two exponentials and a log-normal that hardly differ, as a slow model, and its fits."""
    rng = np.random.default_rng(1)
    which = rng.choice(3, size=3000, p=[0.1, 0.3, 0.6])
    slow = rng.exponential(np.where(which == 0, 5.0, 10.0))
    x = np.where(which < 2, slow, np.exp(0.5 + rng.normal(size=3000))).astype(np.float32)
    rate, log_x = 1 / float(x.mean()), np.log(x)
    parts = [
        jm.Exponential(1.1 * rate), jm.Exponential(0.9 * rate),
        jm.LogNormal(float(log_x.mean()), float(log_x.std())),
    ]  # fmt: skip
    start = jm.Mixture(jnp.full(3, 1 / 3), parts)
    run = lambda **options: jm.fit(None, start, x, init="given", tol=3e-7, **options)
    return run, run()


@pytest.mark.parametrize(("kind", "least"), [("squarem", 2), ("lbfgs", 4)])
def test_a_slow_fit_takes_a_fraction_of_the_passes(waiting, kind, least):
    run, plain = waiting
    fast = run(accelerate=kind)
    assert bool(fast.result == jm.RESULTS.successful)
    assert fast.num_steps * least <= plain.num_steps
    assert fast.log_likelihood >= plain.log_likelihood
    objective = np.asarray(fast.history.objective)
    # One float32 ulp of the total is 5e-4 nats.
    assert len(objective) == fast.num_steps and np.all(np.diff(objective) >= -1e-3)


@pytest.mark.parametrize("kind", [None, "squarem", "lbfgs"])
def test_aitken_stops_within_the_tolerance_of_the_end(kind):
    # Only a weight is free: one rate, about 1 - 0.3^2, which Aitken's extrapolation finds exactly.
    tol = 1e-6
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=300) + np.where(rng.random(300) < 0.7, 0.3, -0.3))
        parts = [jm.frozen(jm.Normal(mean, 1.0)) for mean in (-0.3, 0.3)]
        start = jm.Mixture(jnp.array([0.8, 0.2]), parts)

        @functools.partial(jax.jit, static_argnames="stopping")
        def end(tol, stopping):
            found = jm.em.run(
                start, x, tol=tol, max_steps=500, history_size=500, accelerate=kind,
                stopping=stopping,
            )  # fmt: skip
            return found.log_likelihood / len(x), found.result == jm.RESULTS.successful

        optimum, _ = end(1e-14, "gain")
        by_gain, _ = end(tol, "gain")
        by_aitken, successful = end(tol, "aitken")
    assert bool(successful)
    assert float(optimum - by_aitken) < 1.2 * tol
    if kind is None:  # what is left is 1 / (1 - c^2) - 1 times the last gain
        assert float(optimum - by_gain) > 2 * tol


@pytest.mark.parametrize("entry", ["run", "fit", "source"])
def test_small_gains_with_nats_still_to_come_are_no_success(entry):
    """Two fixed normals that hardly differ, of which only the weight is free.

    The rows are quantiles of the truth, under which they are at least this much likelier.
    """
    ends = np.linspace(-8, 8, 4001)
    cumulative = lambda share: share * ndtr(ends + 0.05) + (1 - share) * ndtr(ends - 0.05)
    x = np.interp((np.arange(20_000) + 0.5) / 20_000, cumulative(0.1), ends)
    with jax.enable_x64(True):
        parts = [jm.frozen(jm.Normal(mean, 1.0)) for mean in (-0.05, 0.05)]

        def end(share):
            start = jm.Mixture(jnp.array([share, 1 - share]), parts)
            if entry == "run":
                return jm.em.run(start, jnp.asarray(x))
            data = jm.data.Arrays(x, batch_size=10_000) if entry == "source" else jnp.asarray(x)
            return jm.fit(None, start, data, init="given", progress=False)

        slow, there = end(0.9), end(0.1)
        share = float(slow.model.weights[0])
    density = lambda share: np.log(share * np.exp(-0.05 * x) + (1 - share) * np.exp(0.05 * x))
    assert np.sum(density(0.1) - density(share)) > 2
    assert bool(slow.result == jm.RESULTS.slow)
    assert bool(there.result == jm.RESULTS.successful)


@pytest.mark.parametrize("kind", ["squarem", "lbfgs"])
def test_a_fit_that_is_there_at_once_ends_at_once(kind):
    x = jnp.arange(8.0)
    options = {"init": "given", "accelerate": kind, "stopping": "aitken"}
    found = jm.fit(None, jm.Normal(0.0, 1.0), x, **options)
    assert found.num_steps < 10 and bool(found.result == jm.RESULTS.successful)
    np.testing.assert_allclose(found.model.mean, 3.5, rtol=1e-6)


def test_unknown_options_are_refused():
    for run in (jm.fit, jm.em.run):
        first = (None,) if run is jm.fit else ()
        given = {"init": "given"} if run is jm.fit else {}
        with pytest.raises(ValueError, match="accelerate must be one of"):
            run(*first, jm.Normal(0.0, 1.0), jnp.ones(3), accelerate="anderson", **given)
        with pytest.raises(ValueError, match=r"stopping.* is one of gain, aitken"):
            run(*first, jm.Normal(0.0, 1.0), jnp.ones(3), stopping="never", **given)


class Overrelaxed(jm.em.Solver):
    """EM steps times a factor."""

    factor: float | jax.Array

    def init(self, params):
        return jnp.zeros((), params.dtype)

    def propose(self, memory, point):
        ahead = point.params + self.factor * point.step
        return jm.em.Proposal(ahead, jnp.asarray(True), jnp.inf), memory

    def settle(self, memory, verdict):
        return memory


def test_a_solvers_numbers_are_mapped_over(problem):
    x, start = problem
    run = lambda factor: jm.em.run(start, x[:200], accelerate=Overrelaxed(factor))
    each = jax.vmap(run)(jnp.array([1.0, 1.6]))
    assert each.num_steps[1] < each.num_steps[0]
    np.testing.assert_allclose(*each.log_likelihood, atol=200 * 1e-4)


@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        (lambda memory, point: (point.params, memory), "must give a jm.em.Proposal or None"),
        (
            lambda memory, point: (jm.em.Proposal(point.params[:2], True, jnp.inf), memory),
            r"of shape \(15,\); it gave \(2,\)",
        ),
        (lambda memory, point: (None, point.params), "must give back a memory of the shapes"),
    ],
)
def test_a_solver_that_gives_something_else_is_told(problem, gives, sentence):
    x, start = problem

    class Odd(Overrelaxed):
        def propose(self, memory, point):
            return gives(memory, point)

    with pytest.raises(TypeError, match=f"Odd.*{sentence}"):
        jm.em.run(start, x, accelerate=Odd(1.0))
