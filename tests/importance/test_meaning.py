"""What an estimate says of itself: in logarithms, on the support, with slopes that are true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm
from jaxmix.importance.family import Unreached

from .systems import normals, rejects

imp = jm.importance


class Scaled(jm.LogDensity):
    """exp(shift) times a standard normal density; whether it integrates to 1 is not said."""

    shift: jax.Array

    def log_prob(self, x):
        return self.shift + jm.Normal(0, 1).log_prob(x)


def test_targets_of_any_size_have_values_masses_bounds_and_errors_in_logarithms():
    draws = imp.draw(jax.random.key(0), jm.Normal(1.0, 1.3), 2000)
    plain = jm.imp_est(rejects, jm.Normal(0, 1), draws)
    assert jnp.abs(plain.log_value - jnp.log(plain.value)) < 1e-5
    np.testing.assert_allclose(plain.log_std_error, plain.std_error / plain.value, rtol=1e-5)
    np.testing.assert_allclose(plain.log_upper, jnp.log(plain.upper), rtol=1e-5)
    for shift in (-3e4, -200.0, 200.0, 3e4):
        far = jm.imp_est(rejects, Scaled(jnp.array(shift)), draws)
        for name in ("log_value", "log_mass", "log_upper"):
            moved = getattr(far, name) - getattr(plain, name) - shift
            assert abs(moved) < 1e-6 * abs(shift) + 1e-5, name
        np.testing.assert_allclose(far.log_std_error, plain.log_std_error, rtol=2e-2)
        np.testing.assert_allclose(far.log_mass_error, plain.log_mass_error, rtol=2e-2)
        assert not far.problems() and "nan" not in str(far)
        ratio = jm.imp_est(
            rejects, Scaled(jnp.array(shift)), draws, self_normalised=True, covariance=True
        )
        np.testing.assert_allclose(ratio.value, plain.value / plain.mass, rtol=2e-2)
        np.testing.assert_allclose(ratio.log_value, jnp.log(ratio.value), atol=1e-3)
        np.testing.assert_allclose(ratio.covariance[0, 0], ratio.variance, rtol=1e-2)
    slope = jax.grad(lambda s: jm.imp_est(rejects, Scaled(s), draws).log_value)(-3e4)
    np.testing.assert_allclose(slope, 1.0, rtol=1e-4)


def test_only_a_normalised_target_can_have_missed_mass():
    class Said(Scaled):
        normalised = True

    draws = imp.draw(jax.random.key(0), jm.Normal(8.0, 1.2), 2000)
    told = lambda target: [
        s for s in jm.imp_est(lambda x: x > 8, target, draws).problems() if "mass" in s
    ]
    halves = jax.vmap(jm.Normal)(jnp.array([-8.0, 8.0]), jnp.ones(2))
    assert told(jm.MixtureSameFamily(jnp.ones(2) / 2, halves))
    assert told(Said(jnp.array(0.0))) and not told(Scaled(jnp.array(0.0)))
    # A mixture of what is not known to be normalised is not either.
    parts = [jm.Normal(-8, 1), Scaled(jnp.array(0.0))]
    assert not told(jm.Mixture(jnp.ones(2) / 2, parts))


def test_weight_without_draws_is_told_and_its_error_is_infinite():
    family = normals(jnp.array([0.0, 2.0]))
    draws = imp.draw(jax.random.key(0), family, jnp.array([500, 0]))
    out = jm.imp_est(lambda x: x > 0, jm.Normal(0.5, 1), draws, weights=jnp.array([[0.5, 0.5]]))
    assert out.undrawn == 0.5 and np.isinf(out.std_error) and "without a draw" in str(out)
    assert not np.isnan(np.asarray(out.interval())).any()
    pooled = jm.imp_est(lambda x: x > 0, jm.Normal(0.5, 1), draws)
    assert pooled.undrawn == 0 and not pooled.problems()


@pytest.mark.parametrize(
    "options", [{}, {"self_normalised": True}, {"smooth": True}, {"covariance": True}]
)
def test_f_is_asked_only_where_a_target_is_positive(options):
    # digamma(2) = 0.42278 = E log x; d/dt E x^t = Gamma(2 + t) digamma(2 + t) at t = 1: 1.8456.
    target, proposal = jm.Gamma(2.0, 1.0), jm.Normal(2.0, 2.0)
    draws = imp.draw(jax.random.key(0), proposal, 20_000)
    out = jm.imp_est(jnp.log, target, draws, **options)
    assert abs(out.value - 0.42278) < 4 * out.std_error

    def power(t):
        return jm.imp_est(lambda x: jnp.exp(t * jnp.log(x)), target, draws).value

    assert abs(jax.grad(power)(1.0) - 1.8456) < 0.1
    with pytest.raises(ValueError, match="f gave NaN at"):
        jm.imp_est(lambda x: jnp.log(x - 1), target, draws)


def test_other_entrances_ask_f_on_the_support_only_too():
    target, proposal = jm.Gamma(2.0, 1.0), jm.Normal(2.0, 2.0)
    out = imp.stream(jax.random.key(1), jnp.log, target, proposal, 4000)
    assert abs(out.value - 0.42278) < 4 * out.std_error
    draws = imp.draw(jax.random.key(0), proposal, 2000)
    found = imp.optimal_weights(jnp.log, target, draws, max_steps=5)
    assert np.isfinite(found.objective)
    assert np.isfinite(imp.second_moments(jnp.log, target, proposal, draws))


STEPS = {
    "greater": lambda c: lambda x: x > c,
    "where": lambda c: lambda x: jnp.where(x > c, 1.0, 0.0),
    "sign": lambda c: lambda x: 0.5 + 0.5 * jnp.sign(x - c),
    "in a tree": lambda c: lambda x: {"a": x * c, "b": x > c},
    "jitted": lambda c: jax.jit(lambda x: (x - c > 0).astype(x.dtype)),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("jit", [False, True])
def test_a_step_of_f_has_no_slope(name, jit):
    draws = imp.draw(jax.random.key(0), jm.Normal(1.5, 1.0), 200)

    def value(c):
        out = jm.imp_est(STEPS[name](c), jm.Normal(0.0, 1.0), draws).value
        return sum(jax.tree.leaves(out))

    run = jax.jit(value) if jit else value
    assert np.isfinite(run(1.96))
    for differentiate in (jax.grad, jax.jacfwd):
        with pytest.raises(ValueError, match="f is a step in a value that it closes over"):
            differentiate(run)(1.96)
    still = lambda c: value(jax.lax.stop_gradient(c)) + c
    np.testing.assert_allclose(jax.grad(still)(1.96), 1.0)


def test_true_slopes_of_f_stay():
    draws = imp.draw(jax.random.key(0), jm.Normal(1.5, 1.0), 20_000)
    target = jm.Normal(0.0, 1.0)
    # d/dc E max(x - c, 0) = -P(x > c).
    slope = jax.grad(lambda c: jm.imp_est(lambda x: jnp.maximum(x - c, 0), target, draws).value)
    np.testing.assert_allclose(slope(1.0), -stats.norm.sf(1.0), rtol=0.05)
    # f closes over what moves, but does not step in it.
    both = jax.grad(
        lambda m: jm.imp_est(lambda x: jnp.where(x > 1.0, m, 0), jm.Normal(m, 1.0), draws).value
    )
    exact = stats.norm.sf(1.0 - 0.3) + 0.3 * stats.norm.pdf(1.0 - 0.3)
    np.testing.assert_allclose(both(0.3), exact, rtol=0.05)


def test_errors_have_no_slope_in_the_proposals():
    def of(name):
        def run(m):
            draws = imp.draw(jax.random.key(0), jm.Normal(m, 1.0), 100)
            return getattr(jm.imp_est(rejects, jm.Normal(0.0, 1.0), draws), name)

        return run

    for name in ("std_error", "log_std_error", "mass_error"):
        with pytest.raises(RuntimeError, match="second_moments"):
            jax.grad(of(name))(2.0)
    assert jax.grad(of("value"))(2.0) == 0  # the draws are held, as it says


def test_an_event_that_was_not_reached_is_told_by_what_follows():
    # What `adapt` gives as `proposals` where no level was the event itself.
    proposals = Unreached(normals(jnp.array([1.0, 2.0])), jm.Normal(0, 1))
    draws = imp.draw(jax.random.key(1), proposals, 50)
    for out in (
        jm.imp_est(lambda x: x > 1, jm.Normal(0, 1), draws),
        imp.stream(jax.random.key(2), lambda x: x > 1, jm.Normal(0, 1), proposals, 50),
    ):
        assert any("not reached" in sentence for sentence in out.problems())


def test_dependent_draws_have_the_error_of_their_effective_number():
    events = jax.random.normal(jax.random.key(0), (2, 400))
    family = normals(jnp.array([0.0, 0.0]))
    one = jm.imp_est(rejects, jm.Normal(0.5, 1), imp.Draws.of(events, family))
    draws = imp.Draws.of(jnp.repeat(events, 5, axis=1), family)
    for r_eff in (0.2, jnp.array([0.2, 0.2])):
        five = jm.imp_est(rejects, jm.Normal(0.5, 1), draws, r_eff=r_eff)
        np.testing.assert_allclose(five.value, one.value, rtol=1e-5)
        np.testing.assert_allclose(five.std_error, one.std_error, rtol=1e-2)
    for wrong in (0.0, -1.0, jnp.ones(3)):
        with pytest.raises(ValueError, match="r_eff"):
            jm.imp_est(rejects, jm.Normal(0.5, 1), draws, r_eff=wrong)


def test_swapped_and_foreign_arguments_are_named():
    x, target, key = jnp.linspace(-1.0, 1.0, 20), jm.Normal(0, 1), jax.random.key(0)
    draws = imp.draw(key, target, 20)
    calls = {
        "draws must be Draws": [
            lambda: jm.imp_est(rejects, target, x),
            lambda: imp.optimal_weights(rejects, target, x),
            lambda: imp.second_moments(rejects, target, target, x),
            lambda: imp.block_totals(rejects, target, x),
            lambda: imp.concatenate(draws, x),
        ],
        "jax.random.key": [
            lambda: imp.draw(0, target, 20),
            lambda: imp.draw(target, target, 20),
            lambda: imp.stream(0, rejects, target, target, 20),
            lambda: imp.adapt(0, rejects, target, num_draws=20, num_components=1),
            lambda: imp.amis(0, None, target, num_draws=20, num_rounds=1, num_components=1),
        ],
        "targets must": [
            lambda: jm.imp_est(target, rejects, draws),
            lambda: imp.adapt(key, target, rejects, num_draws=20, num_components=1),
        ],
        "nothing to draw": [lambda: imp.draw(key, target, 0)],
        "one value a draw": [lambda: jm.imp_est(jnp.zeros(3), target, draws)],
    }
    for said, bad in calls.items():
        for call in bad:
            with pytest.raises((ValueError, TypeError), match=said):
                call()
