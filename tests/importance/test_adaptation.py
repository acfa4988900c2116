"""Adaptation and its rounds, what is said of a single draw, and gradients through lists and blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm

from .systems import normals, rejects

imp = jm.importance


def test_rounds_find_two_unequal_modes_and_their_mass():
    class Modes(jm.LogDensity):
        """Mass 3: two thirds of it about -4, at scale 1/2, the rest about 5."""

        def log_prob(self, x):
            left = jax.scipy.stats.norm.logpdf(x, -4, 0.5) + jnp.log(2.0)
            return jnp.logaddexp(left, jax.scipy.stats.norm.logpdf(x, 5, 1))

    rounds = imp.amis(
        jax.random.key(0), None, Modes(), num_draws=400, num_rounds=3, num_components=2,
        start=jm.Normal(0, 6),
    )  # fmt: skip
    assert rounds.draws.num_draws == 1200
    mass = jm.imp_est(
        lambda x: jnp.stack([jnp.ones(()), (x < 0).astype(x.dtype)]), Modes(), rounds.draws
    )
    value, error = np.asarray(mass.value), np.asarray(mass.std_error)
    assert np.all(np.abs(value - [3, 2]) < 4 * error)
    assert np.all(error < 0.05 * value)
    mean = jm.imp_est(lambda x: x, Modes(), rounds.draws, self_normalised=True)
    assert abs(mean.value + 1) < 4 * mean.std_error  # -8 + 5 over 3


def test_a_value_that_one_draw_carries_is_called_out():
    x = jnp.linspace(0.5, 1.5, 1000)
    flat = jnp.zeros((1000, 1))

    def estimate(last):  # all other terms are alike
        table = imp.Table(
            flat.at[-1].set(jnp.log(last)), flat, jnp.zeros(1000, int), jnp.array([1000]), 1000
        )
        return imp.from_table(table, x, single=True)

    assert estimate(1.0).problems() == []
    out = estimate(100.0)
    np.testing.assert_allclose(out.max_weight, 150 / (998.5 + 150), rtol=1e-3)
    assert any("one draw makes more than 5%" in sentence for sentence in out.problems())


def test_a_score_without_a_slope_has_no_design_point():
    with pytest.raises(ValueError, match="no usable gradient"):
        imp.adapt(
            jax.random.key(0), None, jm.Normal(0, 1), score=lambda x: jnp.sign(x - 3.0),
            gradient=True, num_draws=100, num_components=1,
        )  # fmt: skip


def test_gradients_through_a_list_of_targets_and_through_blocks():
    draws = imp.draw(jax.random.key(0), normals(jnp.array([0.0, 2.0, 3.0])), 2000)

    def listed(mean, rate):
        return jm.imp_est(rejects, [jm.Normal(mean, 1), jm.Exponential(rate)], draws).value

    by_mean, by_rate = jax.jit(jax.jacfwd(listed, (0, 1)))(0.5, 2.0)
    # P(x > a) = Phi(mean - a) and exp(-rate a); the other target's parameter moves nothing.
    np.testing.assert_allclose(by_mean, [stats.norm.pdf(1.46), 0], rtol=0.1)
    np.testing.assert_allclose(by_rate, [0, -1.96 * np.exp(-2 * 1.96)], rtol=0.1)

    def streamed(mean):
        return imp.stream(
            jax.random.key(1), rejects, jm.Normal(mean, 1), jm.Normal(2, 1), 4000, block=1000
        ).value

    np.testing.assert_allclose(jax.grad(streamed)(0.5), stats.norm.pdf(1.46), rtol=0.1)
