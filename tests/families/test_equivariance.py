"""A fit in other units, or of shifted, permuted, doubled or reweighed rows, is the same fit.

`JAXMIX_EQUIVARIANCE=1` asks every family and combinator of the registries, not one of each kind.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em.priors.prior import DEFAULT_FLOOR

from ..combinators.registry import CASES as COMBINATORS
from .registry import CASES as FAMILIES

ROWS = 40
LOCATED = {
    "Normal", "StudentT", "StudentT, fixed", "Laplace", "MatrixNormal", "FactorAnalysis",
    "ProbabilisticPCA", "MultivariateNormal", "DiagonalNormal", "SphericalNormal", "PartialNormal",
}  # fmt: skip
SCALED = {
    "LogNormal", "Exponential", "Gamma", "Gamma, peaked", "Gamma, heavy", "Weibull",
    "InverseGaussian", "InverseGaussian, peaked",
}  # fmt: skip


def groups():
    """Two groups of rows in two columns of unlike units, a mixture of them, and how they move."""
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (ROWS, 2)) + 6.0 * (np.arange(ROWS) % 2)[:, None]
    return jm.gaussian_mixture(2, 2, covariance="diag"), x * [1, 1e6], "real"


def fields():
    """Fields of each kind, of which one has missing coordinates."""
    draw = np.random.default_rng(1)
    big = np.arange(ROWS) % 2
    template = {
        "place": jm.PartialNormal.template(2), "time": jm.Gamma.template(),
        "visits": jm.Poisson.template(),
    }  # fmt: skip
    place = draw.normal(8.0 * big[:, None], 1, (ROWS, 2))
    data = {
        "place": np.where(draw.random((ROWS, 2)) < 0.2, np.nan, place),
        "time": draw.gamma(3.0, 1.0 + 9.0 * big),
        "visits": draw.poisson(2 + 20 * big),
    }
    kinds = {"place": "real", "time": "positive", "visits": "other"}
    return jm.mixture_of(jm.Composite(template), 2), data, kinds


def lines():
    """Two lines that overlap, in a unit in which rounding is near the tolerance."""
    draw = np.random.default_rng(3)
    x = draw.normal(0, 1, (ROWS, 1))
    y = np.where(draw.random(ROWS) < 0.4, 1 + x[:, 0], -x[:, 0]) + draw.normal(0, 0.7, ROWS)
    return jm.mixture_of(jm.LinearRegression.template(1), 2), (1e8 * y, x), "other"


def family(case):
    def setting():
        density = case.make()
        keys = jax.random.split(jax.random.key(5), ROWS)
        data = np.asarray(jax.jit(jax.vmap(density.sample))(keys))
        known = {**dict.fromkeys(LOCATED, "real"), **dict.fromkeys(SCALED, "positive")}
        known["Wishart"] = "symmetric"
        return density, data, known.get(case.name, "other")

    return setting


COMBINED = {case.name: case.bounded for case in COMBINATORS}
SETTINGS = {case.name: family(case) for case in FAMILIES} | {
    case.name: lambda case=case: (*case.make(), "other") for case in COMBINATORS
}
SOME = ("StudentT, fixed", "Weibull")  # in one order, for tests that run side by side
if not os.environ.get("JAXMIX_EQUIVARIANCE"):
    SETTINGS = {name: SETTINGS[name] for name in SOME}
SETTINGS |= {"groups": groups, "fields": fields, "lines": lines}


def moved(data, kinds, scale, shift):
    """Data in other units, and what a row's log-density loses by that."""
    kinds = jax.tree.map(lambda _: kinds, data) if isinstance(kinds, str) else kinds
    lost = 0.0

    def move(x, kind):
        nonlocal lost
        if kind == "other":
            return x
        x, rows = np.asarray(x, float), len(x)
        free = np.isfinite(x.reshape(rows, -1))
        free = free[:, np.tril(np.ones(x.shape[1:])).ravel() > 0] if kind == "symmetric" else free
        lost = lost + free.sum(1) * np.log(scale)
        return scale * x + (shift * np.nanstd(x, 0) if kind == "real" else 0)

    return jax.tree.map(move, data, kinds), lost


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_fit(name):
    template, rows, kinds = SETTINGS[name]()
    rows = jax.tree.map(np.asarray, rows)
    two = lambda a: np.concatenate([a, a])
    rows, once = jax.tree.map(two, rows), np.repeat([1.0, 0.0], len(jax.tree.leaves(rows)[0]))
    given = {"init": "given"} if name in COMBINED else {}

    def fitted(data, weights, floor=DEFAULT_FLOOR):
        narrow = {"f": np.float32, "i": np.int32}
        data = jax.tree.map(
            lambda a: jnp.asarray(a.astype(narrow.get(a.dtype.kind, a.dtype))), data
        )
        fit = jm.fit(
            jax.random.key(0), template, data, weights=weights, num_restarts=2, progress=False,
            max_steps=300, floor=floor, **given,
        )  # fmt: skip
        each = jax.jit(lambda m, d: jax.vmap(m.log_prob)(d))(fit.model, data)
        return float(fit.log_likelihood) / weights.sum(), np.asarray(each), str(fit.result)

    level, each, result = fitted(rows, once)
    order = np.random.default_rng(2).permutation(len(once))
    shuffled = jax.tree.map(lambda a: a[order], rows)
    others = {
        "permuted": (shuffled, once[order], 0.0, np.argsort(order)),
        "doubled": (rows, np.ones_like(once), 0.0, slice(None)),
        "heavy": (rows, 1e3 * once, 0.0, slice(None)),
        "light": (rows, 1e-3 * once, 0.0, slice(None)),
    }
    for scale, shift in ((1e6, 0.0), (1e-6, 0.0), (1.0, 30.0)):
        data, lost = moved(rows, kinds, scale, shift)
        if np.any(lost) or shift:
            others[f"times {scale:g} plus {shift:g}"] = data, once, lost, slice(None)
    wrong = {}
    for how, (data, weights, lost, back) in others.items():
        # A floor is scatter of one row's weight: rows said twice take one said twice.
        other, under, said = fitted(data, weights, (1 + (how == "doubled")) * DEFAULT_FLOOR)
        gap = other + np.mean(lost) - level
        apart = np.max(np.abs((under + lost)[back] - each))
        same = said == result or not COMBINED.get(name, True)  # without a bound it ends by chance
        if not (abs(gap) < 1e-4 and apart < 0.1 and same):
            wrong[how] = gap, apart, said if said != result else ""
    assert not wrong, wrong


def test_a_template_far_from_the_data():
    template = jm.Composite(
        (
            jm.StudentT(4.0, 1.0, 2.0, fixed_df=True), jm.MultivariateNormal(jnp.ones(2), jnp.eye(2)),
            jm.PartialNormal(jnp.ones(2), jnp.eye(2)), jm.SphericalNormal(jnp.ones(2), 1.0),
            jm.MatrixNormal(jnp.ones((2, 2)), jnp.eye(2), jnp.eye(2)), jm.Gamma.template(),
        )
    )  # fmt: skip
    draw = np.random.default_rng(0)
    rows = draw.normal(3.0, 1.0, ROWS), *draw.normal(3.0, 1.0, (3, ROWS, 2))
    rows = *rows, draw.normal(3.0, 1.0, (ROWS, 2, 2)), draw.gamma(3.0, 1.0, ROWS)
    levels = []
    for unit in (1e-9, 1.0, 1e9):
        data = jax.tree.map(lambda a, unit=unit: jnp.asarray(a * unit, jnp.float32), rows)
        start = jm.em.init(jax.random.key(0), template, data)
        parts = zip(start.parts, data, strict=True)
        own = [float(np.mean(jax.vmap(p.log_prob)(x))) for p, x in parts]
        levels.append(own + np.log(unit) * np.array([1, 2, 2, 2, 4, 1]))
    np.testing.assert_allclose(levels, np.broadcast_to(levels[1], (3, 6)), atol=2e-3)


def test_units_in_which_squares_overflow_or_are_zero():
    template, rows, _ = groups()
    rows = rows / [1, 1e6]
    fitted = lambda unit: jm.fit(
        jax.random.key(0), template, jnp.asarray(unit * rows, jnp.float32), num_restarts=2,
        progress=False,
    )  # fmt: skip
    levels = [fitted(u).log_likelihood + rows.size * np.log(u) for u in (1e-17, 1.0, 1e17)]
    np.testing.assert_allclose(levels, levels[1], atol=0.01)
    assert fitted(1e-19).result == jm.RESULTS.degenerate
    for unit in (1e19, 1e30):
        with pytest.raises(ValueError, match="squares of such data overflow float32"):
            fitted(unit)


def test_what_is_drawn_inside_components_is_the_same_in_other_units():
    inner = jm.Composite((jm.Normal.template(), jm.PartialNormal.template(2), jm.Gamma.template()))
    template = jm.mixture_of(jm.mixture_of(inner, 2), 2)
    draw = np.random.default_rng(0)
    rows = draw.normal(3.0, 1.0, ROWS), draw.normal(3.0, 1.0, (ROWS, 2)), draw.gamma(3.0, 1.0, ROWS)
    rows[1][::7, 1] = np.nan

    def means(unit):
        data = jax.tree.map(lambda a: jnp.asarray(a * unit, jnp.float32), rows)
        parts = jm.em.init(jax.random.key(0), template, data).components.components.parts
        return np.concatenate([np.ravel(part.mean) / unit for part in parts])

    for unit in (1e3, 1e-6):
        np.testing.assert_allclose(means(unit), means(1.0), rtol=1e-3)
