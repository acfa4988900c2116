"""The table of public functions, and what each does under transformations."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

NOWHERE = Path(tempfile.gettempdir()) / "jaxmix-nowhere"
key = lambda: jax.random.key(7)  # a new one at each use: each is used once
MODULES = {
    "jm": jm, "em": jm.em, "importance": jm.importance, "objectives": jm.objectives,
    "data": jm.data, "plot": jm.plot, "datasets": jm.datasets, "choice": jm.choice,
    "adapters": jm.adapters,
}  # fmt: skip

ROWS = np.array(
    [[-2.1, 0.3], [1.7, 1.1], [-1.4, -0.6], [2.3, 0.9], [-1.9, 0.1], [1.2, 1.6], [-2.6, 0.7],
     [2.9, 0.2], [-1.1, 0.5], [1.9, -0.4], [-2.2, -0.9], [2.4, 1.3]]
)  # fmt: skip


def pair(dtype=None):
    """Two normal components over the plane."""
    means = jnp.asarray([[-2.0, 0.0], [2.0, 0.8]], dtype)
    return jm.MixtureSameFamily(
        jnp.asarray([0.5, 0.5], dtype), jax.vmap(jm.DiagonalNormal)(means, jnp.ones_like(means))
    )


def proposals(like):
    return jax.vmap(jm.Normal)(
        jnp.asarray([-1.0, 1.0], like.dtype), jnp.full((2,), 1.5, like.dtype)
    )


def targets(thetas):
    return jax.vmap(jm.Normal)(thetas, jnp.ones_like(thetas))


def draws(like):
    events = jnp.linspace(-2.5, 2.5, 24, dtype=like.dtype).reshape(2, 12)
    return jm.importance.Draws.of(events, proposals(like))


def above(x):
    return x > jnp.asarray(0.4, x.dtype)


def joint(theta):
    half = jnp.ones_like(theta)
    return lambda z, x: jm.Normal(theta, half).log_prob(z) + jm.Normal(z, half).log_prob(x)


def guide(like):
    return lambda x: jm.Normal(x / 2, jnp.asarray(0.8, like.dtype))


class Row(NamedTuple):
    """A function of one array of floats, and what it does under each transformation."""

    function: Callable[[Any], Any]
    argument: np.ndarray
    grad: str = "works"
    rows: bool = False  # whether the argument is rows of data, to be spread over devices
    smooth: bool = False  # whether the derivative is that of the value, near the argument
    second: str = "works"
    export: str = "works"  # for any number of rows; "elsewhere": random, of other draws then
    over: tuple[Callable[[Any], Any], np.ndarray] | None = None  # of other rows: data, draws
    dear: bool = False  # to compile twice over: of second derivatives only the types are asked

    @property
    def of_rows(self) -> tuple[Callable[[Any], Any], np.ndarray, bool]:
        """A function of rows, rows, and whether there are any."""
        if self.over is not None:
            return *self.over, True
        return self.function, self.argument, self.rows


def sumo():
    with pytest.warns(jm.objectives.InfiniteVarianceWarning):
        return jm.sumo()


def of_data(values):
    """A second way to call: theta stays, and rows of data are the argument."""
    return lambda xs: values(jnp.asarray(0.3, xs.dtype), xs), ROWS[:4, 0]


def objective(configured, smooth=False, export="works"):
    values = lambda theta, xs: configured(key(), joint(theta), guide(theta), xs)
    return Row(
        lambda theta: values(theta, jnp.asarray(ROWS[:4, 0], theta.dtype)), np.array(0.3),
        smooth=smooth, second="surrogate", export=export, over=of_data(values),
    )  # fmt: skip


def plain(make, *args):
    """An objective whose gradient is its value's own: every order is right."""
    return objective(make(*args, guide_gradient="reparametrised"), True)._replace(second="works")


def of_draws(call):
    """A second way to call: targets stay, and events are the argument, the same of each proposal."""
    thetas = lambda e: targets(jnp.asarray(THETAS, e.dtype))
    taken = lambda e: jm.importance.Draws.of(jnp.stack([e, -e]), proposals(e))
    return lambda e: call(thetas(e), taken(e)), np.linspace(-2.5, 2.5, 12)


THETAS = np.array([0.1, 0.9])
LOGS = np.sort(np.log(np.arange(1.0, 41.0)) * np.cos(np.arange(40.0)))
REVERSE = "refused: em.solve"
KNOWN = "refused: must be known"

TABLE = {
    "em.m_step": Row(
        lambda x: jm.em.m_step(pair(x.dtype), jm.em.expected_stats(pair(x.dtype), x)[1]), ROWS,
        dear=True, rows=True,
    ),
    "em.recentre": Row(
        lambda x: jm.em.recentre(
            jm.em.expected_stats(pair(x.dtype), x)[1], pair(x.dtype), pair(x.dtype)
        ), ROWS, rows=True,
    ),
    "em.expected_stats": Row(lambda x: jm.em.expected_stats(pair(x.dtype), x), ROWS, rows=True),
    "em.init": Row(lambda x: jm.em.init(key(), pair(x.dtype), x), ROWS, rows=True,
                   export="elsewhere", dear=True),
    "em.step": Row(lambda x: jm.em.step(pair(x.dtype), x)[0], ROWS, rows=True, smooth=True),
    "em.run": Row(lambda x: jm.em.run(pair(x.dtype), x, max_steps=5, history_size=5).model, ROWS,
                  grad=REVERSE, rows=True, smooth=True, dear=True),
    "em.solve": Row(lambda x: jm.em.solve(pair(x.dtype), x), ROWS, rows=True, smooth=True,
                    dear=True),
    "em.standard_errors": Row(
        lambda x: jm.em.standard_errors(_normal(x), x).mean, ROWS[:, 0], rows=True, smooth=True
    ),
    "em.posterior": Row(
        lambda x: jm.em.posterior(_normal(x), x).log_density(jnp.zeros(2, x.dtype)),
        ROWS[:, 0], rows=True, smooth=True,
    ),
    "em.influence": Row(
        lambda x: jm.em.influence(_normal(x), x).mean, ROWS[:, 0], dear=True, rows=True, smooth=True
    ),
    "em.bootstrap": Row(
        lambda x: jm.em.bootstrap(key(), _normal(x), x, num=2, max_steps=4).models,
        np.abs(ROWS[:, 0]), rows=True, dear=True, export="elsewhere",
    ),
    "em.profile": Row(
        lambda x: jm.em.profile(jm.em.solve(_normal(x), x), x, lambda m: m.mean, max_steps=5),
        np.abs(ROWS[:, 0]), rows=True, dear=True,
    ),
    "data.reserve": Row(lambda p: jm.data.reserve(
        jm.Categorical(p, labels=("a", jm.data.OTHER)), 0.1).probs, np.array([0.6, 0.4]),
    ),
    "em.matched": Row(lambda x: jm.em.matched(pair(x.dtype), pair(x.dtype), x), ROWS, rows=True),
    "em.conjugate_prior": Row(lambda x: jm.em.conjugate_prior(pair(x.dtype), x, rows=1.0), ROWS,
                              rows=True, dear=True),
    "jm.frozen": Row(lambda m: jm.frozen(jm.Normal(m, m)).log_prob(m), np.array(1.5)),
    "jm.constant": Row(lambda m: jm.constant(jm.Normal(m, m)).mean, np.array(1.5)),
    "jm.tie": Row(lambda x: _tied(x).log_prob(x), ROWS[0], smooth=True),
    "jm.unwrap": Row(lambda x: jm.unwrap(_tied(x)).log_prob(x), ROWS[0], smooth=True),
    "jm.trainable": Row(
        lambda m: [jnp.where(moves, m, 0) for moves in jax.tree.leaves(jm.trainable(jm.Normal(m, m)))],
        np.array(1.5), smooth=True,
    ),
    "jm.empirical_kl": Row(
        lambda x: jm.empirical_kl(
            pair(x.dtype), jm.DiagonalNormal(jnp.mean(x, 0), jnp.ones(2, x.dtype)), x
        ),
        ROWS, rows=True,
    ),
    "jm.kl_divergence": Row(
        lambda m: jm.kl_divergence(key(), jm.Normal(m, m), jm.Normal(m * m, m), num_samples=8),
        np.array(1.5),
    ),
    "jm.imp_est": Row(
        lambda t: jm.imp_est(above, targets(t), draws(t)).value, THETAS, smooth=True,
        over=of_draws(lambda t, d: jm.imp_est(above, t, d).value), export=KNOWN,
    ),
    "importance.pareto_k": Row(lambda w: jm.importance.pareto_k(w), LOGS, rows=True, export=KNOWN),
    "importance.psis": Row(lambda w: jm.importance.psis(w)[0], LOGS, rows=True, export=KNOWN),
    "importance.bridge": Row(lambda w: jm.importance.bridge(w, -w, w / 2, -w), LOGS,
                             rows=True, export=KNOWN),
    "importance.normalising_constants": Row(
        lambda w: jm.importance.normalising_constants(
            jnp.stack([w, -w], 1), jnp.asarray([20, 20])
        ).log_z,
        LOGS, rows=True, export=KNOWN,
    ),
    "importance.log_table": Row(
        lambda t: jm.importance.log_table(targets(t), t), THETAS, smooth=True,
        over=of_draws(lambda t, d: jm.importance.log_table(t, d.events)),
    ),
    "importance.from_table": Row(lambda t: jm.importance.from_table(
        jm.importance.Table(
            jm.importance.log_table(targets(t), draws(t).events),
            jm.importance.log_table(proposals(t), draws(t).events),
            draws(t).stratum, draws(t).counts, 12,
        ),
        draws(t).events,
    ).value, THETAS, smooth=True),
    "importance.log_mixtures": Row(
        lambda t: jm.importance.log_mixtures(
            jm.importance.log_table(proposals(t), t), jnp.full((2, 2), 0.5, t.dtype)
        ),
        THETAS, smooth=True, over=of_draws(lambda t, d: jm.importance.log_mixtures(
            jm.importance.log_table(d.proposals, d.events), jnp.full((2, 2), 0.5, d.events.dtype)
        )),
    ),
    "importance.second_moments": Row(
        lambda t: jm.importance.second_moments(above, targets(t), proposals(t), draws(t)), THETAS,
        smooth=True,
        over=of_draws(lambda t, d: jm.importance.second_moments(above, t, d.proposals, d)),
    ),
    "importance.optimal_weights": Row(
        lambda t: jm.importance.optimal_weights(above, targets(t), draws(t), max_steps=20).weights,
        THETAS, grad="refused: optimal_weights",
        over=of_draws(lambda t, d: jm.importance.optimal_weights(above, t, d, max_steps=5).weights),
    ),
    "importance.mixture_of_targets": Row(
        lambda t: jm.importance.mixture_of_targets(targets(t)).log_prob(t[0]), THETAS, smooth=True
    ),
    "importance.draw": Row(
        lambda t: jm.importance.draw(key(), targets(t), 3).events, THETAS
    ),
    "importance.concatenate": Row(
        lambda t: jm.importance.concatenate(draws(t), draws(2 * t)).events * t[0], THETAS,
        smooth=True, over=of_draws(lambda t, d: jm.importance.concatenate(d, d).events),
    ),
    "importance.block_totals": Row(
        lambda t: jm.importance.block_totals(above, targets(t), draws(t)), THETAS,
        over=of_draws(lambda t, d: jm.importance.block_totals(above, t, d)),
    ),
    "importance.merge": Row(lambda t: jm.importance.merge(_totals(t), _totals(2 * t)), THETAS),
    "importance.estimate_totals": Row(
        lambda t: jm.importance.estimate_totals(_totals(t)).value, THETAS, smooth=True,
        over=of_draws(lambda t, d: jm.importance.estimate_totals(
            jm.importance.block_totals(above, t, d)
        ).value),
    ),
    "importance.stream": Row(
        lambda t: jm.importance.stream(key(), above, targets(t), proposals(t), 12).value, THETAS,
        smooth=True,
    ),
    "objectives.combine": Row(
        lambda w: jm.objectives.combine(w[:8], jm.iwae(8).terms).value, LOGS, smooth=True
    ),
    "objectives.jackknifed": Row(lambda w: jm.objectives.jackknifed(w[:8]), LOGS, smooth=True),
    "objectives.posterior_mean": Row(
        lambda m: _posterior_mean(m, jnp.asarray(ROWS[:4, 0], m.dtype)), np.array(0.3),
        over=of_data(lambda m, xs: _posterior_mean(m, xs)),
    ),
    "objectives.log_evidence": Row(
        lambda m: _log_evidence(m, jnp.asarray(ROWS[:4, 0], m.dtype)), np.array(0.3),
        over=of_data(lambda m, xs: _log_evidence(m, xs)),
    ),
    "objectives.elbo": objective(jm.elbo(2)),
    "objectives.iwae": objective(jm.iwae(3), smooth=True),
    "objectives.miwae": objective(jm.miwae(2, 2), smooth=True),
    "objectives.piwae": objective(jm.piwae(2, 2)),
    "objectives.ciwae": objective(jm.ciwae(3), smooth=True),
    "objectives.renyi": objective(jm.renyi(3, 0.5)),
    "objectives.jackknife": objective(jm.jackknife(4), smooth=True),
    "objectives.delta_method": objective(jm.delta_method(4)),
    "objectives.cubo": objective(jm.objectives.cubo(3)),
    "objectives.eubo": objective(jm.objectives.eubo(3)),
    "objectives.sumo": objective(sumo(), export=KNOWN),
    "objectives.multilevel": objective(jm.multilevel(), export=KNOWN),
    "elbo, reparametrised": plain(jm.elbo, 2),
    "iwae, reparametrised": plain(jm.iwae, 3),
    "renyi, reparametrised": plain(jm.renyi, 3, 0.5),
    "cubo, reparametrised": plain(jm.objectives.cubo, 3),
}  # fmt: skip


def _tied(x):
    part = jm.Normal(x[0], jnp.ones_like(x[0]))
    return jm.tie(jm.Composite((part, part)), lambda m: [m.parts[0], m.parts[1]])


def _normal(x):
    return jm.Normal(jnp.mean(x), jnp.std(x))


def _posterior_mean(m, xs):
    f = lambda z: z
    return jm.objectives.posterior_mean(key(), joint(m), guide(m), xs, f, num_samples=9)


def _log_evidence(m, xs):
    return jm.log_evidence(key(), joint(m), guide(m), xs, num_samples=30).value


def _totals(t):
    return jm.importance.block_totals(above, targets(t), draws(t))


# What looks at values, and says so under any transformation.
HOST = {
    "jm.fit": lambda x: jm.fit(key(), pair(), x),
    "jm.check_density": lambda x: jm.check_density(jm.Normal(x[0, 0], 1.0)),
    "jm.encode": lambda x: jm.encode(jm.Composite((jm.Normal(0, 1),)), [(x[0, 0],)]),
    "jm.decode": lambda x: jm.decode(jm.Composite((jm.Normal(0, 1),)), (x[:, 0],)),
    "jm.infer_template": lambda x: jm.infer_template({"a": x[:, 0]}),
    "jm.save": lambda x: jm.save(NOWHERE, jm.Normal(x[0, 0], 1.0)),
    "jm.partition": lambda x: jm.partition(key(), x, [0.5, 0.5]),
    "data.imputed": lambda x: jm.data.imputed(jm.Composite((jm.Normal(0, 1),)), (x[:, 0],)),
    "data.k_fold": lambda x: jm.data.k_fold(key(), x, 2),
    "data.cross_validate": lambda x: jm.data.cross_validate(key(), pair(), x),
    "em.online": lambda x: jm.em.online(pair(), [x]),
    "em.shard_rows": lambda x: jm.em.shard_rows(x),
    "importance.adapt": lambda x: jm.importance.adapt(
        key(), above, targets(x[0]), num_draws=10, num_components=2
    ),
    "importance.allocate": lambda x: jm.importance.allocate(jnp.abs(x[0]), 10),
    "objectives.compare": lambda x: jm.objectives.compare(
        key(), joint(x[0, 0]), guide(x), x[:, 0], {"elbo": jm.elbo()}
    ),
    "em.shard_components": lambda x: jm.em.shard_components(
        jax.vmap(jm.Normal)(x[:, 0], jnp.ones_like(x[:, 0]))
    ),
    "importance.amis": lambda x: jm.importance.amis(
        key(), above, targets(x[0]), num_draws=10, num_rounds=2, num_components=2
    ),
    "importance.certify": lambda x: jm.importance.certify(
        above, targets(x[0]), draws(x.ravel()), delta=0.1
    ),
    "importance.calibrate": lambda x: jm.importance.calibrate(
        lambda y: y, targets(x[0]), draws(x.ravel()), alpha=0.1
    ),
    "importance.max_weight": lambda x: jm.importance.max_weight(targets(x[0]), draws(x.ravel())),
    "importance.mean_upper": lambda x: jm.importance.mean_upper(jnp.abs(x[0]), 9, 3.0, 0.1, 0.5),
    "importance.draw_labelled": lambda x: jm.importance.draw_labelled(key(), targets(x[0]), 9),
    "importance.tilt_bound": lambda x: jm.importance.tilt_bound(0.1, _normal(x), _normal(2 * x)),
    "importance.tilt_level": lambda x: jm.importance.tilt_level(0.1, _normal(x), _normal(2 * x)),
    "choice.sweep": lambda x: jm.choice.sweep(key(), {2: pair()}, x),
    "choice.likelihood_ratio_test": lambda x: jm.choice.likelihood_ratio_test(
        key(), pair(), pair(), x
    ),
    "choice.merge_components": lambda x: jm.choice.merge_components(pair(), x),
    "choice.split_and_merge": lambda x: jm.choice.split_and_merge(key(), pair(), x),
    "plot.sweep": lambda x: jm.plot.sweep(x),
    "plot.merging": lambda x: jm.plot.merging(x),
    "plot.intervals": lambda x: jm.plot.intervals(x),
    "plot.influence": lambda x: jm.plot.influence(x),
    "plot.mixture": lambda x: jm.plot.mixture(pair(), x),
    "plot.assignments": lambda x: jm.plot.assignments(pair(), x),
    "plot.fields": lambda x: jm.plot.fields(pair(), x),
    "plot.history": lambda x: jm.plot.history(jm.em.History(x, x, x, x)),
    "plot.estimates": lambda x: jm.plot.estimates(x[:, 0], None),
    "plot.proposals": lambda x: jm.plot.proposals(
        jm.importance.Draws.of(x.reshape(2, 12), proposals(x))
    ),
    "plot.certificate": lambda x: jm.plot.certificate(x),
    "plot.threshold": lambda x: jm.plot.threshold(x, above, None),
    "importance.place": lambda x: jm.importance.place(key(), above, targets(x[0])),
    "plot.weights": lambda x: jm.plot.weights(x),
    "plot.comparison": lambda x: jm.plot.comparison(x),
}

# `em.solve` is the model of `em.fixed_point`.
THE_SAME = {"em.fixed_point"}
# Other libraries' distributions: `tests/adapters/test_adapters.py` transforms what they give.
ADAPTERS = {f"adapters.{name}" for name in vars(jm.adapters) if "_" in name or name == "needed"}
WITHOUT_ARRAYS = {
    "choice.gaussian_templates",
    "em.sized_for",
    "jm.compilation_cache",
    "jm.event_kind",
    "jm.gaussian_mixture",
    "jm.mixture_of",
    "jm.products_in",
    "jm.load",
    "datasets.penguins",
}


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array(leaf)]
