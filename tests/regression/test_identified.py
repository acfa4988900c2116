"""Covariates that determine one another are named, before any work, wherever the regression is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

ROWS = 60
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=ROWS) + 2000, RNG.normal(size=ROWS) * 1e-4
Y = RNG.poisson(2.0, ROWS)
LINE = jm.LinearRegression.template(3)


def pairs(third):
    return jnp.asarray(Y, float), jnp.asarray(np.stack([A, B, third], 1))


def record(third):
    names = {"y": Y, "age": A, "dose": B, "sum": third}
    return {name: jnp.asarray(a, float) for name, a in names.items()}


def composite(third):
    rows = record(third)
    return {"visit": rows, "size": jnp.asarray(A)}


def series(third):
    y, x = pairs(third)
    return y[None], x[None]


def parts_of(third):
    y, x = pairs(third)
    return jm.SequenceEvent((y.reshape(12, 5), x.reshape(12, 5, 3)), jnp.full(12, 5))


def maybe(third):
    return jm.OptionalEvent(pairs(third), jnp.arange(ROWS) % 7 > 0)


def lifted(family):
    return jm.Regression(family.template(3), response="y", given=["age", "dose", "sum"])


PLACES = {
    "alone": (LINE, pairs, "covariate"),
    "a mixture": (jm.mixture_of(jm.PoissonRegression.template(3), 2), pairs, "covariate"),
    "a field of a record": (
        jm.Composite({"visit": lifted(jm.GammaRegression), "size": jm.Normal.template()}),
        composite,
        "'sum'",
    ),
    "a gate": (
        jm.Gated.template(jm.Normal.template(), 2, 3, experts=False),
        pairs,
        "covariate",
    ),
    "items": (jm.Sequence.template(LINE), parts_of, "covariate"),
    "items of topics": (jm.HierarchicalMixture.template(LINE, 2, 2), parts_of, "covariate"),
    "a field that may be missing": (jm.Optional.template(LINE), maybe, "covariate"),
    "labelled rows": (
        jm.SemiSupervised.template(jm.mixture_of(LINE, 2)),
        lambda third: jm.LabelledEvent(pairs(third), jnp.ones((ROWS, 2))),
        "covariate",
    ),
    "repeated": (
        jm.Repeated.template(LINE, 5),
        lambda third: parts_of(third).items,
        "covariate",
    ),
    "a law an outcome": (
        jm.Conditional.template(LINE, 2),
        lambda third: (jnp.arange(ROWS) % 2, pairs(third)),
        "covariate",
    ),
    "emissions": (jm.HiddenMarkov.template(LINE, 2), series, "covariate"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_determined_is_named(place, x64):
    template, make, name = PLACES[place]
    for third, words in (
        (3 * A + 1e4 * B - 5, "is determined by .* and "),
        (-B, "is determined by"),
        (np.full(ROWS, 7.0), "is the same in all rows"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*{words}|determined by.*{name}"):
            jm.fit(jax.random.key(0), template, make(third))


def test_by_how_much_a_column_may_be_near_to_others_is_its_rounding():
    """Of float32 columns, one a hundredth of its spread away from others is told apart."""
    third = np.float32(A) + np.float32(1e4 * B)
    with pytest.raises(ValueError, match="is determined by"):
        jm.em.run(LINE, tuple(a.astype(jnp.float32) for a in pairs(third)), max_steps=1)
    apart = pairs(A + 0.01 * RNG.normal(size=ROWS))
    jm.em.run(LINE, tuple(a.astype(jnp.float32) for a in apart), max_steps=1)


def test_a_rare_label_is_found_beyond_the_sample_and_a_prior_determines_all(x64):
    rare = np.zeros(20_000)
    rare[7] = 1
    data = (jnp.asarray(RNG.normal(size=20_000)), jnp.asarray(rare[:, None]))
    line = jm.LinearRegression.template(1)
    model = jm.em.run(line, data).model
    np.testing.assert_allclose(model.coefficients + model.intercept, data[0][7])
    two = (data[0], jnp.concatenate([data[1], data[1]], 1))
    pair = jm.LinearRegression.template(2)
    prior = jm.em.conjugate_prior(pair, two, [(jm.LinearRegression, jm.em.Ridge(1e-3))])
    found = jm.em.run(pair, two, prior=prior).model.coefficients
    np.testing.assert_allclose(found[0], found[1])


def test_too_few_rows_are_told():
    few = tuple(a[:3] for a in pairs(A**2))
    with pytest.raises(ValueError, match="3 rows do not determine the 4 coefficients"):
        jm.em.run(LINE, few)
