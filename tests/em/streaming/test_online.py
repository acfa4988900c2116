"""Online EM: exact where theory says so, near the batch optimum after one pass elsewhere."""

import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm


def test_without_latent_variables_one_pass_is_the_maximum_likelihood_fit():
    x = np.random.default_rng(0).normal(5.0, 2.0, size=800).astype(np.float32)
    source = jm.data.Arrays(x, batch_size=100)
    found = jm.em.online(jm.Normal(0.0, 1.0), source, power=1, average=False)
    np.testing.assert_allclose(found.model.mean, x.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.model.scale, x.std(), rtol=1e-5)
    assert found.num_rows == 800 and found.log_likelihood.shape == (8,)


def test_one_pass_comes_near_the_optimum():
    rng = np.random.default_rng(1)
    x = (np.where(rng.random(20_000) < 0.3, -2.0, 1.5) + rng.normal(size=20_000)).astype(np.float32)
    parts = jax.vmap(jm.Normal)(jnp.array([-1.5, 1.0]), jnp.full(2, 1.3))
    start = jm.MixtureSameFamily(jnp.full(2, 0.5), parts)
    source = jm.data.Arrays(x, batch_size=100)
    best = jm.fit(None, start, x, init="given", tol=1e-7)
    found = jm.em.online(start, source)
    mean = lambda model: float(jnp.mean(jax.vmap(model.log_prob)(jnp.asarray(x))))
    at_best = mean(best.model)
    # A statistically efficient estimate loses p / 2N = 1.25e-4 nats a datum; allow for batches.
    assert at_best - 2e-3 < mean(found.model) <= at_best + 1e-5
    assert mean(start) < at_best - 0.01


@pytest.mark.parametrize("average", [False, True])
def test_going_on_is_as_one_source_of_all(average):
    rng = np.random.default_rng(2)
    rows = (np.where(rng.random(600) < 0.3, -2.0, 1.5) + rng.normal(size=600)).astype(np.float32)
    parts = jax.vmap(jm.Normal)(jnp.array([-1.5, 1.0]), jnp.full(2, 1.3))
    start = jm.MixtureSameFamily(jnp.full(2, 0.5), parts)
    batches = np.split(rows, 12)
    given = {"prior": jm.em.conjugate_prior(start, rows), "average": average}
    whole = jm.em.online(start, batches, **given)
    # Averages begin after half of what the first call reads: after one and the same batch.
    first = jm.em.online(start, iter(batches[:11] if not average else batches), **given)
    if average:
        assert first.state.num_averaged == 6
        again = jm.em.online(first, batches[:1], average=True)
        assert again.state.num_averaged == 7 and again.num_rows == 650
        return
    second = jm.em.online(first, batches[11:], average=False)
    np.testing.assert_allclose(second.model.components.mean, whole.model.components.mean, rtol=1e-4)
    assert second.num_rows == whole.num_rows == 600
    with jax.enable_x64(True):  # batches of another dtype than the state's
        wider = jm.em.online(first, [np.float64(batches[11])], average=False)
    np.testing.assert_allclose(wider.model.components.mean, whole.model.components.mean, rtol=1e-4)


def test_covariates_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(4)
    near = rng.normal(size=(400, 1))
    x = (1e4 + near).astype(np.float32)
    y = (1 + 2 * near[:, 0] + 0.1 * rng.normal(size=400)).astype(np.float32)
    given = {"power": 1, "average": False}
    start, half = jm.LinearRegression.template(1), [(y[:200], x[:200]), (y[200:], x[200:])]
    first = jm.em.online(start, half[:1], **given)
    found = jm.em.online(first, half[1:], **given).model
    centre = x.mean(dtype=float)
    design = np.stack([x[:, 0] - centre, np.ones(400)], 1)
    want = np.linalg.lstsq(design, y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(found.coefficients[0], want[0], rtol=1e-3)
    # What the line says at the centre, to the rounding of an intercept of 2e4.
    at = float(found.coefficients[0]) * centre + float(found.intercept)
    np.testing.assert_allclose(at, want[1], atol=4e-3)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"jm\.data\.Arrays"):
        jm.em.online(jm.Normal(0.0, 1.0), np.ones(4, np.float32))
    source = jm.data.Arrays(np.ones(4, np.float32))
    with pytest.raises(ValueError, match="power must be above 1/2"):
        jm.em.online(jm.Normal(0.0, 1.0), source, power=0.5)
    with pytest.raises(ValueError, match="passes of online is a positive whole"):
        jm.em.online(jm.Normal(0.0, 1.0), source, passes=0)


def test_an_interrupt_keeps_what_was_learned():
    x = np.random.default_rng(3).normal(5.0, 2.0, size=800).astype(np.float32)

    class Stopped(jm.data.Arrays):
        def batches(self):
            for number, batch in enumerate(super().batches()):
                if number == 5:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.2)  # until the main thread has seen it
                yield batch

    options = {"power": 1, "average": False}
    found = jm.em.online(jm.Normal(0.0, 1.0), Stopped(x, batch_size=100), **options)
    assert bool(found.result == jm.RESULTS.interrupted)
    read = found.num_rows
    assert 0 < read < 800 and found.log_likelihood.shape == (read // 100,)
    np.testing.assert_allclose(found.model.mean, x[:read].mean(), rtol=1e-5)


@pytest.mark.parametrize("batch", [[1.0, 2.0], ["a", "b"], np.float32(1)])
def test_batches_that_are_no_arrays_are_refused(batch):
    with pytest.raises(ValueError, match="Batch 0 must hold arrays with a leading axis"):
        jm.em.online(jm.Normal(0.0, 1.0), [batch])
