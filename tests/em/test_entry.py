"""What enters EM: every entry asks for the same things; units, columns, duplicates change nothing."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

X = np.random.default_rng(0).normal(0, 1, (24, 2)).astype(np.float32)
KEY = jax.random.key(0)


def two(dim=2):
    means = jnp.array([[-1.0] * dim, [1.0] * dim])
    return jm.MixtureSameFamily(
        jnp.ones(2) / 2, jax.vmap(jm.DiagonalNormal)(means, jnp.ones((2, dim)))
    )


ENTRIES = {
    "run": lambda model, x, **kw: jm.em.run(model, x, max_steps=2, **kw),
    "step": lambda model, x, **kw: jm.em.step(model, x, **kw),
    "solve": lambda model, x, **kw: jm.em.solve(model, x, max_steps=2, **kw),
    "init": lambda model, x, **kw: jm.em.init(KEY, model, x, **kw),
    "expected_stats": lambda model, x, **kw: jm.em.expected_stats(model, x, **kw),
    "standard_errors": lambda model, x, **kw: jm.em.standard_errors(model, x, **kw),
    "influence": lambda model, x, **kw: jm.em.influence(model, x, **kw),
    "profile": lambda model, x, **kw: jm.em.profile(model, x, lambda m: m.weights[0], **kw),
    "posterior": lambda model, x, **kw: jm.em.posterior(model, x, **kw),
    "bootstrap": lambda model, x, **kw: jm.em.bootstrap(KEY, model, x, num=2, **kw),
    "fit": lambda model, x, **kw: jm.fit(KEY, model, x, max_steps=2, num_restarts=2, **kw),
}
BAD = {  # arguments, and what the sentence names
    "events": (lambda: (two(), X[:, :1]), "event"),
    "class": (lambda: (jm.Normal, X), r"jm\.Normal\.template\(\)"),
    "swapped": (lambda: (X, two()), "before the data"),
    "no model": (lambda: (3.0, X), "density"),
    "no data": (lambda: (two(), two()), "arrays"),
    "empty": (lambda: (two(), X[:0]), "0 rows"),
    "text": (lambda: (two(), np.array([["a", "b"]])), r"jm\.encode"),
    "ragged": (lambda: (two(), [[1.0, 2.0], [3.0]]), "unequal"),
}
WEIGHTS = {
    "negative": -np.ones(24),
    "nan": np.full(24, np.nan),
    "short": np.ones(23),
    "all zero": np.zeros(24),
    "a column": np.ones((24, 1)),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_refuses_by_a_sentence(name):
    for arguments, words in BAD.values():
        with pytest.raises(ValueError, match=words):
            ENTRIES[name](*arguments())
    for weights in WEIGHTS.values():
        with pytest.raises(ValueError, match="eights"):
            ENTRIES[name](two(), jnp.asarray(X), weights=weights)


@pytest.mark.parametrize("name", ["init", "bootstrap", "fit"])
def test_a_seed_is_no_key(name):
    call = {
        "init": lambda key: jm.em.init(key, two(), X),
        "bootstrap": lambda key: jm.em.bootstrap(key, two(), X),
        "fit": lambda key: jm.fit(key, two(), X),
    }[name]
    with pytest.raises(TypeError, match=r"jax\.random\.key"):
        call(0)


def test_a_start_that_cannot_move_is_told():
    series = jm.SequenceEvent(jnp.asarray(X), jnp.full(24, 2))
    templates = {
        "components": (jm.gaussian_mixture(2, 2), X),
        "emissions": (jm.HiddenMarkov.template(jm.Normal.template(), 2), series),
        "topics": (jm.HierarchicalMixture.template(jm.Normal.template(), 2, 2), series),
    }
    for words, (template, data) in templates.items():
        for call in (ENTRIES["run"], ENTRIES["solve"]):
            with pytest.raises(ValueError, match=f"{words} .* alike"):
                call(template, data)
    jm.em.run(jm.mixture_of(jm.Normal.template(), 1), X[:, 0], max_steps=1)  # one is no saddle


def test_numbers_are_read_as_people_have_them():
    frame = pytest.importorskip("pandas").DataFrame(X)
    right = jm.em.step(two(), jnp.asarray(X))[0].components.mean
    exact = {
        "lists": X.tolist(),
        "big endian": X.astype(">f4"),
        "columns": X.T.copy().T,
        "frame": frame,
    }
    for name, x in exact.items():
        found = jm.em.step(two(), x)[0].components.mean
        np.testing.assert_allclose(found, right, rtol=1e-6, err_msg=name)
    for half in (X.astype(np.float16), jnp.asarray(X, jnp.bfloat16)):
        found = jm.em.step(two(), half)[0].components.mean
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, right, atol=0.02)
    masked = np.ma.MaskedArray(X, mask=np.arange(48).reshape(24, 2) == 3)
    with pytest.raises(ValueError, match="row 1"):
        jm.fit(KEY, two(), masked)


# ---- a fit in other units, of other columns, of duplicated rows, is the same fit -------------------

REALS = {
    "Normal": lambda: jm.Normal.template(),
    "StudentT": lambda: jm.StudentT.template(fixed_df=True),
    "Laplace": lambda: jm.Laplace.template(),
    "full": lambda: jm.MultivariateNormal.template(2),
    "tied": lambda: jm.mixture_of(jm.TiedMultivariateNormal.template(2), 1),
    "diag": lambda: jm.DiagonalNormal.template(2),
    "partial": lambda: jm.PartialNormal.template(2),
    "partial diagonal": lambda: jm.PartialDiagonalNormal.template(2),
}
POSITIVES = {
    "Exponential": lambda: jm.Exponential.template(),
    "Gamma": lambda: jm.Gamma.template(),
    "LogNormal": lambda: jm.LogNormal.template(),
}


# Where the unit is the template's, not the data's: latent variables, loose starts, Newton steps.
UNITS = {
    "InverseGaussian": lambda: jm.mixture_of(jm.InverseGaussian.template(), 2),
    "StudentT": lambda: jm.StudentT.template(),
    "partial": lambda: jm.PartialNormal.template(2),
    "FactorAnalysis": lambda: jm.FactorAnalysis.template(2, 1),
    "ProbabilisticPCA": lambda: jm.ProbabilisticPCA.template(2, 1),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_template_in_another_unit_than_the_data_changes_nothing(name):
    random = np.random.default_rng(5)
    x = random.normal(size=(60, 2)) @ [[1.0, 0.6], [0.0, 0.5]]
    x = np.where(random.random(x.shape) < 0.2, np.nan, x) if name == "partial" else x
    x = random.standard_t(4, 60) if name == "StudentT" else x
    x = np.exp(2 * x[:, 0]) if name == "InverseGaussian" else x
    levels, steps, seen = [], [], (~np.isnan(x)).sum()
    for scale in (1.0, 1e-8, 1e12):
        fit = fitted(UNITS[name](), x * scale)
        assert bool(fit.result == jm.RESULTS.successful), (scale, str(fit))
        steps.append(int(fit.num_steps))
        levels.append(float(fit.log_likelihood) + seen * np.log(scale))
    np.testing.assert_allclose(levels[1:], levels[0], atol=0.02)
    assert max(steps) <= 2 * steps[0] + 10, steps


def fitted(template, x, weights=None):
    return jm.fit(KEY, template, jnp.asarray(x, jnp.float32), weights=weights, num_restarts=1)


@pytest.mark.parametrize("name", [*REALS, *POSITIVES])
def test_units_columns_and_duplicates_change_nothing(name):
    template = (REALS | POSITIVES)[name]()
    vector = getattr(template, "dim", None) or name == "tied"
    x = X * [1.0, 2.0] if vector else X[:, 0]
    x = np.exp(x) if name in POSITIVES else x
    first = fitted(template, x)
    assert bool(first.result == jm.RESULTS.successful)
    level = float(first.log_likelihood)
    scale = np.array([1e-3, 1e6]) if vector else np.array(1e6)
    order = np.random.default_rng(1).permutation(24)
    other = fitted(template, (x * scale)[order])
    assert bool(other.result == jm.RESULTS.successful), str(other)
    jacobian = 24 * np.log(scale).sum()
    np.testing.assert_allclose(float(other.log_likelihood) + jacobian, level, atol=0.02)
    if name in REALS:
        moved = fitted(template, (x[:, ::-1] if vector else x) + 3)
        np.testing.assert_allclose(moved.log_likelihood, level, atol=0.02)
    twice = fitted(template, np.concatenate([x, x]))
    np.testing.assert_allclose(twice.log_likelihood, 2 * level, atol=0.04)
    weighed = fitted(template, x, weights=np.full(24, 2.0))
    np.testing.assert_allclose(weighed.log_likelihood, 2 * level, atol=0.04)


def test_the_unit_of_case_weights_changes_nothing():
    """At a collapse too, where the floor is all that is left of a scale."""
    rows = jnp.asarray(np.r_[np.zeros(4), X[:, 0] + 9], jnp.float32)
    parts = jax.vmap(jm.Laplace)(jnp.array([0.0, 9.0]), jnp.ones(2))
    start = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
    ran = jax.jit(lambda w: jm.em.run(start, rows, weights=w, floor=1e-4, max_steps=200))
    first = ran(jnp.ones(28))
    for unit in (1e-3, 1e3):
        found = ran(jnp.full(28, unit))
        assert bool(found.result == first.result)
        np.testing.assert_allclose(found.log_likelihood / unit, first.log_likelihood, atol=0.01)


@pytest.mark.parametrize("name", ["Beta", "Dirichlet"])
def test_rows_all_alike_are_degenerate(name):
    for p in (0.01, 0.3):
        density = jm.Beta.template() if name == "Beta" else jm.Dirichlet.template(3)
        row = p if name == "Beta" else jnp.array([p, 0.4 * (1 - p), 0.6 * (1 - p)])
        found = jm.em.run(density, jnp.broadcast_to(jnp.asarray(row), (40, *jnp.shape(row))))
        assert bool(found.result == jm.RESULTS.degenerate), p


def test_floor_of_zero_is_plain_maximum_likelihood():
    x = np.array([0, 0, 1, 0, 2])
    cases = {
        "Bernoulli": (jm.Bernoulli.template(), np.ones(5), 0.0),
        "Poisson": (jm.Poisson.template(), np.zeros(5), 0.0),
        "Geometric": (jm.Geometric.template(), np.ones(5), 0.0),
        "Binomial": (jm.Binomial.template(2), np.full(5, 2.0), 0.0),
        "Categorical": (jm.Categorical.template(4), x, 3 * np.log(0.6) + 2 * np.log(0.2)),
    }
    for name, (template, data, right) in cases.items():
        fit = jm.fit(KEY, template, jnp.asarray(data, int), floor=0.0, num_restarts=1)
        assert bool(fit.result == jm.RESULTS.successful), name
        np.testing.assert_allclose(fit.log_likelihood, right, atol=1e-5, err_msg=name)


def test_items_are_the_data_of_one_series():
    x = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    one = jm.SequenceEvent(jnp.asarray(x)[None], jnp.array([100]))
    fit = jm.fit(KEY, jm.Sequence.template(jm.Normal.template()), one, num_restarts=1)
    level = -0.5 * 100 * (np.log(2 * np.pi * x.var()) + 1)
    np.testing.assert_allclose(fit.bic, -2 * level + 2 * np.log(100), rtol=1e-5)
    assert fit.unit == "item"
    assert fit.num_data == 100


def test_exported_with_any_number_of_rows():
    (n,) = jax.export.symbolic_shape("n")
    rows = jax.ShapeDtypeStruct((n, 2), jnp.float32)
    calls = {
        "step": lambda x: jm.em.step(two(), x)[0].components.mean,
        "run": lambda x: jm.em.run(two(), x, max_steps=3).model.components.mean,
        "expected_stats": lambda x: jm.em.expected_stats(two(), x)[0],
    }
    for name, call in calls.items():
        exported = jax.export.export(jax.jit(call))(rows)
        for x in (X, X[:10]):
            np.testing.assert_allclose(
                exported.call(x), call(x), rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_data_all_of_which_are_missing_are_refused():
    absent = jm.OptionalEvent(jnp.zeros(5), jnp.zeros(5, bool))
    for template, data in (
        (jm.mixture_of(jm.PartialNormal.template(2), 2), np.full((6, 2), np.nan)),
        (jm.Optional.template(jm.Normal.template()), absent),
    ):
        with pytest.raises(ValueError, match="Every value of the data is missing"):
            jm.fit(KEY, template, data)


def test_a_row_of_weight_zero_counts_for_nothing_whatever_it_holds():
    x, weights = jnp.array([1.0, 2.0, jnp.nan, 4.0]), jnp.array([1.0, 1.0, 0.0, 2.0])
    solution = jm.em.run(jm.Normal(0.0, 1.0), x, weights=weights)
    assert bool(solution.result == jm.RESULTS.successful)
    assert float(solution.model.mean) == pytest.approx(11 / 4)
    errors = jm.em.standard_errors(solution.model, x, weights=weights)
    assert float(errors.mean) == pytest.approx(float(solution.model.scale) / 2, rel=1e-5)
