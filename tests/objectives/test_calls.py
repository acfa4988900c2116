"""How an objective is called: over keys, over devices, twice differentiated, by mistake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.objectives import FixedObjective, LeaveOut, combine

FIXED = {
    "iwae": lambda rule: jm.iwae(40, guide_gradient=rule),
    "elbo": lambda rule: jm.elbo(5, guide_gradient=rule),
    "ciwae": lambda rule: jm.ciwae(40, guide_gradient=rule),
    "renyi": lambda rule: jm.renyi(40, 0.5, guide_gradient=rule),
}


def joint(mean):
    return lambda z, x: jm.Normal(mean, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)


def loss(objective, xs=(0.0, 1.0, 2.0)):
    def run(p):
        guide = lambda x: jm.Normal(p[1] * x, 0.9)
        return objective(jax.random.key(0), joint(p[0]), guide, jnp.array(xs)).mean()

    return run


AT = jnp.array([0.3, 0.5])


@pytest.mark.parametrize("name", FIXED)
def test_plain_derivatives_are_of_every_order(name, x64):
    run = loss(FIXED[name]("reparametrised"))
    at = AT.astype(float)
    slope, second = jax.jit(lambda p: (jax.grad(run)(p), jax.hessian(run)(p)))(at)
    step = 1e-5
    for i in range(2):
        move = jnp.zeros(2).at[i].set(step)
        ends = [jax.grad(run)(at + s * move) for s in (1, -1)]
        np.testing.assert_allclose(
            second[i], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(
            slope[i], (run(at + move) - run(at - move)) / (2 * step), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize(
    "objective",
    [jm.jackknife(4), jm.multilevel(max_level=2)],
    ids=lambda o: o.name,
)
def test_a_surrogate_refuses_to_be_differentiated_again(objective):
    run = loss(objective)
    assert np.isfinite(jax.grad(run)(AT)).all()
    reverse = jax.grad(lambda p: jax.grad(run)(p)[0])
    for again in (reverse, jax.jacfwd(jax.grad(run)), jax.jacfwd(jax.jacfwd(run))):
        with pytest.raises(ValueError, match="guide_gradient='reparametrised'"):
            again(AT)


def test_any_term_has_a_score_gradient():
    def slopes(rule):
        terms = (LeaveOut(1),)
        objective = FixedObjective("m", 4, terms, terms, "estimate", guide_gradient=rule)
        each = jax.vmap(lambda k: jax.grad(lambda t: _keyed(objective, k, t))(0.4))
        return np.asarray(jax.jit(each)(jax.random.split(jax.random.key(0), 30)))

    score, path = slopes("score"), slopes("dreg")
    error = ((score.var() + path.var()) / 30) ** 0.5
    assert abs(score.mean() - path.mean()) < 4 * error < 0.1


def _keyed(objective, key, slope):
    return objective(key, joint(0.0), lambda x: jm.Normal(slope * x, 1.0), jnp.ones(1000)).mean()


def test_many_keys_take_the_branch_and_the_loop_of_the_longest():
    with pytest.warns(jm.objectives.InfiniteVarianceWarning):
        sumo = jm.sumo()
    guide = lambda x: jm.Normal(x / 2, 1)
    keys = lambda: jax.random.split(jax.random.key(0), 3)
    for objective in (jm.multilevel(), sumo):
        one = lambda key, o=objective: o(key, joint(0.0), guide, jnp.ones(1))[0]
        twice = lambda key, one=one: jax.vmap(one)(jax.random.split(key, 2))
        alone = str(jax.make_jaxpr(one)(jax.random.key(0)))
        for function in (one, twice):
            text = str(jax.make_jaxpr(jax.vmap(function))(keys()))
            # A mapped condition would turn its branches into a selection of all of them.
            assert text.count("cond[") == alone.count("cond[") and "while[" in text
        many = jax.jit(jax.vmap(one))(keys())
        alone = jax.jit(one)
        np.testing.assert_allclose(many, [alone(k) for k in keys()], rtol=1e-5)


class Opaque:
    """A guide of one's own that JAX does not know as a tree."""

    reparametrised = True

    def log_prob(self, z):
        return -0.5 * z**2

    def sample(self, key):
        return jax.random.normal(key)


def test_what_stands_in_anothers_place_is_named():
    key, xs, guide = jax.random.key(0), jnp.zeros(3), lambda x: jm.Normal(x, 1)
    objective = jm.iwae(3)
    calls = {
        r"jm\.iwae\(": lambda: jm.iwae(key, joint(0.0), guide, xs),
        r"jm\.multilevel\(": lambda: jm.multilevel(key, joint(0.0), guide, xs),
        r"jm\.elbo\(": lambda: jm.elbo(joint(0.0)),
        r"jm\.objectives\.cubo\(": lambda: jm.objectives.cubo(key),
        r"jax\.random\.key": lambda: objective(0, joint(0.0), guide, xs),
        "model and guide swapped": lambda: objective(key, guide, joint(0.0), xs),
        "the guide was a Normal": lambda: objective(key, joint(0.0), jm.Normal(0, 1), xs),
        "the model was a Normal": lambda: jm.log_evidence(key, jm.Normal(0, 1), guide, xs),
        "model and guide": lambda: jm.objectives.posterior_mean(key, guide, guide, xs, lambda z: z),
        "z, x. is an array": lambda: objective(key, lambda z, x: None, guide, xs),
        "JAX sees no arrays": lambda: jm.multilevel()(key, joint(0.0), lambda x: Opaque(), xs),
        "objective comes from": lambda: jm.log_evidence(key, joint(0.0), guide, xs, objective=3),
        "max_level is a whole": lambda: jm.objectives.GeometricLevels(0.6, 2.5),
        "cutoff is a positive whole": lambda: jm.objectives.HarmonicCounts(cutoff=2.5),
        "Halves of 1 come in pairs": lambda: combine(xs, [jm.objectives.Halves(1)]),
        "Prefixes take": lambda: combine(xs, [jm.objectives.Prefixes(0, xs)]),
        "one random key": lambda: objective(jax.random.split(key), joint(0.0), guide, xs),
        "xs is a batch": lambda: objective(key, joint(0.0), guide, jnp.zeros(())),
    }
    for said, call in calls.items():
        with pytest.raises((ValueError, TypeError), match=said):
            call()
