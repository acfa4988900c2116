"""Families at the edges of their parameters, and the M-steps that are no closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats as st

import jaxmix as jm
from jaxmix.em.checks import checked_data
from jaxmix.families._bessel import concentration_of, log_mass, mean_length
from jaxmix.families._special import log_minus_digamma, shape_of, stirling

from .registry import CASES, named


def test_probabilities_of_zero_and_one():
    assert abs(jm.Poisson(0.0).log_prob(jnp.array(0))) < 1e-6
    assert jm.Poisson(0.0).log_prob(jnp.array(1)) == -jnp.inf
    assert jm.Geometric(1.0).log_prob(jnp.array(1)) == 0
    assert jm.Geometric(1.0).log_prob(jnp.array(2)) == -jnp.inf
    for prob, x, value in [(1.0, 1, 0), (1.0, 0, -jnp.inf), (0.0, 0, 0), (0.0, 1, -jnp.inf)]:
        assert jm.Bernoulli(prob).log_prob(jnp.array(x)) == value
        got = float(jm.Binomial(1, prob).log_prob(jnp.array(x)))
        assert got == pytest.approx(value, abs=2e-6)
        elements = jm.BernoulliSet(jnp.array([prob]))
        assert elements.log_prob(jnp.array([bool(x)])) == value
        slope = jax.grad(lambda d, x=x: d.log_prob(jnp.array([bool(x)])))(elements)
        assert not jnp.isnan(slope.logits).any()


@pytest.mark.parametrize(
    "template",
    [jm.Poisson.template(), jm.Geometric.template(), jm.Bernoulli.template()],
    ids=["Poisson", "Geometric", "Bernoulli"],
)
def test_a_component_of_one_value_only_stays_valid(template):
    """All zeros, all ones: the floor keeps the parameters finite and the likelihood near 1."""
    data = jnp.ones(50, int) if isinstance(template, jm.Geometric) else jnp.zeros(50, int)
    got = jax.jit(lambda m: jm.em.run(m, data, max_steps=5))(template)
    assert abs(float(got.log_likelihood)) < 1e-3
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(got.model))


def test_large_shapes_keep_their_digits_in_float32():
    gamma, x = jm.Gamma(1e5, 10.0), np.float32(10010.0)
    assert float(gamma.log_prob(jnp.asarray(x))) == pytest.approx(
        st.gamma(1e5, scale=0.1).logpdf(x), abs=2e-3
    )
    student, x = jm.StudentT(1e6, 0.0, 1.0), np.float32(2.5)
    assert float(student.log_prob(jnp.asarray(x))) == pytest.approx(st.norm.logpdf(x), abs=1e-4)


def test_special_functions(x64):
    from scipy.special import digamma, gammaln

    x = jnp.geomspace(1e-3, 1e3, 61)
    np.testing.assert_allclose(stirling(x), x * np.log(x) - x - gammaln(x), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(log_minus_digamma(x), np.log(x) - digamma(x), rtol=1e-8)
    np.testing.assert_allclose(jax.jit(shape_of)(log_minus_digamma(x)), x, rtol=1e-8)


KAPPAS = np.geomspace(1e-3, 1e4, 15)


def test_bessel_ratios_and_their_inverse(dtype):
    """Against scipy's Bessel functions, in two to twenty dimensions and both precisions."""
    from scipy.special import gammaln, ive

    digits = 3e-5 if dtype == jnp.float32 else 1e-7
    for dim in (2, 3, 20):
        kappa = jnp.asarray(KAPPAS, dtype)
        ratio, gap = jax.jit(lambda k, d=dim: mean_length(d, k))(kappa)
        exact = np.asarray(kappa, float)
        low, high = ive(dim / 2 - 1, exact), ive(dim / 2, exact)
        np.testing.assert_allclose(ratio, high / low, rtol=1e-6 if digits > 1e-6 else 1e-9)
        big = exact > 1  # where scipy's own quotient has digits less 1
        np.testing.assert_allclose(gap[big], ((low - high) / low)[big], rtol=digits)
        n = dim / 2 - 1
        mass = np.log(low) - n * np.log(exact / 2) + gammaln(n + 1)
        np.testing.assert_allclose(log_mass(dim, kappa), mass, rtol=digits, atol=digits)
        square = gap * (1 + ratio)
        np.testing.assert_allclose(concentration_of(dim, ratio, square), kappa, rtol=2 * digits)


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_directions_are_drawn_at_their_mean_length(dim, kappa):
    """In float32: the mean of <mean direction, x>, and of its square, by the Bessel ratio."""
    mean = np.arange(1, dim + 1) / np.sqrt(np.sum(np.arange(1, dim + 1) ** 2))
    density = jm.VonMisesFisher(jnp.asarray(mean, jnp.float32), kappa)
    draws = jax.jit(jax.vmap(density.sample))(jax.random.split(jax.random.key(2), 2000))
    bend = 0.5 * np.sum((np.asarray(draws, float) - mean) ** 2, 1)  # 1 less the cosine
    want = float(mean_length(dim, density.concentration)[1])
    assert abs(bend.mean() - want) < 4 * bend.std() / np.sqrt(len(bend))
    # A fit to them is the density within its own error: that of log kappa, and of a direction.
    stats = jax.jit(jax.vmap(density.stats))(draws)
    fitted = density.from_stats(jax.tree.map(lambda a: a.sum(0), stats), density.origin)
    if kappa >= 1:
        error = 4 * np.sqrt(2 / (dim - 1) / len(bend)) * max(1, dim / kappa)
        assert abs(float(fitted.log_concentration) - np.log(kappa)) < error


def test_a_value_never_seen_has_probability_zero(x64):
    template = jm.IntegerCategorical.template(0, 2)
    fitted = jax.jit(lambda m: jm.em.step(m, jnp.array([0, 0, 2]))[0])(template)
    np.testing.assert_allclose(fitted.probs, [2 / 3, 0, 1 / 3])


@pytest.mark.parametrize(
    ("values", "spike", "prob"),
    [
        ([0] * 10 + [5] * 90, 5, 0.9),  # values never seen are no spikes
        ([6] * 97 + [5, 7, 8], 6, 0.97),
    ],
)
def test_spike_by_profile_likelihood(values, spike, prob):
    template = jm.SpikeAndSlab.template(min(values), 9)
    data = jnp.array(values)
    stats = eqx.filter_jit(lambda d: jax.vmap(d.stats)(data))(template)
    stats = jax.tree.map(lambda a: a.sum(0), stats)
    fitted = eqx.filter_jit(lambda d: d.from_stats(stats))(template)
    assert int(fitted.spike) == spike and float(fitted.prob) == pytest.approx(prob)
    value = eqx.filter_jit(lambda d: jnp.sum(jax.vmap(d.log_prob)(data)))
    others = [
        jm.SpikeAndSlab(v, values.count(v) / len(values), low=min(values), size=template.size)
        for v in sorted(set(values))
    ]
    assert float(value(fitted)) >= max(float(value(d)) for d in others) - 1e-3


def test_a_dip_is_no_spike():
    counts = jnp.array([25.0, 25.0, 1.0, 25.0, 24.0])
    template = jm.SpikeAndSlab.template(0, 4)
    fitted = template.from_stats(
        template.zero_stats()._replace(count=counts.sum(), outcomes=counts)
    )
    assert int(fitted.spike) in (0, 1, 3)


@pytest.mark.parametrize(
    ("density", "start"),
    [
        (lambda: jm.Weibull(2.0, 3.0), lambda: jm.Weibull.template()),
        (lambda: jm.NegativeBinomial(4.0, 0.4), lambda: jm.NegativeBinomial.template()),
    ],
    ids=["Weibull", "NegativeBinomial"],
)
def test_families_by_gradient_reach_their_maximum(density, start):
    data = jax.jit(jax.vmap(density().sample))(jax.random.split(jax.random.key(1), 400))
    fitted = eqx.filter_jit(lambda m: jm.em.run(m, data, max_steps=200, tol=None))(start()).model
    slope = eqx.filter_jit(jax.grad(lambda d: jnp.mean(jax.vmap(d.log_prob)(data))))(fitted)
    assert all(abs(float(g)) < 2e-3 for g in jax.tree.leaves(slope))


def test_a_template_far_from_the_data_finds_them():
    """About an origin 2e5 standard deviations away float32 has no digit of the variance."""
    x = 1e4 + 0.05 * np.random.default_rng(0).normal(size=60).astype(np.float32)
    found = jm.em.run(jm.Normal.template(), jnp.asarray(x, jnp.float32))
    assert bool(found.result == jm.RESULTS.successful)
    np.testing.assert_allclose(found.model.mean, x.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.model.scale, np.float64(x).std(), rtol=2e-3)


@pytest.mark.parametrize("kind", [jm.TruncatedNormal, jm.CensoredNormal])
def test_ends_in_the_wrong_order_are_refused(kind):
    with pytest.raises(ValueError, match="low < high"):
        kind(0.0, 1.0, low=1.0, high=1.0)


def test_an_interval_without_an_end_goes_through_the_door():
    model = jm.Censored(jm.Exponential(1.0))
    data = jm.encode(model, [2.0, (3.0, float("inf"))])
    assert checked_data(data, model).high[1] == jnp.inf
    with pytest.raises(ValueError, match="row 1"):
        checked_data(data._replace(low=jnp.array([2.0, jnp.nan])), model)


def test_zeta_moments_and_slopes_at_both_ends():
    """Of a steep tail by the sum over ranks, near the pole by 1 / (s - 1)."""
    ranks = np.arange(1, 200.0)
    for s in (12.0, 40.0):
        mass = ranks**-s / (ranks**-s).sum()
        excess = ((ranks - 1) * mass).sum()
        variance = ((ranks - 1) ** 2 * mass).sum() - excess**2
        np.testing.assert_allclose(jm.Zeta(s).variance, variance, rtol=1e-4)
    assert jm.Zeta(2.0).mean == jnp.inf and jnp.isnan(jm.Zeta(2.0).variance)
    slope = jax.jit(jax.grad(lambda e, x: jm.Zeta(log_excess=e).log_prob(x)))
    for log_excess, x, wanted in ((-80.0, 7.0, 1.0), (40.0, 1.0, 0.0)):
        np.testing.assert_allclose(slope(log_excess, x), wanted, atol=1e-6)


def test_the_lower_tail_of_a_gamma_has_logarithms_to_the_end():
    of = jax.jit(jax.value_and_grad(lambda x, a: jm.Gamma(a, 1.0).log_cdf(x)))
    for a, x in ((1e3, 300.0), (50.0, 0.1), (2.0, 1e-25), (3.0, 2.0)):
        law = st.gamma(a)
        got, slope = of(x, a)
        if x < a / 2:  # x f(x) / a times 1 + x / (a + 1) + ..., in float64
            k = np.arange(1, 400)
            wanted = law.logpdf(x) + np.log(x / a) + np.log1p(np.cumprod(x / (a + k)).sum())
        else:
            wanted = law.logcdf(x)
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
        np.testing.assert_allclose(slope, np.exp(law.logpdf(x) - wanted), rtol=1e-3)


def test_the_lower_tails_of_beta_functions_have_logarithms_to_the_end():
    of = jax.jit(jax.value_and_grad(lambda x, a, b: jm.Beta(a, b).log_cdf(x)))
    for a, b, x in ((5.0, 3.0, 1e-10), (500.0, 3.0, 0.5), (1e4, 1e4, 0.4), (2.0, 3.0, 0.3)):
        found, slope = of(x, a, b)
        law = st.beta(a, b)
        np.testing.assert_allclose(found, law.logcdf(x), rtol=1e-5)
        np.testing.assert_allclose(slope, np.exp(law.logpdf(x) - law.logcdf(x)), rtol=2e-3)
    count = jax.jit(lambda x, r, p: jm.NegativeBinomial(r, p).log_cdf(x))
    for r, p, x in ((5.0, 1e-8, 2.0), (500.0, 0.6, 60.0), (20.0, 1e-3, 3.0), (2.0, 0.5, 3.0)):
        np.testing.assert_allclose(count(x, r, p), st.nbinom(r, p).logcdf(x), rtol=1e-5)


def test_a_label_of_any_type_is_the_label_and_a_number_between_is_none():
    model = jm.Categorical(jnp.full(130, 1 / 130))
    for label in (jnp.int8(5), jnp.uint8(129), jnp.asarray(True), jnp.float32(3.0)):
        np.testing.assert_allclose(model.log_prob(label), -np.log(130), rtol=1e-6)
    for other in (jnp.int8(-1), jnp.uint8(130), jnp.float32(1.5)):
        assert model.log_prob(other) == -jnp.inf


def test_factors_beside_little_noise():
    """By least squares on loadings over noise in float64; NaN where no digit is left."""
    draw, (d, rank) = np.random.default_rng(0), (6, 2)
    whole = lambda x, loadings, s: jm.FactorAnalysis(0 * x, loadings, log_scale=s).log_prob(x)
    of = jax.jit(jax.value_and_grad(whole))
    for noise in (1e-2, 1e-4, 1e-6, 1e-10):
        loadings = draw.normal(size=(d, rank)).astype(np.float32)
        log_scale = np.log(noise * draw.uniform(0.5, 2, d)).astype(np.float32)
        scale = np.exp(log_scale.astype(float))
        x = (loadings @ draw.normal(size=rank) + scale * draw.normal(size=d)).astype(np.float32)
        found, slope = of(*map(jnp.asarray, (x, loadings, log_scale)))
        if noise == 1e-10:
            assert np.isnan(found)
            continue
        stacked = np.vstack([loadings / scale[:, None], np.eye(rank)])
        z = np.append(x / scale, np.zeros(rank))
        q, r = np.linalg.qr(stacked)
        rest = z - q @ (q.T @ z)
        norm = log_scale.sum(dtype=float) + np.log(np.abs(np.diag(r))).sum()
        expected = -0.5 * rest @ rest - norm - 0.5 * d * np.log(2 * np.pi)
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        np.testing.assert_allclose(slope * scale, -rest[:d], atol=1e-3)


def test_a_laplace_at_an_event_moves_on_to_the_median_whose_error_is_known():
    x = np.array([0.0, 1.0, 2.0, 3.0, 10.0], np.float32)
    run = jax.jit(lambda m, x: jm.em.run(m, x, floor=0.0))
    for shift in (0.0, 1e5):
        for start in (0.0, 1.0, 3.0, 10.0):
            got = run(jm.Laplace(shift + start, 1.0), jnp.asarray(shift + x))
            assert bool(got.result == jm.RESULTS.successful)
            np.testing.assert_allclose(got.model.loc - shift, 2.0, atol=0.01)
            np.testing.assert_allclose(got.log_likelihood, -5 * np.log(4.8) - 5, atol=1e-3)
    even = jnp.asarray([*x, 4.0])  # whose median lies between two
    errors = jm.em.standard_errors(jm.Laplace(2.5, 14 / 6), even)
    np.testing.assert_allclose([errors.loc, errors.scale], 14 / 6 / 6**0.5, rtol=1e-4)


@pytest.mark.parametrize("case", [c for c in CASES if hasattr(c.make(), "stats")], ids=named)
def test_statistics_of_a_batch_are_refused_by_a_sentence(case):
    density = case.make()
    shape = jax.eval_shape(density.sample, jax.random.key(0))
    for method in (density.log_prob, density.stats):
        with pytest.raises(ValueError, match=r"(?i)one event.* jax\.vmap"):
            method(jnp.zeros((2, *shape.shape), shape.dtype))


ROWS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("call", [jm.em.step, jm.em.solve])
@pytest.mark.parametrize(
    ("density", "data", "counts"),
    [
        (jm.Categorical(jnp.ones(3) / 3), ROWS.argmax(1), ROWS[:, None]),
        (jm.IntegerCategorical(jnp.ones(3) / 3), ROWS.argmax(1), ROWS[:, None]),
        (jm.Multinomial(1, jnp.ones(3) / 3), ROWS, ROWS[:, None]),
        (jm.BernoulliSet(jnp.ones(3) / 2), ROWS, np.stack([ROWS, 1 - ROWS], -1)),
        (jm.Binomial(2, 0.5), np.full(4, 2), np.array([[[2, 0]]] * 4)),
        (jm.Poisson(1.0), np.zeros(4, int), np.zeros((4, 1, 1))),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, jm.LogDensity) else "",
)
def test_an_outcome_never_seen_has_no_share_in_a_derivative(density, data, counts, call):
    """Of log p(x_0) = sum_k c_0k log(S_k / S) after an M-step, in the weights of the rows."""
    fitted = lambda w: call(density, jnp.asarray(data), weights=w)
    model = (lambda w: fitted(w)[0]) if call is jm.em.step else fitted
    got = jax.grad(lambda w: model(w).log_prob(jnp.asarray(data)[0]))(jnp.ones(4))
    total = counts.sum(0)
    share = counts / np.where(total == 0, 1, total) - counts.sum(-1, keepdims=True) / max(
        total.sum(-1).max(), 1
    )
    np.testing.assert_allclose(got, (counts[0] * share).sum((1, 2)), atol=1e-6)


def test_a_rate_of_zero_has_the_slope_of_what_is_left():
    """Skellam(0, 1) is minus a Poisson count: log P(-1) = -1, and its slope in `down` is 0."""
    value = lambda up, down: jm.Skellam(up, down).log_prob(-1)
    up, down = jax.grad(value, (0, 1))(jnp.array(0.0), jnp.array(1.0))
    assert float(value(0.0, 1.0)) == pytest.approx(-1, abs=1e-5)
    assert float(down) == pytest.approx(0, abs=1e-5)
    assert float(up) == 0  # of a probability on its boundary none is taken


def test_what_is_infinite_is_impossible_and_has_no_slope():
    inf = jnp.inf
    cases = [
        (jm.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.9], [0.9, 1.0]])), [inf, -inf]),
        (jm.FactorAnalysis(jnp.zeros(2), jnp.ones((2, 1)), jnp.ones(2)), [inf, inf]),
        (jm.MatrixNormal(jnp.zeros((1, 2)), jnp.eye(1), jnp.eye(2)), [[-inf, inf]]),
        (jm.VonMises(0.0, 1.0), inf),
        (jm.CensoredNormal(0.0, 1.0, low=-1.0, high=1.0), inf),
    ]
    events = [jnp.asarray(x) for _, x in cases]
    both = jax.jit(
        lambda ds, xs: [
            jax.value_and_grad(lambda d, x=x: d.log_prob(x))(d) for d, x in zip(ds, xs, strict=True)
        ]
    )([d for d, _ in cases], events)
    for value, slope in both:
        assert value == -inf
        assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(slope))
    assert bool(jnp.isnan(jm.Categorical(jnp.ones(2)).log_prob(jnp.nan)))


def test_whole_numbers_that_no_integer_in_use_holds():
    right = st.poisson(3e9).logpmf(3_000_000_000)
    for count in (3_000_000_000, np.int64(3_000_000_000), np.array(3_000_000_000)):
        np.testing.assert_allclose(jm.Poisson(3e9).log_prob(count), right, rtol=1e-4)
    with pytest.raises(TypeError, match="beyond all floats"):
        jm.Normal(0.0, 1.0).log_prob(10**400)


def test_a_billion_trials_are_drawn():
    keys = jax.random.split(jax.random.key(0), 100)
    wins = np.asarray(jax.jit(jax.vmap(jm.Binomial(10**9, 0.5).sample))(keys), float)
    z = (wins - 5e8) / np.sqrt(2.5e8)
    assert abs(z.mean()) < 0.4 and 0.7 < z.std() < 1.3


def test_a_narrow_student_has_slopes():
    slopes = jax.jit(jax.grad(lambda d: d.log_prob(1e-3)))(jm.StudentT(5.0, 0.0, 1e-10))
    np.testing.assert_allclose(slopes.log_scale, 5.0, rtol=1e-5)  # log p falls as 5 log scale


def test_variances_of_steep_densities_keep_their_digits():
    found = [jm.Weibull(1e3, 2.0).variance, jm.Kumaraswamy(1e3, 2.0).variance]
    steep = 2 * scipy.special.beta(1 + 2e-3, 2) - (2 * scipy.special.beta(1 + 1e-3, 2)) ** 2
    np.testing.assert_allclose(found, [st.weibull_min(1e3, scale=2).var(), steep], rtol=1e-4)
