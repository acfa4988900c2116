"""Compilation is a cost: what compiles nothing a second time, and what another size may compile."""

import contextlib
import importlib
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations():
    """A list that grows by one for every program that is compiled, or read from a cache."""
    seen: list[str] = []

    def note(name, *_, **__):
        if name == EVENT:
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def rows(n=100, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, 2)).astype(np.float32) + 4 * draw.integers(0, 2, (n, 1))


def fitted(n=100, k=3, **options):
    template = jm.gaussian_mixture(k, 2)
    return jm.fit(jax.random.key(0), template, np.float32(rows(n)), num_restarts=4, **options)


def test_the_count_counts():
    with compilations() as seen:
        jax.jit(lambda x: jnp.cos(x) + 0.125)(np.ones(3, np.float32))
    assert len(seen) == 1


def test_a_fit_of_other_rows_components_or_weights_compiles_nothing():
    fitted(weights=np.ones(100, np.float32))
    with compilations() as seen:
        for n in (97, 98, 104, 128):
            fitted(n)
        fitted(k=4)
        fitted(weights=np.arange(100, dtype=np.float32))
        fitted(tol=1e-4, max_steps=50, floor=1e-6)
    assert not seen


def record(k):
    return jm.mixture_of(jm.Composite((jm.Normal.template(), jm.Poisson.template())), k)


def test_a_fit_of_other_records_compiles_nothing():
    draw = np.random.default_rng(0)

    def one(n, k):
        data = (draw.normal(size=n).astype(np.float32), draw.poisson(3, n))
        return jm.fit(jax.random.key(0), record(k), data, num_restarts=4)

    one(100, 3)
    with compilations() as seen:
        one(110, 3)
        one(100, 4)
    assert not seen


def test_a_fit_of_sequences_of_another_longest_compiles_nothing():
    template = jm.Sequence(jm.Normal.template(), jm.Poisson.template())

    def one(longest):
        draw = np.random.default_rng(0)
        sizes = [longest, *draw.integers(1, longest + 1, 59)]
        rows = [(9 * (i % 2) + draw.normal(size=n)).tolist() for i, n in enumerate(sizes)]
        data = jm.data.encode(template, rows)
        fit = jm.fit(jax.random.key(0), jm.mixture_of(template, 2), data, num_restarts=2)
        return fit, [np.concatenate(rows[k::2]).mean() for k in (0, 1)]

    one(5)
    with compilations() as seen:
        fit, means = one(7)
    assert not seen
    np.testing.assert_allclose(np.sort(fit.model.components.item.mean), means, atol=0.1)


def test_a_sweep_is_one_launch_and_another_compiles_nothing():
    templates = jm.choice.gaussian_templates(2, [1, 2, 3], ["diag"])
    with compilations() as seen:
        jm.choice.sweep(jax.random.key(0), templates, np.float32(rows()), num_restarts=2)
    assert len(seen) <= 3, "starts, steps, and no more"
    with compilations() as seen:
        jm.choice.sweep(jax.random.key(1), templates, np.float32(rows(99, 1)), num_restarts=2)
    assert not seen


@pytest.mark.parametrize("call", ["step", "run", "expected_stats", "solve", "init", "posterior"])
def test_an_eager_call_compiles_once(call):
    x = jnp.asarray(np.float32(rows()))
    template = jm.gaussian_mixture(2, 2)
    parts = jax.vmap(jm.MultivariateNormal, (0, None))(
        jnp.array([[0.0, 0.0], [4.0, 4.0]]), jnp.eye(2)
    )
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
    model_of_one = jm.MultivariateNormal(jnp.zeros(2), jnp.eye(2))

    def density():
        posterior = jm.em.posterior(model_of_one, x)
        return posterior.log_density(posterior.origin)

    calls = {
        "posterior": density,
        "step": lambda: jm.em.step(model, x),
        "run": lambda: jm.em.run(model, x, max_steps=3),
        "expected_stats": lambda: jm.em.expected_stats(model, x),
        "solve": lambda: jm.em.solve(model, x),
        "init": lambda: jm.em.init(jax.random.key(0), template, x),
    }
    calls[call]()
    with compilations() as seen:
        calls[call]()
    assert not seen


def test_padding_changes_no_fit():
    """Five components of 99 rows lie in room for eight and 128: the same fit as without the room."""
    from jaxmix.em.search import padding, small

    x = np.float32(rows(99))
    fits = []
    for exact in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if exact:
                patch.setattr(padding, "bucket", lambda count, least: count)
                patch.setattr(small, "bucket_of_components", lambda count: count)
            fits.append(jm.fit(jax.random.key(3), jm.gaussian_mixture(5, 2), x, num_restarts=2))
    padded, plain = fits
    np.testing.assert_allclose(padded.log_likelihood, plain.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(padded.model.weights, plain.model.weights, atol=1e-3)
    np.testing.assert_allclose(padded.entropy, plain.entropy, atol=1e-2)
    assert padded.num_emptied == plain.num_emptied == 0
    assert padded.num_parameters == plain.num_parameters == 4 + 5 * 5


def test_a_likelihood_ratio_test_of_other_rows_compiles_nothing():
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(-3, 1, 60), draw.normal(3, 1, 60)]).astype(np.float32)
    parts = jax.vmap(jm.Normal)(jnp.array([-3.0, 3.0]), jnp.ones(2))
    two = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
    one = jm.Normal(jnp.zeros(()), jnp.asarray(3.0))
    test = lambda x, tol: jm.choice.likelihood_ratio_test(
        jax.random.key(0), one, two, x, num=19, num_restarts=1, max_steps=50, tol=tol
    )
    test(x, 1e-5)
    with compilations() as seen:
        found = test(x[5:], 1e-4)
    assert not seen
    assert found.p_value < 0.1


def test_padding_changes_no_rows_that_a_likelihood_ratio_test_draws():
    """Under a fit that leaves a model as it is, each statistic tells the rows that were drawn."""
    module = importlib.import_module("jaxmix.choice.likelihood_ratio")
    two = normals(2)
    x = np.linspace(-1, 1, 37, dtype=np.float32)

    def as_it_is(model, data, weights, **_):
        level = jnp.sum(weights * jax.vmap(model.log_prob)(data))
        return SimpleNamespace(log_likelihood=level, result=jm.RESULTS.successful)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", as_it_is)
        for few in (module.FEW_ROWS, 0):
            patch.setattr(module, "FEW_ROWS", few)
            test = jm.choice.likelihood_ratio_test(
                jax.random.key(0), jm.Normal(0.5, 1.0), two, x, num=7, num_restarts=0
            )
            found.append(test.replicates)
    assert np.ptp(found[0]) > 1
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_moves_of_other_rows_compile_nothing():
    draw = np.random.default_rng(0)
    x = (draw.normal(size=240) + np.repeat([-20, -15, 20], 80)).astype(np.float32)
    parts = jax.vmap(jm.Normal)(jnp.array([-17.0, 19.5, 20.5]), jnp.array([3.0, 0.5, 0.5]))
    poor = jm.MixtureSameFamily(jnp.array([0.6, 0.2, 0.2]), parts)
    move = lambda x: jm.choice.split_and_merge(
        jax.random.key(0), poor, x, max_moves=1, max_steps=60, num_candidates=2
    )
    move(jax.device_put(x))
    shorter = jax.device_put(x[:233])
    with compilations() as seen:
        moves = move(shorter)
    assert not seen
    np.testing.assert_allclose(np.sort(moves.model.components.mean), [-20, -15, 20], atol=0.5)


def test_folds_of_other_rows_compile_nothing():
    folds = lambda x: list(jm.data.k_fold(jax.random.key(0), x, 3))
    one, other = jnp.arange(30.0), jax.device_put(np.arange(31.0, dtype=np.float32))
    folds(one)
    with compilations() as seen:
        pairs = folds(other)
    assert not seen
    assert all(
        sorted([*train.tolist(), *held.tolist()]) == list(range(31)) for train, held in pairs
    )


def test_scikit_learn_estimators_of_other_rows_and_components_compile_nothing():
    from jaxmix.sklearn import GaussianMixture

    one = lambda n, k: GaussianMixture(k, random_state=0).fit(rows(n)).score(rows(n))
    one(100, 5)
    with compilations() as seen:
        one(90, 8)
        one(120, 6)
    assert not seen


def normals(k):
    parts = jm.Normal(jnp.arange(float(k)) * 4, jnp.ones(k))
    return jm.MixtureSameFamily(jnp.full(k, 1 / k), parts)


def test_a_bootstrap_of_other_rows_components_or_seeds_compiles_nothing():
    draw = np.random.default_rng(0)
    x = (draw.normal(size=120) + 4 * draw.integers(0, 3, 120)).astype(np.float32)
    one = lambda seed, n, model: jm.em.bootstrap(
        jax.random.key(seed), model, x[:n], num=8, max_steps=20 + seed
    )
    three, four = normals(3), normals(4)
    one(0, 100, four).interval(lambda m: m.weights, 0.95)
    with compilations() as seen:
        boot = one(1, 120, three)
        one(2, 100, four).interval(lambda m: m.weights, 0.9)
    assert not seen
    assert boot.models.components.mean.shape == boot.models.mixing.logits.shape == (8, 3)


@pytest.mark.parametrize("parametric", [False, True])
def test_padding_changes_no_bootstrap(parametric):
    """What is drawn for a row is the same, whatever room the rows and components lie in."""
    x, model = np.float32(rows(97))[:, 0], normals(3)
    refit = lambda: jm.em.bootstrap(
        jax.random.key(2), model, x, num=6, parametric=parametric, max_steps=40
    )
    padded = refit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["jaxmix.em.uncertainty.bootstrap"], "ELEMENTS", 0)
        plain = refit()
    np.testing.assert_allclose(padded.models.weights, plain.models.weights, atol=1e-3)
    np.testing.assert_allclose(
        padded.models.components.mean, plain.models.components.mean, atol=1e-2
    )


def test_what_a_jit_closes_over_is_no_argument_of_its_own_program():
    x = jnp.linspace(-1.0, 1.0, 20)
    model = jm.Normal(0, 1)
    fitted, _, info = jax.jit(lambda: jm.em.step(model, x))()
    np.testing.assert_allclose(fitted.mean, 0, atol=1e-6)
    np.testing.assert_allclose(info.log_likelihood, jm.em.step(model, x)[2][0], rtol=1e-6)


def test_cross_validation_of_other_rows_compiles_nothing():
    score = lambda n: jm.data.cross_validate(
        jax.random.key(0), jm.gaussian_mixture(2, 2), np.float32(rows(n)), folds=3, num_restarts=2
    )
    score(100)
    with compilations() as seen:
        found = score(110)
    assert not seen
    assert found.row_log_probs.shape == (110,)
