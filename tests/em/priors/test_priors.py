"""Priors: the mode of the posterior in closed form, family by family, and in nested models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

RNG = np.random.default_rng(0)
REALS = RNG.normal(3, 2, 12)
VECTORS = RNG.normal(1, 2, (12, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
COUNTS = RNG.poisson(3, 12) + 1
TRUTHS = RNG.random(12) < 0.3


@eqx.filter_jit
def settled(template, data, prior, steps=2):
    return jm.em.run(template, data, prior=prior, max_steps=steps, tol=None, history_size=steps)


def mode(template, data, law, **options):
    """The model at the mode of the posterior under one law for its only family."""
    data = jnp.asarray(data)
    prior = jm.em.conjugate_prior(template, None, [(type(template), law)], floor=0.0)
    return settled(template, data, prior, **options).model


def test_probabilities(x64):
    n, k = len(TRUTHS), TRUTHS.sum()
    want = (k + 2) / (n + 2 + 4)
    assert float(mode(jm.Bernoulli(0.5), TRUTHS, jm.Beta(3, 5)).prob) == pytest.approx(want)
    assert float(mode(jm.Bernoulli(0.5), TRUTHS, 2).prob) == pytest.approx((k + 1) / (n + 2))
    want = (n + 2) / (COUNTS.sum() + 2 + 4)
    assert float(mode(jm.Geometric(0.5), COUNTS, jm.Beta(3, 5)).prob) == pytest.approx(want)
    wins = np.minimum(COUNTS, 6)
    want = (wins.sum() + 2) / (6 * n + 6)
    assert float(mode(jm.Binomial(6, 0.5), wins, jm.Beta(3, 5)).prob) == pytest.approx(want)
    label = COUNTS % 3
    seen = np.bincount(label, minlength=3)
    a = jnp.array([1.0, 2.0, 4.0])
    want = (seen + np.asarray(a) - 1) / (n + 4)
    for template in (jm.Categorical.template(3), jm.IntegerCategorical.template(0, 2)):
        np.testing.assert_allclose(mode(template, label, jm.Dirichlet(a)).probs, want)
    even = jm.IntegerCategorical.template(0, 9)
    values = np.minimum(COUNTS, 9)
    want = (np.bincount(values, minlength=10) + 0.5) / (n + 5)
    np.testing.assert_allclose(mode(even, values, 1.5).probs, want)
    pairs = np.stack([TRUTHS, ~TRUTHS], 1)
    want = (pairs.sum(0) + 2) / (n + 6)
    elements = mode(jm.BernoulliSet.template(2), pairs, jm.Beta(3, 5))
    np.testing.assert_allclose(elements.probs, want)
    trials = np.stack([wins, 6 - wins], 1)
    want = (trials.sum(0) + np.array([1, 2])) / (6 * n + 3)
    got = mode(jm.Multinomial.template(6, 2), trials, jm.Dirichlet(jnp.array([2.0, 3.0])))
    np.testing.assert_allclose(got.probs, want)


def test_rates(x64):
    n = len(COUNTS)
    law = jm.Gamma(3.0, 2.0)
    want = (COUNTS.sum() + 2) / (n + 2)
    assert float(mode(jm.Poisson(1.0), COUNTS, law).rate) == pytest.approx(want)
    waits = np.exp(REALS / 4)
    want = (n + 2) / (waits.sum() + 2)
    assert float(mode(jm.Exponential(1.0), waits, law).rate) == pytest.approx(want)


MEAN, COUNT, SHAPE, SCALE = 1.0, 3.0, 2.5, 4.0


def posterior_mode(x):
    """Of a mean and a variance under the normal-inverse-gamma law, coordinate by coordinate."""
    mean = (COUNT * MEAN + x.sum(0)) / (COUNT + len(x))
    square = 2 * SCALE + COUNT * (mean - MEAN) ** 2 + ((x - mean) ** 2).sum(0)
    return mean, square / (2 * SHAPE + 3 + len(x))


def test_means_and_variances(x64):
    law = jm.em.NormalInverseGamma(MEAN, COUNT, SHAPE, SCALE)
    mean, variance = posterior_mode(REALS)
    got = mode(jm.Normal.template(), REALS, law)
    assert (float(got.mean), float(got.variance)) == pytest.approx((mean, variance))
    got = mode(jm.LogNormal.template(), np.exp(REALS), law)
    assert (float(got.log.mean), float(got.log.variance)) == pytest.approx((mean, variance))
    got = mode(jm.DiagonalNormal.template(2), VECTORS, law)
    for value, want in zip((got.mean, got.variance), posterior_mode(VECTORS), strict=True):
        np.testing.assert_allclose(value, want)
    got = mode(jm.Normal.template(), REALS, jm.em.InverseGamma(SHAPE, SCALE))
    want = (2 * SCALE + ((REALS - REALS.mean()) ** 2).sum()) / (2 * SHAPE + 2 + len(REALS))
    assert (float(got.mean), float(got.variance)) == pytest.approx((REALS.mean(), want))
    got = mode(jm.SphericalNormal.template(2), VECTORS, jm.em.InverseGamma(SHAPE, SCALE))
    square = 2 * SCALE + ((VECTORS - VECTORS.mean(0)) ** 2).sum()
    assert float(got.variance) == pytest.approx(square / (2 * SHAPE + 2 + VECTORS.size))


def negative_log_posterior(mean, variance):
    normal = st.norm(mean, np.sqrt(variance)).logpdf(REALS).sum()
    centre = st.norm(MEAN, np.sqrt(variance / COUNT)).logpdf(mean)
    return -(normal + centre + st.invgamma(SHAPE, scale=SCALE).logpdf(variance))


def test_the_closed_form_is_the_mode_of_scipys_densities(x64):
    mean, variance = posterior_mode(REALS)
    least = negative_log_posterior(mean, variance)
    for shift, ratio in ((0.01, 1.0), (-0.01, 1.0), (0.0, 1.01), (0.0, 0.99)):
        assert negative_log_posterior(mean + shift, variance * ratio) > least


@pytest.mark.parametrize("family", [jm.MultivariateNormal, jm.PartialNormal])
def test_means_and_covariances(family, x64):
    df, scale, centre = 5.0, np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0])
    law = jm.em.NormalInverseWishart(jnp.asarray(centre), COUNT, df, jnp.asarray(scale))
    got = mode(family.template(2), VECTORS, law)
    n = len(VECTORS)
    mean = (COUNT * centre + VECTORS.sum(0)) / (COUNT + n)
    r, away = VECTORS - mean, mean - centre
    square = scale + r.T @ r + COUNT * np.outer(away, away)
    np.testing.assert_allclose(got.mean, mean)
    np.testing.assert_allclose(got.covariance, square / (df + 2 + 2 + n), rtol=1e-6)
    got = mode(family.template(2), VECTORS, jm.em.InverseWishart(df, jnp.asarray(scale)))
    r = VECTORS - VECTORS.mean(0)
    np.testing.assert_allclose(got.covariance, (scale + r.T @ r) / (df + 3 + n), rtol=1e-6)


def test_a_tied_covariance_has_one_law(x64):
    df, scale = 5.0, np.array([[2.0, 0.5], [0.5, 1.0]])
    template = jm.gaussian_mixture(1, 2, covariance="tied")
    law = jm.em.InverseWishart(df, jnp.asarray(scale))
    rules = [(jm.TiedMultivariateNormal, law)]
    prior = jm.em.conjugate_prior(template, None, rules, floor=0.0)
    got = settled(template, jnp.asarray(VECTORS), prior).model
    r = VECTORS - VECTORS.mean(0)
    want = (scale + r.T @ r) / (df + 3 + len(r))
    np.testing.assert_allclose(got.components.covariance[0], want, rtol=1e-6)


def test_scales_about_one_shared_mean_have_one_law_each(x64):
    label = np.arange(12) % 2
    stack = jax.vmap(lambda m: jm.Normal(m, 1.0))(jnp.zeros(2))
    template = jm.tie(jm.Conditional(stack), lambda m: m.laws, "mean")
    rules = [(jm.Normal, jm.em.InverseGamma(SHAPE, SCALE))]
    prior = jm.em.conjugate_prior(template, None, rules, floor=0.0)
    data = (jnp.asarray(label), jnp.asarray(REALS))
    got = settled(template, data, prior, steps=40).model.laws
    squares = [((REALS[label == k] - float(got.mean[0])) ** 2).sum() for k in (0, 1)]
    want = (2 * SCALE + np.array(squares)) / (2 * SHAPE + 2 + 6)
    np.testing.assert_allclose(got.variance, want, rtol=1e-6)


EVENTS = [
    (jm.Gamma.template(), np.exp(REALS / 4)),
    (jm.Beta.template(), 1 / (1 + np.exp(-REALS / 4))),
    (jm.VonMises.template(), np.sin(REALS)),
]


@pytest.mark.parametrize(("template", "x"), EVENTS, ids=lambda v: type(v).__name__)
def test_pseudo_events_are_events(template, x, x64):
    """Half of the data as pseudo-events of their own number: the fit to all of them."""
    template = jax.tree.map(lambda a: a.astype(float), template)
    seen, pseudo = jnp.asarray(x[:7]), jnp.asarray(x[7:])
    got = mode(template, seen, jm.em.PseudoEvents(pseudo, 5.0))
    want = settled(template, jnp.asarray(x), jm.em.conjugate_prior(template, None, floor=0.0)).model
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_nested_models_climb_their_posterior(x64):
    """Weights, a chain's rows, a count and a missing rate inside a mixture; pseudo-rows for all."""
    one = jm.Composite(
        {
            "size": jm.Normal.template(),
            "visits": jm.Optional(jm.Poisson.template(), 0.5),
        }
    )
    template = jm.mixture_of(one, 2)
    rows = [
        {"size": float(s), "visits": None if t else int(c)}
        for s, t, c in zip(REALS, TRUTHS, COUNTS, strict=True)
    ]
    data = jm.encode(template, rows)
    prior = jm.em.conjugate_prior(
        template,
        data,
        [
            (lambda m: m.mixing, jm.Dirichlet(jnp.array([3.0, 2.0]))),
            (jm.Poisson, jm.Gamma(2.0, 1.0)),
            (lambda m: m.components.parts["size"], jm.em.NormalInverseGamma(1.0, 9.0, 2.0, 1.0)),
            (jm.Bernoulli, jm.em.PseudoRows(2.0)),
        ],
        rows=0.5,
    )
    start = jm.em.init(jax.random.key(1), template, data)
    found = settled(start, data, prior, steps=30)
    objective = np.asarray(found.history.objective)
    assert np.all(np.diff(objective) > -1e-9) and objective[-1] > objective[0]
    # At the end the weights are their own closed form in the expected counts.
    share = np.asarray(jax.vmap(found.model.posterior)(data)).sum(0)
    want = (share + np.array([2.0, 1.0]) + 0.25) / (len(rows) + 3.5)
    np.testing.assert_allclose(found.model.weights, want, atol=1e-3)
    objective_of = lambda m: float(
        jax.vmap(m.log_prob)(data).sum() + jm.em.priors.prior.log_prior(m, prior)
    )
    np.testing.assert_allclose(objective_of(found.model), objective[-1], rtol=1e-9)


def test_an_emptied_component_falls_back_on_its_prior(x64):
    parts = jax.vmap(jm.Poisson)(jnp.array([3.0, 1.0]))
    model = jm.MixtureSameFamily(jnp.array([1.0, 0.0]), parts)
    prior = jm.em.conjugate_prior(model, None, [(jm.Poisson, jm.Gamma(3.0, 2.0))], floor=0.0)
    got = settled(model, jnp.asarray(COUNTS), prior).model.components.rate
    np.testing.assert_allclose(got, [(COUNTS.sum() + 2) / 14, 1.0])


WRONG = [
    ((jm.Poisson, jm.Gamma(1, 1)), "what the fit moves here is Categorical, Normal"),
    ((lambda m: m.weights, 2.0), "must name a density"),
    ((jm.Normal, jm.Gamma(2, 1)), "Normal takes no Gamma"),
    ((jm.Categorical, 0.5), "1 or more; it was 0.5"),
    ((jm.Normal, jm.em.PseudoRows(1.0)), "give conjugate_prior data"),
    ((jm.Normal, jm.em.InverseGamma(2.0, -1.0)), "scale of the prior of Normal is finite and 0"),
    ((jm.Normal, jm.em.NormalInverseGamma(np.nan, 1.0, 2.0, 1.0)), "mean of the prior of Normal"),
    ((jm.Normal, jm.em.PseudoEvents([1.0, 2.0], -1.0)), "count of the prior of Normal"),
]


@pytest.mark.parametrize(("rule", "words"), WRONG, ids=[w for _, w in WRONG])
def test_wrong_rules_get_a_sentence(rule, words):
    template = jm.mixture_of(jm.Normal.template(), 2)
    with pytest.raises(ValueError, match=words):
        jm.em.conjugate_prior(template, None, [rule], floor=0.0)


def test_no_data_and_a_floor():
    """Without data there is nothing to take a floor from, and none is taken."""
    prior = jm.em.conjugate_prior(jm.Normal.template(), None)
    assert not any(np.any(a) for a in jax.tree.leaves(prior.stats))
