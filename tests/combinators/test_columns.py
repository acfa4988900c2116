"""Like columns of a table as one stack: the same answers by a program that does not grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import jaxmix as jm
from jaxmix.combinators import _columns
from jaxmix.combinators._columns import fold_of
from jaxmix.em.expected import expect
from jaxmix.em.parts import num_parameters
from jaxmix.em.priors.prior import folded
from jaxmix.em.streaming import stream
from jaxmix.em.uncertainty import errors

ROWS = 60


def _numbers(columns):
    draw = np.random.default_rng(0)
    shift = 6 * (np.arange(ROWS) % 2)[:, None]
    scale = 10.0 ** draw.integers(-1, 2, columns)
    return ((draw.normal(size=(ROWS, columns)) + shift) * scale).astype(np.float32)


def _mixture(columns, draw):
    means = lambda: jnp.asarray(draw.normal(size=2), jnp.float32)
    parts = {f"c{i}": jax.vmap(jm.Normal)(means(), jnp.ones(2)) for i in range(columns)}
    return jm.MixtureSameFamily(jnp.array([0.3, 0.7]), jm.Composite(parts))


def _equations(jaxpr):
    inner = [e.params.values() for e in jaxpr.eqns]
    nested = [
        getattr(v, "jaxpr", v)
        for values in inner
        for v in values
        if hasattr(v, "eqns") or hasattr(v, "jaxpr")
    ]
    return len(jaxpr.eqns) + sum(_equations(n) for n in nested if hasattr(n, "eqns"))


def test_program_does_not_grow_with_the_columns():
    counts, rng = [], np.random.default_rng(1)
    for columns in (40, 80):
        x, model = _numbers(columns), _mixture(columns, rng)
        data = {f"c{i}": x[:, i] for i in range(columns)}
        fold = fold_of(model, data)
        assert fold.groups
        wide, events = fold.model(model), fold.data(data)
        counts.append(_equations(jax.make_jaxpr(lambda m, d: expect(m, d))(wide, events).jaxpr))
        assert num_parameters(wide) == num_parameters(model) == 4 * columns + 1
        parts = fold.unfolded(wide, model).components.parts
        assert list(parts) == list(data)
        for name, part in parts.items():
            np.testing.assert_array_equal(part.mean, model.components.parts[name].mean)
    means = np.stack([p.mean for p in model.components.parts.values()], 1).astype(float)
    under = norm.logpdf(x[:, None].astype(float), means[None]).sum(-1)
    plain = logsumexp(under + np.log([0.3, 0.7]), axis=1)
    np.testing.assert_allclose(jax.vmap(wide.log_prob)(events), plain, rtol=1e-5)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("kind", [dict, tuple])
def test_fit_gives_the_record_back(kind):
    x = _numbers(9)
    there = np.arange(ROWS)[:, None] % 5 != np.arange(9) % 5
    seen = [jm.OptionalEvent(np.where(there[:, i], x[:, i], -99), there[:, i]) for i in range(9)]
    label = (np.arange(ROWS) % 2).astype(np.int32)
    parts = [jm.Optional(jm.Normal.template(), 0.5)] * 9 + [jm.Categorical.template(2)]
    values = [*seen, label]
    if kind is dict:
        names = [f"z{9 - i}" for i in range(10)]
        parts, values = dict(zip(names, parts, strict=True)), dict(zip(names, values, strict=True))
    else:
        parts, values = tuple(parts), tuple(values)
    template = jm.mixture_of(jm.Composite(parts), 2)
    fit = jm.fit(jax.random.key(0), template, values, num_restarts=4)
    assert jax.tree.structure(fit.model) == jax.tree.structure(template)
    assert fit.num_parameters == 1 + 2 * (9 * 3 + 1)
    for i, (_, part) in enumerate(list(fit.model.components.items())[:9]):
        of = [there[:, i] & (label == k) for k in (0, 1)]
        order = np.argsort(part.value.mean)
        np.testing.assert_allclose(
            part.value.mean[order], [x[rows, i].mean() for rows in of], rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(part.p_missing, 0.2, atol=0.03)


def test_refused_row_is_told_by_its_own_names():
    data = {f"c{i}": np.ones(20, np.float32) for i in range(8)}
    data["c3"][7] = -1.0
    template = jm.mixture_of(jm.Composite({n: jm.Exponential.template() for n in data}), 2)
    with pytest.raises(ValueError, match=r"Row 7, .*'c3': -1\.0.* probability 0"):
        jm.fit(jax.random.key(0), template, data, num_restarts=2)


def test_run_and_priors_hold_to_stacked_columns(monkeypatch):
    """The same answers as without stacks; unlike priors of like columns leave the record as it is."""
    x, model = _numbers(3), _mixture(3, np.random.default_rng(2))
    data = {f"c{i}": x[:, i] for i in range(3)}
    monkeypatch.setattr(_columns, "MANY", 3)
    like = jm.em.conjugate_prior(model, data, rows=2.0)
    assert folded(None, model, data)[0].groups and folded(like, model, data)[0].groups
    still = [None] * len(like.stats)
    unlike = like._replace(at_mean=[*still[:2], jnp.ones(2), *still[3:]])
    fold, prior = folded(unlike, model, data)
    assert not fold.groups and prior is unlike
    found = [jm.em.run(model, data, prior=like, max_steps=20)]
    monkeypatch.setattr(_columns, "MANY", 10)
    found.append(jm.em.run(model, data, prior=like, max_steps=20))
    assert jax.tree.structure(found[0].model) == jax.tree.structure(model)
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-4)


def test_posteriors_and_bootstraps_of_stacked_columns(monkeypatch):
    monkeypatch.setattr(_columns, "MANY", 3)
    x = _numbers(3)
    parts = {f"c{i}": jm.Normal(x[:, i].mean(), x[:, i].std()) for i in range(3)}
    data, model = {f"c{i}": x[:, i] for i in range(3)}, jm.Composite(parts)
    mean = lambda m: m.parts["c1"].mean
    about = jm.em.posterior(model, data)
    assert isinstance(about.chart.model, _columns.Columns)
    whole = np.sum(jax.vmap(model.log_prob)(data))
    np.testing.assert_allclose(about.log_density(about.origin), whole, rtol=1e-6)
    assert jax.tree.structure(about.model(about.origin)) == jax.tree.structure(model)
    boot = jm.em.bootstrap(jax.random.key(0), model, data, num=200, max_steps=9)
    z = boot.std(mean) / (x[:, 1].std() / ROWS**0.5) - 1
    assert abs(z) * 400**0.5 < 4


def test_errors_and_sources_hold_to_stacked_columns(monkeypatch):
    """The same answers as without stacks, by a program that does not grow with the columns."""
    sizes = []
    for columns in (8, 16):
        x, model = _numbers(columns), _mixture(columns, np.random.default_rng(2))
        data = {f"c{i}": x[:, i] for i in range(columns)}
        fold = fold_of(model, data)
        of = lambda m, d: errors._errors.__wrapped__(m, d, None, None, "observed").columns_
        sizes.append(_equations(jax.make_jaxpr(of)(fold.model(model), fold.data(data)).jaxpr))
    assert sizes[0] == sizes[1]
    x, model = _numbers(3), _mixture(3, np.random.default_rng(2))
    data, seen, found = {f"c{i}": x[:, i] for i in range(3)}, [], []
    given = {"init": "given", "max_steps": 30, "validation": data}
    absorb = stream._absorb
    monkeypatch.setattr(stream, "_absorb", lambda *args: seen.append(args[0]) or absorb(*args))
    for many in (3, 10):
        monkeypatch.setattr(_columns, "MANY", many)
        source = jm.data.Arrays(data, batch_size=25)
        fit = jm.fit(None, model, source, **given)
        moves = np.asarray(jm.em.standard_errors(fit.model, data).columns_)
        found.append((fit.model, fit.validation_log_likelihood, moves @ moves.T))
        assert jax.tree.structure(fit.model) == jax.tree.structure(model)
    kinds = [type(m.components) for m in seen]
    assert kinds[0] is _columns.Columns and kinds[-1] is jm.Composite
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
