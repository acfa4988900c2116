"""Every public function under jit, vmap, grad, jvp and sharding: it works, or refuses in words.

`works` under a transformation means: jit gives numbers, vmap over two arguments gives each one's
answer, jvp and grad agree with one another and with a central difference where `smooth`, and rows
spread over two devices give the answer of one. Under float64 the same functions are traced.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmix as jm

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


def sumo():
    with pytest.warns(jm.objectives.InfiniteVarianceWarning):
        return jm.sumo()


def objective(configured, smooth=False):
    def values(theta):
        xs = jnp.asarray(ROWS[:4, 0], theta.dtype)
        return configured(key(), joint(theta), guide(theta), xs)

    return Row(values, np.array(0.3), smooth=smooth)


THETAS = np.array([0.1, 0.9])
LOGS = np.sort(np.log(np.arange(1.0, 41.0)) * np.cos(np.arange(40.0)))
REVERSE = "refused: em.solve"

TABLE = {
    "em.m_step": Row(
        lambda x: jm.em.m_step(pair(x.dtype), jm.em.expected_stats(pair(x.dtype), x)[1]), ROWS,
        rows=True,
    ),
    "em.recentre": Row(
        lambda x: jm.em.recentre(
            jm.em.expected_stats(pair(x.dtype), x)[1], pair(x.dtype), pair(x.dtype)
        ), ROWS, rows=True,
    ),
    "em.expected_stats": Row(lambda x: jm.em.expected_stats(pair(x.dtype), x), ROWS, rows=True),
    "em.init": Row(lambda x: jm.em.init(key(), pair(x.dtype), x), ROWS, rows=True),
    "em.step": Row(lambda x: jm.em.step(pair(x.dtype), x)[0], ROWS, rows=True, smooth=True),
    "em.run": Row(lambda x: jm.em.run(pair(x.dtype), x, max_steps=5, history_size=5).model, ROWS,
                  grad=REVERSE, rows=True, smooth=True),
    "em.solve": Row(lambda x: jm.em.solve(pair(x.dtype), x), ROWS, rows=True, smooth=True),
    "em.standard_errors": Row(
        lambda x: jm.em.standard_errors(_normal(x), x).mean, ROWS[:, 0], rows=True, smooth=True
    ),
    "em.posterior": Row(
        lambda x: jm.em.posterior(_normal(x), x).log_density(jnp.zeros(2, x.dtype)),
        ROWS[:, 0], rows=True, smooth=True,
    ),
    "em.influence": Row(
        lambda x: jm.em.influence(_normal(x), x).mean, ROWS[:, 0], rows=True, smooth=True
    ),
    "em.bootstrap": Row(
        lambda x: jm.em.bootstrap(key(), jm.Normal(x[0], x[1]), x, num=2, max_steps=4).models,
        np.abs(ROWS[:, 0]),
    ),
    "em.profile": Row(
        lambda x: jm.em.profile(jm.em.solve(jm.Normal(x[0], x[1]), x), x, lambda m: m.mean, max_steps=5),
        np.abs(ROWS[:, 0]),
    ),
    "data.reserve": Row(lambda p: jm.data.reserve(
        jm.Categorical(p, labels=("a", jm.data.OTHER)), 0.1).probs, np.array([0.6, 0.4]),
    ),
    "em.matched": Row(lambda x: jm.em.matched(pair(x.dtype), pair(x.dtype), x), ROWS),
    "em.conjugate_prior": Row(lambda x: jm.em.conjugate_prior(pair(x.dtype), x, rows=1.0), ROWS),
    "jm.frozen": Row(lambda m: jm.frozen(jm.Normal(m, m)).log_prob(m), np.array(1.5)),
    "jm.constant": Row(lambda m: jm.constant(jm.Normal(m, m)).mean, np.array(1.5)),
    "jm.tie": Row(lambda x: _tied(x).log_prob(x), ROWS[0], smooth=True),
    "jm.unwrap": Row(lambda x: jm.unwrap(_tied(x)).log_prob(x), ROWS[0], smooth=True),
    "jm.trainable": Row(
        lambda m: [jnp.where(moves, m, 0) for moves in jax.tree.leaves(jm.trainable(jm.Normal(m, m)))],
        np.array(1.5), smooth=True,
    ),
    "jm.empirical_kl": Row(
        lambda x: jm.empirical_kl(pair(x.dtype), jm.DiagonalNormal(x[0], jnp.ones_like(x[0])), x),
        ROWS, rows=True,
    ),
    "jm.kl_divergence": Row(
        lambda m: jm.kl_divergence(key(), jm.Normal(m, m), jm.Normal(m * m, m), num_samples=8),
        np.array(1.5),
    ),
    "jm.imp_est": Row(
        lambda t: jm.imp_est(above, targets(t), draws(t)).value, THETAS, smooth=True
    ),
    "importance.pareto_k": Row(lambda w: jm.importance.pareto_k(w), LOGS),
    "importance.psis": Row(lambda w: jm.importance.psis(w)[0], LOGS),
    "importance.bridge": Row(lambda w: jm.importance.bridge(w, -w, w / 2, -w), LOGS),
    "importance.normalising_constants": Row(
        lambda w: jm.importance.normalising_constants(
            jnp.stack([w, -w], 1), jnp.asarray([20, 20])
        ).log_z,
        LOGS,
    ),
    "importance.log_table": Row(
        lambda t: jm.importance.log_table(targets(t), t), THETAS, smooth=True
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
        THETAS, smooth=True,
    ),
    "importance.second_moments": Row(
        lambda t: jm.importance.second_moments(above, targets(t), proposals(t), draws(t)), THETAS,
        smooth=True,
    ),
    "importance.optimal_weights": Row(
        lambda t: jm.importance.optimal_weights(above, targets(t), draws(t), max_steps=20).weights,
        THETAS, grad="refused: optimal_weights",
    ),
    "importance.mixture_of_targets": Row(
        lambda t: jm.importance.mixture_of_targets(targets(t)).log_prob(t[0]), THETAS, smooth=True
    ),
    "importance.draw": Row(
        lambda t: jm.importance.draw(key(), targets(t), 3).events, THETAS
    ),
    "importance.concatenate": Row(
        lambda t: jm.importance.concatenate(draws(t), draws(2 * t)).events * t[0], THETAS,
        smooth=True,
    ),
    "importance.block_totals": Row(
        lambda t: jm.importance.block_totals(above, targets(t), draws(t)), THETAS
    ),
    "importance.merge": Row(lambda t: jm.importance.merge(_totals(t), _totals(2 * t)), THETAS),
    "importance.estimate_totals": Row(
        lambda t: jm.importance.estimate_totals(_totals(t)).value, THETAS, smooth=True
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
        lambda m: jm.objectives.posterior_mean(
            key(), joint(m), guide(m), jnp.asarray(ROWS[:4, 0], m.dtype), lambda z: z, num_samples=9
        ),
        np.array(0.3),
    ),
    "objectives.log_evidence": Row(
        lambda m: jm.log_evidence(
            key(), joint(m), guide(m), jnp.asarray(ROWS[:4, 0], m.dtype), num_samples=30
        ).value,
        np.array(0.3),
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
    "objectives.sumo": objective(sumo()),
    "objectives.multilevel": objective(jm.multilevel()),
}  # fmt: skip


def _tied(x):
    part = jm.Normal(x[0], jnp.ones_like(x[0]))
    return jm.tie(jm.Composite((part, part)), lambda m: [m.parts[0], m.parts[1]])


def _normal(x):
    return jm.Normal(jnp.mean(x), jnp.std(x))


def _totals(t):
    return jm.importance.block_totals(above, targets(t), draws(t))


# What looks at values, and says so under any transformation.
HOST = {
    "jm.fit": lambda x: jm.fit(key(), pair(), x),
    "jm.check_density": lambda x: jm.check_density(jm.Normal(x[0, 0], 1.0)),
    "jm.encode": lambda x: jm.encode(jm.Composite((jm.Normal(0, 1),)), [(x[0, 0],)]),
    "jm.decode": lambda x: jm.decode(jm.Composite((jm.Normal(0, 1),)), (x[:, 0],)),
    "jm.infer_template": lambda x: jm.infer_template({"a": x[:, 0]}),
    "jm.save": lambda x: jm.save("nowhere", jm.Normal(x[0, 0], 1.0)),
    "jm.partition": lambda x: jm.partition(key(), x, [0.5, 0.5]),
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
# Other libraries' distributions: `tests/neighbours/test_adapters.py` transforms what they give.
ADAPTERS = {f"adapters.{name}" for name in vars(jm.adapters) if "_" in name or name == "needed"}
WITHOUT_ARRAYS = {
    "choice.gaussian_templates",
    "em.sized_for",
    "jm.compilation_cache",
    "jm.gaussian_mixture",
    "jm.mixture_of",
    "jm.products_in",
    "jm.load",
    "datasets.penguins",
}


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_inexact_array(leaf)]


def everything(row, a, v):
    """Value, mapped value, forward and reverse derivative, as far as the row has them."""
    f = lambda a: floats(row.function(a))
    out = {"value": f(a), "mapped": jax.vmap(f)(jnp.stack([a, a]))}
    out["jvp"] = sum(jnp.sum(t) for t in jax.jvp(f, (a,), (v,))[1])
    if row.grad == "works":
        out["grad"] = jnp.sum(jax.grad(lambda a: sum(jnp.sum(o) for o in f(a)))(a) * v)
    if row.smooth:
        step = jnp.asarray(jnp.finfo(a.dtype).eps ** (1 / 3), a.dtype)
        up, down = (sum(jnp.sum(o) for o in f(a + s * v)) for s in (step, -step))
        out["slope"] = (up - down) / (2 * step)
    return out


def arguments(row, dtype):
    a = jnp.asarray(row.argument, dtype)
    v = jnp.cos(jnp.arange(a.size, dtype=dtype)).reshape(a.shape)
    return a, v


# Each function is run once: LLVM's optimisation would take longer than it saves.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

by_name = pytest.mark.parametrize("name", TABLE)


@by_name
def test_works(name):
    row = TABLE[name]
    a, v = arguments(row, jnp.float32)
    seen = compiled(lambda a, v: everything(row, a, v))(a, v)
    assert seen["value"] and all(np.isfinite(out).all() for out in seen["value"]), seen
    for one, two in zip(seen["value"], seen["mapped"], strict=True):
        np.testing.assert_allclose(two, np.stack([one, one]), rtol=2e-4, atol=2e-4)
    given = [float(seen[k]) for k in ("jvp", "grad", "slope") if k in seen]
    assert np.isfinite(given).all()
    size = 1 + max(map(abs, given), default=0.0) + sum(np.abs(o).sum() for o in seen["value"])
    np.testing.assert_allclose(given, given[0], atol=2e-3 * size, rtol=0)


@by_name
def test_doubles_stay_doubles(name, x64):
    row = TABLE[name]
    a, v = arguments(row, jnp.float64)
    for out in jax.tree.leaves(jax.eval_shape(lambda a, v: everything(row, a, v), a, v)):
        assert out.dtype == jnp.float64


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if "works" != row.grad])
def test_refuses_reverse_mode(name):
    row = TABLE[name]
    a, _ = arguments(row, jnp.float32)
    with pytest.raises(RuntimeError, match=row.grad.removeprefix("refused: ")):
        jax.grad(lambda a: sum(jnp.sum(o) for o in floats(row.function(a))))(a)


def mesh(kind):
    return jax.make_mesh((2,), ("rows",), axis_types=(kind,), devices=jax.devices()[:2])


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if row.rows])
def test_rows_over_two_devices(name):
    row = TABLE[name]
    a, _ = arguments(row, jnp.float32)
    spread = jax.device_put(a, NamedSharding(mesh(AxisType.Auto), PartitionSpec("rows")))
    f = compiled(lambda a: floats(row.function(a)))
    for one, two in zip(f(a), f(spread), strict=True):
        np.testing.assert_allclose(np.asarray(two), one, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", HOST)
@pytest.mark.parametrize("transform", ["jit", "vmap", "grad", "jvp"])
def test_refuses_on_the_host(name, transform):
    x = jnp.asarray(ROWS, jnp.float32)
    f = HOST[name]
    with pytest.raises(TypeError, match=name.split(".")[1] + " looks at values"):
        if transform == "jit":
            jax.jit(f)(x)
        elif transform == "vmap":
            jax.vmap(f)(jnp.stack([x, x]))
        elif transform == "grad":
            jax.grad(f)(x)
        else:
            jax.jvp(f, (x,), (x,))


def test_no_public_function_is_missing():
    told = {*TABLE, *HOST, *THE_SAME, *WITHOUT_ARRAYS, *ADAPTERS}
    # A function that two modules export is told of once.
    known = {getattr(MODULES[name.split(".")[0]], name.split(".")[1]) for name in told - ADAPTERS}
    missing = [
        f"{where}.{name}"
        for where, module in MODULES.items()
        for name, thing in vars(module).items()
        if inspect.isfunction(thing)
        and not name.startswith("_")
        and f"{where}.{name}" not in told
        and thing not in known
    ]
    assert not missing
