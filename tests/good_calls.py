"""A right call of each public function, of which `test_bad_calls.py` makes wrong ones."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

X = jnp.asarray(np.linspace(-2.0, 2.0, 12), jnp.float32)
PLANE = jnp.stack([X, jnp.cos(3 * X)], 1)
NORMAL = jm.Normal(0.0, 1.0)
STACK = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
PAIR = jm.MixtureSameFamily(jnp.array([0.4, 0.6]), STACK)
RECORD = jm.Composite({"a": NORMAL, "b": jm.Categorical(jnp.array([0.5, 0.5]), labels=("u", "v"))})
ROWS = [{"a": 1.0, "b": "u"}, {"a": -1.0, "b": "v"}]
TABLE = {"a": [1.0, -1.0, 0.5], "b": ["u", "v", "u"]}


def key():
    return jax.random.key(0)


def above(x):
    return x > 0.5


def joint(z, x):
    return jm.Normal(0.0, 1.0).log_prob(z) + jm.Normal(z, 1.0).log_prob(x)


def guide(x):
    return jm.Normal(x / 2, 1.0)


def draws():
    return jm.importance.draw(key(), STACK, 30)


def planar():
    return jm.importance.draw(key(), jm.SphericalNormal(jnp.zeros(2), 1.0), 30)


def labelled():
    return jm.importance.draw_labelled(key(), STACK, 60)


def block():
    return jm.importance.block_totals(above, STACK, draws())


def table():
    log_p = jm.importance.log_table(STACK, draws().events)
    return jm.importance.Table(log_p, log_p, draws().stratum, draws().counts, 30)


def stats():
    return jm.em.expected_stats(PAIR, X)[1]


def records():
    pair = jax.vmap(lambda _: RECORD)(jnp.arange(2))
    return jm.MixtureSameFamily(jnp.array([0.4, 0.6]), pair)


@functools.cache
def fitted():
    return jm.fit(key(), PAIR, X)


@functools.cache
def swept():
    return jm.choice.sweep(key(), {1: NORMAL}, X)


@functools.cache
def certified():
    return jm.importance.certify(above, STACK, labelled(), delta=0.1, pilot=draws())


@functools.cache
def calibrated():
    return jm.importance.calibrate(lambda x: x, STACK, labelled(), alpha=0.2)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    OBJECTIVES = {
        "elbo": jm.elbo(), "iwae": jm.iwae(3), "jackknife": jm.jackknife(3),
        "multilevel": jm.multilevel(max_level=3), "sumo": jm.sumo(),
    }  # fmt: skip

# name: the function, its arguments by position (made anew each time), and those by name
CALLS = {
    "jm.fit": (jm.fit, lambda: [key(), PAIR, X], lambda: {"weights": jnp.ones(12)}),
    "jm.encode": (jm.encode, lambda: [RECORD, ROWS], dict),
    "jm.decode": (jm.decode, lambda: [RECORD, {"a": X[:2], "b": jnp.array([0, 1])}], dict),
    "jm.infer_template": (jm.infer_template, lambda: [TABLE], dict),
    "jm.mixture_of": (jm.mixture_of, lambda: [jm.Normal.template(), 2], dict),
    "jm.gaussian_mixture": (jm.gaussian_mixture, lambda: [2, 2], dict),
    "jm.kl_divergence": (jm.kl_divergence, lambda: [key(), NORMAL, PAIR], lambda: {"num_samples": 4}),
    "jm.empirical_kl": (jm.empirical_kl, lambda: [NORMAL, PAIR, X], dict),
    "jm.frozen": (jm.frozen, lambda: [NORMAL], dict),
    "jm.constant": (jm.constant, lambda: [NORMAL], dict),
    "jm.trainable": (jm.trainable, lambda: [PAIR], dict),
    "jm.unwrap": (jm.unwrap, lambda: [PAIR], dict),
    "jm.tie": (
        jm.tie,
        lambda: [jm.Composite((NORMAL, NORMAL)), lambda m: [m.parts[0], m.parts[1]]], dict,
    ),
    "jm.check_density": (jm.check_density, lambda: [NORMAL, X[0]], lambda: {"num_draws": 20}),
    "em.expected_stats": (jm.em.expected_stats, lambda: [PAIR, X], dict),
    "em.init": (jm.em.init, lambda: [key(), PAIR, X], dict),
    "em.step": (jm.em.step, lambda: [PAIR, X], lambda: {"weights": jnp.ones(12)}),
    "em.run": (jm.em.run, lambda: [PAIR, X], lambda: {"max_steps": 3}),
    "em.solve": (jm.em.solve, lambda: [PAIR, X], dict),
    "em.m_step": (jm.em.m_step, lambda: [PAIR, stats()], dict),
    "em.recentre": (jm.em.recentre, lambda: [stats(), PAIR, PAIR], dict),
    "em.standard_errors": (jm.em.standard_errors, lambda: [NORMAL, X], dict),
    "em.influence": (jm.em.influence, lambda: [NORMAL, X], dict),
    "em.posterior": (jm.em.posterior, lambda: [NORMAL, X], dict),
    "em.bootstrap": (jm.em.bootstrap, lambda: [key(), NORMAL, X], lambda: {"num": 2}),
    "em.matched": (jm.em.matched, lambda: [PAIR, PAIR, X], dict),
    "em.conjugate_prior": (jm.em.conjugate_prior, lambda: [NORMAL, X], lambda: {"rows": 1.0}),
    "em.shard_rows": (jm.em.shard_rows, lambda: [X], dict),
    "em.online": (jm.em.online, lambda: [PAIR, jm.data.Arrays(np.asarray(X), batch_size=6)], dict),
    "data.partition": (jm.partition, lambda: [key(), X, [0.5, 0.5]], dict),
    "data.imputed": (jm.data.imputed, lambda: [RECORD, jm.encode(RECORD, ROWS)], dict),
    "data.k_fold": (jm.data.k_fold, lambda: [key(), X, 3], dict),
    "data.cross_validate": (
        jm.data.cross_validate, lambda: [key(), NORMAL, X], lambda: {"folds": 2}
    ),
    "data.reserve": (
        jm.data.reserve,
        lambda: [jm.Categorical(jnp.array([0.5, 0.5]), labels=("u", jm.data.OTHER)), 0.1], dict,
    ),
    "data.Arrays": (jm.data.Arrays, lambda: [np.asarray(X)], lambda: {"batch_size": 4}),
    "choice.sweep": (jm.choice.sweep, lambda: [key(), {1: NORMAL}, X], dict),
    "choice.merge_components": (jm.choice.merge_components, lambda: [PAIR, X], dict),
    "choice.gaussian_templates": (jm.choice.gaussian_templates, lambda: [2, [1, 2]], dict),
    "jm.imp_est": (
        jm.imp_est, lambda: [above, STACK, draws()], lambda: {"weights": jnp.full((2, 2), 0.5)}
    ),
    "importance.draw": (jm.importance.draw, lambda: [key(), STACK, 5], dict),
    "importance.draw_labelled": (jm.importance.draw_labelled, lambda: [key(), STACK, 9], dict),
    "importance.Draws.of": (jm.importance.Draws.of, lambda: [X.reshape(2, 6), STACK], dict),
    "importance.concatenate": (jm.importance.concatenate, lambda: [draws(), draws()], dict),
    "importance.allocate": (jm.importance.allocate, lambda: [jnp.ones(2), 9], dict),
    "importance.log_table": (jm.importance.log_table, lambda: [STACK, X], dict),
    "importance.log_mixtures": (
        jm.importance.log_mixtures, lambda: [jnp.zeros((4, 2)), jnp.ones((1, 2)) / 2], dict
    ),
    "importance.from_table": (
        jm.importance.from_table, lambda: [table(), jnp.ones(60)], lambda: {"r_eff": 0.5}
    ),
    "importance.pareto_k": (jm.importance.pareto_k, lambda: [jnp.arange(40.0)], lambda: {"r_eff": 0.5}),
    "importance.psis": (jm.importance.psis, lambda: [jnp.arange(40.0)], lambda: {"r_eff": 0.5}),
    "importance.bridge": (jm.importance.bridge, lambda: [X, -X, X, -X], dict),
    "importance.normalising_constants": (
        jm.importance.normalising_constants, lambda: [PLANE, jnp.array([6, 6])], dict
    ),
    "importance.optimal_weights": (
        jm.importance.optimal_weights, lambda: [above, STACK, draws()],
        lambda: {"max_steps": 3, "criterion": "sum", "floor": 0.1},
    ),
    "importance.second_moments": (
        jm.importance.second_moments, lambda: [above, STACK, STACK, draws()], dict
    ),
    "importance.mixture_of_targets": (jm.importance.mixture_of_targets, lambda: [STACK], dict),
    "importance.block_totals": (jm.importance.block_totals, lambda: [above, STACK, draws()], dict),
    "importance.merge": (jm.importance.merge, lambda: [block(), block()], dict),
    "importance.estimate_totals": (jm.importance.estimate_totals, lambda: [block()], dict),
    "importance.stream": (
        jm.importance.stream, lambda: [key(), above, STACK, STACK, 12], lambda: {"block": 6}
    ),
    "importance.adapt": (
        jm.importance.adapt, lambda: [key(), above, STACK],
        lambda: {"num_draws": 20, "num_components": 2},
    ),
    "importance.amis": (
        jm.importance.amis, lambda: [key(), above, STACK],
        lambda: {"num_draws": 20, "num_rounds": 2, "num_components": 2},
    ),
    "importance.max_weight": (jm.importance.max_weight, lambda: [STACK, draws()], dict),
    "importance.certify": (
        jm.importance.certify, lambda: [above, STACK, labelled()],
        lambda: {"delta": 0.1, "pilot": draws()},
    ),
    "importance.calibrate": (
        jm.importance.calibrate, lambda: [lambda x: x, STACK, labelled()], lambda: {"alpha": 0.2}
    ),
    "importance.mean_upper": (
        jm.importance.mean_upper, lambda: [jnp.ones(9) / 2, 9, 3.0, 0.1, 0.5], dict
    ),
    "importance.tilt_bound": (jm.importance.tilt_bound, lambda: [0.1, NORMAL, NORMAL], dict),
    "importance.tilt_level": (jm.importance.tilt_level, lambda: [0.1, NORMAL, NORMAL], dict),
    "objectives.combine": (
        jm.objectives.combine, lambda: [jnp.arange(4.0), [jm.objectives.Blocks(4)]], dict
    ),
    "objectives.jackknifed": (jm.objectives.jackknifed, lambda: [jnp.arange(4.0)], dict),
    "objectives.log_evidence": (
        jm.log_evidence, lambda: [key(), joint, guide, X], lambda: {"num_samples": 30}
    ),
    "objectives.posterior_mean": (
        jm.objectives.posterior_mean, lambda: [key(), joint, guide, X, lambda z: z],
        lambda: {"num_samples": 5},
    ),
    "objectives.compare": (
        jm.objectives.compare, lambda: [key(), joint, guide, X, {"elbo": jm.elbo()}],
        lambda: {"repeats": 2, "num_samples": 5},
    ),
    "miwae": (jm.miwae, lambda: [2, 3], dict),
    "piwae": (jm.piwae, lambda: [2, 3], dict),
    "ciwae": (jm.ciwae, lambda: [3, 0.1], dict),
    "renyi": (jm.renyi, lambda: [3, 0.5], dict),
    "cubo": (jm.objectives.cubo, lambda: [3, 2.0], dict),
    "eubo": (jm.objectives.eubo, lambda: [3], dict),
    "delta_method": (jm.delta_method, lambda: [3], dict),
    "jackknife": (jm.jackknife, lambda: [4, 1], lambda: {"guide_gradient": "dreg"}),
    "multilevel": (
        jm.multilevel, lambda: ["single-term"],
        lambda: {"ratio": 0.6, "base_samples": 2, "max_level": 3},
    ),
    "sumo": (jm.sumo, list, lambda: {"base_samples": 2, "law": jm.objectives.HarmonicCounts()}),
    "regression": (jm.LinearRegression, lambda: [jnp.ones(2), 1.0, 0.0], dict),
    "plot.mixture": (jm.plot.mixture, lambda: [PAIR, X], dict),
    "plot.estimates": (jm.plot.estimates, lambda: [X[:2], jm.imp_est(above, STACK, draws())], dict),
    "plot.history": (jm.plot.history, lambda: [fitted()], dict),
    "plot.fields": (jm.plot.fields, lambda: [records(), {"a": X, "b": jnp.arange(12) % 2}], dict),
    "plot.intervals": (jm.plot.intervals, lambda: [jm.em.standard_errors(NORMAL, X)], dict),
    "plot.influence": (jm.plot.influence, lambda: [X, X], dict),
    "plot.sweep": (jm.plot.sweep, lambda: [swept()], lambda: {"criteria": ("bic",)}),
    "plot.merging": (jm.plot.merging, lambda: [jm.choice.merge_components(PAIR, X)], dict),
    "plot.certificate": (jm.plot.certificate, lambda: [certified(), jnp.arange(2.0)], dict),
    "plot.threshold": (
        jm.plot.threshold, lambda: [calibrated(), lambda x: x[0], planar()], lambda: {"levels": 2}
    ),
    "plot.assignments": (
        jm.plot.assignments, lambda: [PAIR, X], lambda: {"posterior": jnp.full((12, 2), 0.5)}
    ),
    "plot.proposals": (jm.plot.proposals, lambda: [draws()], dict),
    **{
        f"objectives.{name}": (made, lambda: [key(), joint, guide, X], dict)
        for name, made in OBJECTIVES.items()
    },
}  # fmt: skip
