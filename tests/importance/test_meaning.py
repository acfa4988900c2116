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


def entrances(f, target, draws, **options):
    """The estimate by every public function that makes one of these draws."""
    look = lambda densities: imp.log_table(densities, draws.events)
    table = imp.Table(look(target), look(draws.proposals), *draws.strata)
    weights = {k: v for k, v in options.items() if k == "weights"}
    sums = imp.block_totals(f, target, draws, **weights)
    return {
        "imp_est": jm.imp_est(f, [target], draws, **options),
        "covariance": jm.imp_est(f, [target], draws, covariance=True, **options),
        "from_table": imp.from_table(table, jax.vmap(f)(draws.events), **options),
        "estimate_totals": imp.estimate_totals(sums, **options),
    }


def test_weight_without_draws_is_told_and_its_error_is_infinite():
    family = normals(jnp.array([0.0, 2.0]))
    draws = imp.draw(jax.random.key(0), family, jnp.array([500, 0]))
    positive, target = lambda x: x > 0, jm.Normal(0.5, 1)
    found = entrances(positive, target, draws, weights=jnp.array([[0.5, 0.5]]))
    for out in found.values():
        assert out.undrawn == 0.5 and np.isinf(out.std_error) and "without a draw" in str(out)
        assert not np.isnan(np.asarray(out.interval())).any()
        assert out.covariance is None or np.isinf(out.covariance)
    pooled = jm.imp_est(positive, target, draws)
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


def looped(c):
    return lambda x: jax.lax.fori_loop(0, 2, lambda _, s: s + jnp.where(x > c, 0.5, 0.0), 0.0)


STEPS = {
    "greater": lambda c: lambda x: x > c,
    "where": lambda c: lambda x: jnp.where(x > c, 1.0, 0.0),
    "sign": lambda c: lambda x: 0.5 + 0.5 * jnp.sign(x - c),
    "in a tree": lambda c: lambda x: {"a": x * c, "b": x > c},
    "jitted": lambda c: jax.jit(lambda x: (x - c > 0).astype(x.dtype)),
    "heaviside": lambda c: lambda x: jnp.heaviside(x - c, 0.0),
    "in a loop": looped,
    "remembered": lambda c: jax.checkpoint(lambda x: (x > c).astype(x.dtype)),
    "branches": lambda c: lambda x: jax.lax.cond(x > c, lambda: 1.0, lambda: 0.0),
}
TARGET = jm.Normal(0.0, 1.0)
ENTRANCES = {
    "imp_est": lambda f, d: jm.imp_est(f, TARGET, d).value,
    "stream": lambda f, d: imp.stream(jax.random.key(1), f, TARGET, d.proposals, 20).value,
    "block_totals": lambda f, d: imp.block_totals(f, TARGET, d).mean,
    "second_moments": lambda f, d: imp.second_moments(f, TARGET, d.proposals, d),
    "optimal_weights": lambda f, d: imp.optimal_weights(f, TARGET, d, max_steps=2).objective,
    "posterior_mean": lambda f, d: jm.objectives.posterior_mean(
        jax.random.key(1), lambda z, x: TARGET.log_prob(z - x), lambda x: TARGET, jnp.ones(2), f
    )[0],
}


@pytest.mark.parametrize(
    ("name", "entrance"), [*((n, "imp_est") for n in STEPS), *(("greater", e) for e in ENTRANCES)]
)
def test_a_step_of_f_has_no_slope(name, entrance):
    draws = imp.draw(jax.random.key(0), jm.Normal(1.5, 1.0), 20)

    def value(c):
        out = ENTRANCES[entrance](STEPS[name](c), draws)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out))

    for run in (value, jax.jit(value)):
        for differentiate in (jax.grad, jax.jacfwd):
            with pytest.raises(ValueError, match="f is a step in a value that it closes over"):
                jax.eval_shape(differentiate(run), 1.96)
    still = lambda c: value(jax.lax.stop_gradient(c)) + c
    jax.eval_shape(jax.jacfwd(still), 1.96)


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


def test_errors_limits_and_diagnostics_have_no_slope_in_the_proposals():
    def of(name, entrance):
        def run(m):
            draws = imp.draw(jax.random.key(0), jm.Normal(m, 1.0), 40)
            if entrance == "stream":
                out = imp.stream(jax.random.key(0), rejects, TARGET, draws.proposals, 40)
            else:
                out = entrances(rejects, TARGET, draws)[entrance]
            return jnp.sum(getattr(out, name))

        return jax.grad(run)

    told = (
        "std_error",
        "log_std_error",
        "mass_error",
        "log_mass_error",
        "upper",
        "log_upper",
        "ess",
    )
    cases = [(name, "imp_est") for name in told]
    cases += [("std_error", e) for e in ("from_table", "estimate_totals", "stream")]
    for name, entrance in [*cases, ("covariance", "covariance")]:
        with pytest.raises(RuntimeError, match="second_moments"):
            jax.eval_shape(of(name, entrance), 2.0)
    for entrance in ("imp_est", "from_table", "estimate_totals", "stream"):
        jax.eval_shape(of("value", entrance), 2.0)  # the draws are held, as it says


def test_optimal_weights_follow_the_family_that_drew():
    draws = imp.draw(jax.random.key(0), normals(jnp.array([1.0, 0.0])), 500)
    family = lambda m: normals(jnp.stack([m, jnp.zeros(())]))

    def by_draws(m):
        moved = imp.Draws.of(draws.events.reshape(2, 500), family(m))
        return imp.optimal_weights(rejects, TARGET, moved, max_steps=50).objective

    def by_proposals(m):
        return imp.optimal_weights(
            rejects, TARGET, draws, proposals=family(m), max_steps=50
        ).objective

    a, b = (jax.jit(jax.jacfwd(f))(1.0) for f in (by_draws, by_proposals))
    np.testing.assert_allclose(a, b, rtol=1e-4)
    assert a < -0.1  # further out is better


def test_an_event_that_was_not_reached_is_told_by_what_follows():
    # What `adapt` gives as `proposals` where no level was the event itself.
    parts = [normals(jnp.array([1.0, 2.0])), jm.Normal(0, 1)]
    proposals = [Unreached(part) for part in parts]
    assert not imp.draw(jax.random.key(1), [*proposals, jm.Normal(0, 1)], 5).reached
    np.testing.assert_array_equal(proposals[0].mean, parts[0].mean)
    draws = imp.draw(jax.random.key(1), proposals, 50)
    other = imp.draw(jax.random.key(3), jm.Normal(0, 1), 50)
    known = imp.draw(jax.random.key(3), parts, 50)
    block = lambda d: imp.block_totals(lambda x: x > 1, jm.Normal(0, 1), d)
    totals = block(known), block(draws)
    assert not any("not reached" in s for s in imp.estimate_totals(totals[0]).problems())
    for out in (
        jm.imp_est(lambda x: x > 1, jm.Normal(0, 1), draws),
        jm.imp_est(lambda x: x > 1, jm.Normal(0, 1), imp.concatenate(other, draws)),
        imp.stream(jax.random.key(2), lambda x: x > 1, jm.Normal(0, 1), proposals, 50),
        imp.estimate_totals(imp.merge(*totals)),
    ):
        assert any("not reached" in sentence for sentence in out.problems())


def test_dependent_draws_count_as_their_effective_number():
    events = jax.random.normal(jax.random.key(0), (2, 400))
    family, target = normals(jnp.array([0.0, 0.0])), jm.Normal(0.5, 1)
    once = entrances(rejects, target, imp.Draws.of(events, family))
    draws = imp.Draws.of(jnp.repeat(events, 5, axis=1), family)
    again = entrances(rejects, target, draws, r_eff=0.2)
    for name, one in once.items():
        five = again[name]
        np.testing.assert_allclose(five.value, one.value, rtol=1e-5)
        for field in ("std_error", "mass_error", "ess", "upper"):
            np.testing.assert_allclose(getattr(five, field), getattr(one, field), rtol=1e-2)
    np.testing.assert_allclose(
        again["covariance"].covariance, once["covariance"].covariance, rtol=1e-2
    )
    each = jm.imp_est(rejects, [target], draws, r_eff=jnp.array([0.2, 0.2]))
    np.testing.assert_allclose(each.std_error, again["imp_est"].std_error, rtol=1e-5)
    never = [
        jm.imp_est(lambda x: x > 90, jm.Normal(0, 1), d, r_eff=r).upper
        for d, r in ((imp.Draws.of(events, family), 1.0), (draws, 0.2))
    ]
    np.testing.assert_allclose(*never, rtol=1e-5)
    for wrong in (0.0, -1.0, jnp.ones(3)):
        with pytest.raises(ValueError, match="r_eff"):
            jm.imp_est(rejects, target, draws, r_eff=wrong)


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
        "score gives one number": [
            lambda: imp.adapt(
                jax.random.key(1),
                None,
                target,
                score=lambda x: jnp.stack([x, x]),
                num_draws=9,
                num_components=1,
            )
        ],
        "nothing to draw": [lambda: imp.draw(key, target, 0)],
        "this stack holds none": [lambda: imp.draw(key, normals(jnp.zeros(0)), 5)],
        "merge takes totals of the same": [
            lambda: imp.merge(*(imp.block_totals(rejects, t, draws) for t in (target, normals(x))))
        ],
        "like is one value of f": [
            lambda: imp.estimate_totals(imp.block_totals(rejects, target, draws), like=(0.0, 0.0))
        ],
        "None of the 20 draws": [lambda: imp.optimal_weights(lambda x: x > 9, target, draws)],
        "inflation of adapt": [
            lambda: imp.adapt(key, rejects, target, num_draws=20, num_components=1, inflation=-1.0)
        ],
        "The score is 0, infinite or NaN": [
            lambda: imp.adapt(
                key, None, target, score=lambda x: x * jnp.nan, num_draws=20, num_components=1
            )
        ],
        "nan at place 2": [lambda: imp.psis(jnp.zeros(30).at[2].set(jnp.nan))],
        "one value a draw": [lambda: jm.imp_est(jnp.zeros(3), target, draws)],
    }
    for said, bad in calls.items():
        for call in bad:
            with pytest.raises((ValueError, TypeError), match=said):
                call()


def test_errors_have_a_slope_in_the_targets_where_proposals_are_traced_too():
    draws = imp.draw(jax.random.key(0), jm.Normal(0.0, 2.0), 50)
    error = lambda at, draws: jm.imp_est(lambda x: x > 1, jm.Normal(at, 1.0), draws).std_error
    slope = lambda at, draws: jax.jvp(lambda at: error(at, draws), (at,), (jnp.ones(()),))[1]
    at = jnp.asarray(0.3)
    known = slope(at, draws)
    np.testing.assert_allclose(jax.jit(slope)(at, draws), known, rtol=1e-4)
    ends = error(at + 0.01, draws) - error(at - 0.01, draws)
    np.testing.assert_allclose(known, ends / 0.02, rtol=0.01)


def test_proposals_of_ones_own_have_unconstrained_entrances():
    shape, x = np.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([0.3, -1.0])
    root = jnp.asarray(np.linalg.cholesky(shape), jnp.float32)
    heavy = imp.MultivariateT(log_df=jnp.log(3.0), loc=jnp.ones(2), scale_tril=root)
    exact = stats.multivariate_t([1, 1], shape, 3).logpdf(x)
    np.testing.assert_allclose(heavy.log_prob(x), exact, rtol=1e-5)
    axis, sd = jnp.array([[0.6], [0.8]]), jnp.array([0.5, 2.0])
    flat = imp.LowRankNormal(
        jnp.ones(2), directions=axis, log_scale=jnp.log(sd), log_stretch=jnp.log(jnp.array([3.0]))
    )
    covariance = np.outer(sd, sd) * (np.eye(2) + 8 * np.asarray(axis @ axis.T))
    exact = stats.multivariate_normal([1, 1], covariance).logpdf(x)
    np.testing.assert_allclose(flat.log_prob(x), exact, rtol=1e-5)
    for given in ({}, {"scale": sd, "log_scale": sd}):
        with pytest.raises(TypeError, match="LowRankNormal takes one of scale and log_scale"):
            imp.LowRankNormal(jnp.ones(2), directions=axis, stretch=jnp.ones(1), **given)
