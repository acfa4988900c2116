"""Log-normalisers, expected statistics and exact divergences, against sums and integrals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .registry import CASES, named
from .test_contract import integral, perturbed

stated = pytest.mark.parametrize(
    "case", [c for c in CASES if isinstance(c.make(), jm.ExponentialFamily)], ids=named
)
VECTORS = {
    "DiagonalNormal": lambda: jm.DiagonalNormal(jnp.array([0.5, -1.0]), jnp.array([0.7, 2.0])),
    "SphericalNormal": lambda: jm.SphericalNormal(jnp.array([0.5, -1.0]), 0.7),
    "MultivariateNormal": lambda: jm.MultivariateNormal(
        jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.4], [0.4, 0.8]])
    ),
}


@eqx.filter_jit
def stated_by(density, origin):
    natural = density.natural(origin)
    return natural, density.log_normaliser(natural, origin), density.mean_stats(origin)


@eqx.filter_jit
def everything(p, q, xs):
    """What is asked of a family, compiled as one: about an origin that is not the density's."""
    origin = p.origin if p.origin is None else p.origin + 0.25
    natural = p.natural(origin)
    between = jax.tree.map(lambda a, b: 0.25 * a + 0.75 * b, natural, q.natural(origin))
    return {
        "head": natural.count,
        "normaliser": p.log_normaliser(natural, origin),
        "mean": p.mean_stats(origin),
        "stats": jax.vmap(lambda x: p.stats(x, origin))(xs),
        "base": jax.vmap(lambda x: p.log_base(x))(xs),
        "log p": jax.vmap(lambda x: p.log_prob(x))(xs),
        "log q": jax.vmap(lambda x: q.log_prob(x))(xs),
        "between": between,
        "of between": p.log_normaliser(between, origin),
        "kl": jm.divergences.kl(p, q),
        "kl of itself": jm.divergences.kl(p, p),
    }


@stated
def test_what_a_family_says_of_itself_is_true(case, x64):
    """Statistics, normalisers and divergences, by sums or integrals over the support."""
    p = case.make()
    found = everything(p, next(iter(perturbed(p, 0.3))), jnp.asarray(case.grid))
    each, mass = found["stats"], np.exp(found["log p"])
    for ours, values in zip(jax.tree.leaves(found["mean"]), jax.tree.leaves(each), strict=True):
        values = np.asarray(values)
        weighted = values * mass.reshape(mass.shape + (1,) * (values.ndim - 1))
        np.testing.assert_allclose(ours, integral(case, weighted), rtol=2e-4, atol=1e-4)
    # A density of log-probabilities has the normaliser 0, in every other family minus the head.
    np.testing.assert_allclose(found["normaliser"], -found["head"], rtol=1e-8, atol=1e-9)
    # Natural parameters that belong to no density at hand: the normaliser is their integral's.
    pairs = zip(jax.tree.leaves(found["between"])[1:], jax.tree.leaves(each)[1:], strict=True)
    products = [(np.asarray(t) * np.asarray(s)).reshape(len(mass), -1).sum(1) for t, s in pairs]
    whole = integral(case, np.exp(sum(products) + np.asarray(found["base"])))
    np.testing.assert_allclose(found["of between"], np.log(whole), rtol=1e-4, atol=1e-4)
    seen = mass > 0
    ratio = np.where(seen, found["log p"], 0) - np.where(seen, found["log q"], 0)
    np.testing.assert_allclose(found["kl"], integral(case, mass * ratio), rtol=1e-3, atol=1e-5)
    assert abs(float(found["kl of itself"])) < 1e-12


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_vectors_by_their_closed_forms(make, x64):
    p = make()
    q = eqx.tree_at(lambda d: d.mean, p, p.mean + jnp.array([0.3, -0.2]))
    apart = np.array([0.3, -0.2])
    covariance = np.asarray(p.covariance)
    expected = 0.5 * apart @ np.linalg.solve(covariance, apart)
    np.testing.assert_allclose(jm.divergences.kl(p, q), expected, rtol=1e-10)
    natural, mean = p.natural(q.mean), p.mean_stats(q.mean)
    np.testing.assert_allclose(p.log_normaliser(natural, q.mean), -natural.count, rtol=1e-10)
    np.testing.assert_allclose(mean.first, -apart, rtol=1e-9)
    second = covariance + np.outer(apart, apart)
    if mean.second.ndim == 1:
        second = np.diag(second)
    if mean.second.ndim == 0:
        second = np.trace(second)
    np.testing.assert_allclose(mean.second, second, rtol=1e-9)


def test_no_density_outside_the_space():
    outside = [
        (jm.Normal(0.0, 1.0), (0.0, 1.0, 0.1)), (jm.Exponential(1.0), (0.0, 0.5)),
        (jm.Geometric(0.5), (0.0, 0.1)), (jm.Gamma(1.0, 1.0), (0.0, -1.0, -0.5)),
    ]  # fmt: skip
    for density, values in outside:
        natural = type(density.natural())(*map(jnp.asarray, values))
        assert density.log_normaliser(natural) == jnp.inf


def test_records_and_repetitions_add_up():
    record = lambda mean, rate: jm.Composite({"a": jm.Normal(mean, 1), "b": jm.Poisson(rate)})
    p, q = record(0.0, 2.0), record(1.0, 3.0)
    one = 0.5 + 2 * np.log(2 / 3) - 2 + 3
    np.testing.assert_allclose(jm.divergences.kl(p, q), one, rtol=1e-5)
    both = jm.divergences.kl(jm.Repeated(p, 5), jm.Repeated(q, 5))
    np.testing.assert_allclose(both, 5 * one, rtol=1e-5)
    stack = lambda m: jax.vmap(lambda a: jm.Repeated(jm.Normal(a, 1), 4))(m)
    kl = jm.divergences.kl(stack(jnp.zeros(3)), stack(jnp.arange(3.0)))
    np.testing.assert_allclose(kl, 4 * np.array([0, 0.5, 2]), rtol=1e-6)
    xs = jnp.array([0.3, -1.0, 2.0])
    repeated = jm.Repeated(jm.Normal(0.5, 2.0), 3)
    exact = sum(float(jm.Normal(0.5, 2.0).log_prob(x)) for x in xs)
    np.testing.assert_allclose(repeated.log_prob(xs), exact, rtol=1e-6)
    summed = jax.tree.map(lambda a: a.sum(0), jax.vmap(repeated.item.stats)(xs))
    np.testing.assert_allclose(repeated.log_prob_of_stats(summed), exact, rtol=1e-6)


def test_an_event_that_never_happens_says_nothing():
    assert float(jm.divergences.kl(jm.Poisson(0.0), jm.Poisson(2.0))) == 2.0
    assert jm.divergences.kl(jm.Binomial(3, 0.5), jm.Binomial(3, 0.0)) == jnp.inf
    exact = 3 * np.log(2)
    np.testing.assert_allclose(jm.divergences.kl(jm.Binomial(3, 0.0), jm.Binomial(3, 0.5)), exact)


@pytest.mark.parametrize(
    ("p", "q", "sentence"),
    [
        (lambda: jm.Normal(0, 1), lambda: jm.Poisson(1), "they are Normal and Poisson"),
        (lambda: jm.Binomial(3, 0.5), lambda: jm.Binomial(4, 0.5), "two Binomial differ"),
        (lambda: jm.Repeated(jm.Normal(0, 1), 2), lambda: jm.Normal(0, 1), "2 and 1 observations"),
        (lambda: jm.Weibull(1, 1), lambda: jm.Weibull(1, 1), "Weibull is no exponential family"),
        (lambda: jm.Composite((jm.Uniform(0, 1),)), lambda: jm.Normal(0, 1), r"its part \[0\]"),
    ],
)  # fmt: skip
def test_what_has_no_exact_divergence_is_refused(p, q, sentence):
    with pytest.raises(ValueError, match=sentence):
        jm.divergences.kl(p(), q())
