"""Guides that reach beyond the prior's support: weights of 0, a model or an f of NaN there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import jaxmix as jm
from jaxmix.objectives._rules import GUIDE_RULES, coefficients

PRIORS = {
    "gamma": lambda a: jm.Gamma(a, 1.0),
    "beta": lambda a: jm.Beta(a, 2.0),
    "uniform": lambda a: jm.Uniform(0.0, a),
    "exponential": lambda a: jm.Exponential(a),
    "weibull": lambda a: jm.Weibull(a, 1.0),
    "log-normal": lambda a: jm.LogNormal(0.0, a),
}
OBJECTIVES = {
    "elbo": jm.elbo(8), "iwae": jm.iwae(8), "piwae": jm.piwae(2, 4), "miwae": jm.miwae(2, 4),
    "ciwae": jm.ciwae(8, 0.5), "renyi": jm.renyi(8, 0.5), "renyi above 1": jm.renyi(8, 2.0),
    "cubo": jm.objectives.cubo(8, 2.0), "eubo": jm.objectives.eubo(8),
    "delta method": jm.delta_method(8), "jackknife": jm.jackknife(8, 2),
    "multilevel": jm.multilevel(max_level=2),
    "single term": jm.multilevel("single-term", max_level=2),
    "one pair a level": jm.multilevel(share=False, max_level=2),
    "sumo": jm.sumo(base_samples=3, law=jm.objectives.HarmonicCounts(max_count=5)),
}  # fmt: skip
DEAD = -np.inf
LOG_W = np.array(
    [
        [0, -1, 2, DEAD, 1, 0, 0.5, 1],
        [DEAD, DEAD, 2, DEAD, 1, 0, 0.5, 1],
        [DEAD, DEAD, DEAD, DEAD, 1, 0, 0.5, 1],
        [DEAD] * 7 + [0],
        [0] + [DEAD] * 7,
        [DEAD] * 8,
    ],
    np.float32,
)


@pytest.mark.parametrize("prior", PRIORS)
def test_log_densities_off_the_support_have_finite_slopes(prior):
    z = jnp.array([-2.0, -0.3, 0.0, 0.4, 1.5, 7.0])
    slopes = jax.vmap(jax.grad(lambda a, z: PRIORS[prior](a).log_prob(z), (0, 1)), (None, 0))
    assert np.isfinite(slopes(jnp.array(1.5), z)).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_coefficients_beside_weights_of_zero(name):
    def all_rules(log_w):
        for rule in GUIDE_RULES:
            one = dataclasses.replace(OBJECTIVES[name], guide_gradient=rule)
            if isinstance(one, jm.objectives.FixedObjective):
                yield coefficients(log_w, one.combine(log_w), one.bound, "value", rule)
            else:
                yield one.row_coefficients(log_w, 2)[2]

    found = jax.jit(jax.vmap(lambda log_w: list(all_rules(log_w))))(jnp.asarray(LOG_W))
    assert np.isfinite(np.stack(jax.tree.leaves(found))).all()


def joint(a):
    prior = PRIORS["gamma"](a)
    return lambda z, x: prior.log_prob(z) + jm.Normal(z, 1.0).log_prob(x)


X = jnp.array([0.3, 1.0])


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n not in ("single term", "piwae")])
def test_trains_on_under_a_guide_without_bounds(name):
    rule = [*GUIDE_RULES][list(OBJECTIVES).index(name) % len(GUIDE_RULES)]
    objective = dataclasses.replace(OBJECTIVES[name], guide_gradient=rule)

    def loss(p, key):
        guide = lambda x: jm.Normal(p["m"], jnp.exp(p["s"]))
        return -jnp.sum(objective(key, joint(p["a"]), guide, X))

    def step(p, key):
        slopes = jax.grad(loss)(p, key)
        return jax.tree.map(lambda a, g: a - 0.02 * g, p, slopes), slopes

    start = {"a": jnp.array(1.5), "m": jnp.array(0.3), "s": jnp.array(-0.5)}
    keys = jax.random.split(jax.random.key(0), 20)
    end, slopes = jax.jit(lambda keys: jax.lax.scan(step, start, keys))(keys)
    assert all(np.isfinite(slope).all() and slope.any() for slope in slopes.values())
    assert all(np.isfinite(value) for value in end.values())


def test_bounds_of_several_draws_are_right_and_the_others_say_that_they_are_none():
    guide = lambda x: jm.Normal(0.6, 1.4)
    exact = [
        np.log(
            integrate.quad(
                lambda z, x=x: stats.gamma.pdf(z, 1.5) * stats.norm.pdf(x, z), 0, np.inf
            )[0]
        )
        for x in np.asarray(X)
    ]
    found = jm.log_evidence(jax.random.key(0), joint(1.5), guide, X, num_samples=4000)
    assert (np.abs(found.value - np.array(exact)) < 4 * found.std_error).all()
    assert not found.problems()
    unbiased = jm.log_evidence(
        jax.random.key(0), joint(1.5), guide, X,
        num_samples=200, objective=jm.multilevel(max_level=2), repeats=8,
    )  # fmt: skip
    assert (unbiased.result == jm.RESULTS.undefined).all() and unbiased.problems()
    values = jm.elbo(8)(jax.random.key(0), joint(1.5), guide, X)
    assert (values == -jnp.inf).all()
    nowhere = jnp.full(4, -jnp.inf)
    assert jm.objectives.combine(nowhere, jm.objectives.eubo(4).terms).value == -jnp.inf


def test_functions_are_asked_only_where_the_weight_is_positive():
    guide = lambda x: jm.Normal(0.6, 1.4)

    def mean(a, function):
        return jm.objectives.posterior_mean(
            jax.random.key(0), joint(a), guide, X, function, num_samples=4000
        )

    values, errors = mean(1.5, jnp.sqrt)
    for value, error, x in zip(values, errors, np.asarray(X), strict=True):
        weigh = lambda z, x=x: stats.gamma.pdf(z, 1.5) * stats.norm.pdf(x, z)
        whole, part = (
            integrate.quad(lambda z, f=f, w=weigh: f(z) * w(z), 0, np.inf)[0]
            for f in (lambda z: 1.0, np.sqrt)
        )
        assert abs(value - part / whole) < 4 * error
    assert np.isfinite(jax.grad(lambda a: mean(a, jnp.log)[0].sum())(1.5))
    far = lambda x: jm.Normal(-50.0, 1.0)
    none, unknown = jm.objectives.posterior_mean(
        jax.random.key(0), joint(1.5), far, X, jnp.sqrt, num_samples=4
    )
    assert jnp.isnan(none).all() and jnp.isinf(unknown).all()


@pytest.mark.parametrize("prior", ["gamma", "beta", "uniform"])
def test_estimates_under_targets_with_bounds(prior):
    draws = jm.importance.draw(jax.random.key(0), jm.Normal(0.4, 1.2), 500)

    def estimate(a, c, options):
        f = lambda z: jnp.sqrt(z) * jnp.log(c * z)
        return jm.imp_est(f, PRIORS[prior](a), draws, **options)

    def both(a, c):
        pair = [estimate(a, c, options) for options in ({}, {"self_normalised": True})]
        return [one.value for one in pair], [one.std_error for one in pair]

    @jax.jit
    def all_of(a, c):
        return both(a, c), jax.jacobian(both, (0, 1))(a, c)

    for leaf in jax.tree.leaves(all_of(jnp.array(1.5), jnp.array(2.0))):
        assert np.isfinite(leaf).all()
