"""Each parameter's two entrances, one event at a time, far tails and large counts, over the registry."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

from .registry import CASES

ONE_EACH = {type(case.make()).__name__: case for case in CASES}.values()
STORED = {"logits": ("logits", "logit")}  # a keyword, and the attributes that may hold it
FORMS = ("scale_tril", "precision", "factor")  # of a covariance


def entrances(density):
    """The keywords that take unconstrained parameters, and what the density stores there."""
    found = {}
    for name, given in inspect.signature(type(density).__init__).parameters.items():
        if given.kind == given.KEYWORD_ONLY and name not in (*FORMS, "labels", "fixed_df"):
            inner = getattr(density, "log", density)  # a log-normal's normal
            inner = getattr(inner, "whole", inner)
            held = [getattr(inner, n, None) for n in STORED.get(name, (name,))]
            held = [a for a in held if isinstance(a, jax.Array)]
            if name == "log_rate" and not held:  # a gamma stores its mean
                held = [density.log_shape - density.log_mean]
            found |= {name: held[0]} if held else {}
    return found


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_an_unconstrained_entrance_gives_the_same_density(case):
    density = case.make()
    free = entrances(density)
    usual = {"scale": "log_scale", "log_sd": "log_scale", "prob": "logits", "probs": "logits",
             "exponent": "log_excess", "df": "log_excess"}  # fmt: skip
    positional = {}
    for name, given in inspect.signature(type(density).__init__).parameters.items():
        if name in ("self", *free) or usual.get(name) in free or f"log_{name}" in free:
            continue
        value = getattr(density, name, None)
        if value is not None and name not in FORMS and given.kind != given.VAR_KEYWORD:
            positional[name] = value
    again = type(density)(**positional, **free)
    x = jnp.asarray(case.grid[len(case.grid) // 3])
    x = x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.inexact) else x
    np.testing.assert_allclose(again.log_prob(x), density.log_prob(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_a_batch_is_no_event(case):
    batch = jnp.asarray(case.grid[:3])
    with pytest.raises(ValueError, match=r"One event of this .* jax\.vmap"):
        case.make().log_prob(batch)


@pytest.mark.parametrize("case", ONE_EACH, ids=lambda case: case.name)
def test_what_is_no_typed_key_draws_nothing(case):
    density = case.make()
    for key in (0, None, np.zeros(2, np.uint32)):
        with pytest.raises(TypeError, match=r"typed key first, such as jax\.random\.key"):
            density.sample(key)


def test_a_covariance_enters_in_four_forms():
    covariance = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 0.5]])
    x, mean = np.array([0.3, -1.0, 2.0]), np.zeros(3)
    right = st.multivariate_normal(mean, covariance).logpdf(x)
    whole = jm.MultivariateNormal(jnp.zeros(3), jnp.asarray(covariance, jnp.float32))
    forms = {
        "covariance": covariance,
        "scale_tril": np.linalg.cholesky(covariance),
        "precision": np.linalg.inv(covariance),
        "factor": whole.factor,
    }
    for kind in (jm.MultivariateNormal, jm.TiedMultivariateNormal, jm.PartialNormal):
        for name, matrix in forms.items():
            density = kind(jnp.zeros(3), **{name: jnp.asarray(matrix, jnp.float32)})
            np.testing.assert_allclose(
                density.log_prob(jnp.asarray(x, jnp.float32)), right, rtol=1e-5
            )
    with pytest.raises(TypeError, match="scale_tril"):
        jm.MultivariateNormal(jnp.zeros(3))


EDGES = {
    "Categorical": lambda p: jm.Categorical(jnp.stack([p, 1 - p])).log_prob(0),
    "IntegerCategorical": lambda p: jm.IntegerCategorical(jnp.stack([p, 1 - p])).log_prob(1),
    "Multinomial": lambda p: jm.Multinomial(2, jnp.stack([p, 1 - p])).log_prob(jnp.array([1, 1])),
    "Bernoulli": lambda p: jm.Bernoulli(p).log_prob(1),
    "Binomial": lambda p: jm.Binomial(3, p).log_prob(1),
    "BernoulliSet": lambda p: jm.BernoulliSet(p[None]).log_prob(jnp.array([True])),
    "SpikeAndSlab": lambda p: jm.SpikeAndSlab(1, p, size=3).log_prob(0),
    "Geometric": lambda p: jm.Geometric(p).log_prob(2),
    "Poisson": lambda p: jm.Poisson(p).log_prob(0),
    "Optional": lambda p: jm.Optional(jm.Normal(0.0, 1.0), p).log_prob(
        jm.OptionalEvent(jnp.zeros(()), jnp.asarray(True))
    ),
    "ZeroInflated": lambda p: jm.ZeroInflated(jm.Poisson(1.0), p).log_prob(0),
    "Mixture": lambda p: jm.Mixture(
        jnp.stack([p, 1 - p]), [jm.Normal(0.0, 1.0), jm.Normal(1.0, 1.0)]
    ).log_prob(0.3),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_gradients_at_a_probability_of_0_or_1_are_finite(name, edge):
    assert bool(jnp.isfinite(jax.grad(EDGES[name])(jnp.asarray(edge, jnp.float32))))


def test_a_gap_of_a_thousand_stays_right():
    parts = jax.vmap(jm.Normal)(jnp.array([0.0, 50.0]), jnp.ones(2))
    value = lambda a: jm.MixtureSameFamily(logits=a, components=parts).log_prob(0.0)
    for gap in (104.0, 1e3):
        logits = jnp.array([-gap, 0.0])
        terms = np.array([-gap - np.log1p(np.exp(-gap)), -0.5 * 50.0**2])
        right = np.logaddexp(*terms) - 0.5 * np.log(2 * np.pi)
        share = np.exp(terms[0] - np.logaddexp(*terms))
        np.testing.assert_allclose(value(logits), right, rtol=1e-5)
        np.testing.assert_allclose(jax.grad(value)(logits)[0], share, rtol=1e-4, atol=1e-6)


# Where the logarithm is finite: a density at 1e5, 1e19 and 1e30, and its gradient.
FAR = {
    "StudentT": (lambda x: jm.StudentT(2.0, 0.0, 1.0), lambda x: st.t(2).logpdf(x)),
    "StudentT, narrow": (
        lambda x: jm.StudentT(2.0, 0.0, 1e-10),
        lambda x: st.t(2).logpdf(x * 1e10) + np.log(1e10),
    ),
    "Laplace": (lambda x: jm.Laplace(0.0, 1.0), lambda x: -x - np.log(2)),
    "Exponential": (lambda x: jm.Exponential(0.5), lambda x: np.log(0.5) - 0.5 * x),
    "Gamma": (lambda x: jm.Gamma(2.5, 1.0), lambda x: 1.5 * np.log(x) - x - np.log(1.329340388)),
    "LogNormal": (lambda x: jm.LogNormal(0.0, 1.0), lambda x: st.lognorm(1).logpdf(x)),
    "Weibull": (lambda x: jm.Weibull(0.5, 1.0), lambda x: st.weibull_min(0.5).logpdf(x)),
    "Geometric": (lambda x: jm.Geometric(0.25), lambda x: (x - 1) * np.log(0.75) + np.log(0.25)),
    "NegativeBinomial": (
        lambda x: jm.NegativeBinomial(1.0, 0.5),
        lambda x: (x + 1) * np.log(0.5),
    ),
    "Poisson": (
        lambda x: jm.Poisson(1.0),
        lambda x: -1 - (x * np.log(x) - x + 0.5 * np.log(2 * np.pi * x)),
    ),
    "InverseGaussian": (
        lambda x: jm.InverseGaussian(1.0, 1.0),
        lambda x: -(0.5 * (x - 2 + 1 / x) + 0.5 * np.log(2 * np.pi) + 1.5 * np.log(x)),
    ),
    "Zeta": (lambda x: jm.Zeta(2.0), lambda x: -2 * np.log(x) - np.log(np.pi**2 / 6)),
    "Skellam": (  # far out the count that is taken away is all but 0
        lambda x: jm.Skellam(1.0, 1e-30),
        lambda x: -1 - (x * np.log(x) - x + 0.5 * np.log(2 * np.pi * x)),
    ),
    "VonMises": (lambda x: jm.VonMises(0.0, x), None),
}


@pytest.mark.parametrize("x", [1e5, 1e19, 1e30])
def test_far_tails_in_float32(x):
    x = float(np.float32(x))
    for name, (make, right) in FAR.items():
        density, event = make(x), jnp.asarray(0.0 if right is None else x)
        value, slope = jax.value_and_grad(lambda d, event=event: d.log_prob(event))(density)
        expected = 0.5 * np.log(x / (2 * np.pi)) if right is None else right(x)
        np.testing.assert_allclose(value, expected, rtol=1e-4, err_msg=name)
        assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(slope)), name


def test_large_counts_keep_their_digits():
    for n in (10**5, 10**9):
        half = n // 2
        stirling = -0.5 * np.log(np.pi * n / 2)  # of the middle of a binomial, to 1 / (4 n)
        for value in (
            jm.Binomial(n, 0.5).log_prob(half),
            jm.Multinomial(n, jnp.array([0.5, 0.5])).log_prob(jnp.array([half, half])),
        ):
            np.testing.assert_allclose(value, stirling, atol=1e-3)
    np.testing.assert_allclose(
        jm.Poisson(1e5).log_prob(100_200), st.poisson(1e5).logpmf(100_200), atol=1e-3
    )
    right = st.nbinom(50, 50 / 100_050).logpmf(99_000)
    np.testing.assert_allclose(
        jm.NegativeBinomial(50.0, 50 / 100_050).log_prob(99_000), right, atol=1e-3
    )
    # Beta(a, a) at 1/2 is about sqrt(4 a / pi) / ... : Gamma's own expansion, to 1 / a.
    np.testing.assert_allclose(
        jm.Beta(1e5, 1e5).log_prob(0.5), 0.5 * np.log(4e5 / np.pi), atol=1e-3
    )


@pytest.mark.parametrize("r", [1e6, 1e19, 1e30])
def test_a_negative_binomial_tends_to_a_poisson(r):
    density = jm.NegativeBinomial(log_successes=np.log(r), logits=np.log(r / 4))
    counts = jnp.arange(12)
    right = st.poisson(4).logpmf(np.arange(12))
    np.testing.assert_allclose(jax.vmap(density.log_prob)(counts), right, atol=1e-4)


def test_matrices_go_in_by_their_lower_factors():
    scale, rows = jnp.array([[2.0, 0.3], [0.3, 0.5]]), jnp.array([[1.0, -0.4], [-0.4, 3.0]])
    lower = jnp.linalg.cholesky
    cases = [
        (jm.Wishart(5.0, scale), jm.Wishart(log_excess=jnp.log(4.0), scale_tril=lower(scale))),
        (
            jm.MatrixNormal(jnp.ones((2, 2)), rows, scale),
            jm.MatrixNormal(jnp.ones((2, 2)), rows_tril=lower(rows), columns_tril=lower(scale)),
        ),
    ]
    for usual, free in cases:
        chex.assert_trees_all_close(free, usual, rtol=1e-5)
    x = np.array([[1.5, 0.2], [0.2, 0.7]])
    right = st.wishart(5, np.asarray(scale)).logpdf(x)
    np.testing.assert_allclose(cases[0][1].log_prob(jnp.asarray(x, jnp.float32)), right, rtol=1e-5)
    with pytest.raises(TypeError, match="rows and rows_tril"):
        jm.MatrixNormal(jnp.ones((2, 2)), rows, scale, rows_tril=rows)
    with pytest.raises(ValueError, match="mean"):
        jm.MatrixNormal(jnp.ones((2, 3)), rows, scale)
