"""How sure a fit is of its parameters, against textbook formulae, scipy and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats as st

import jaxmix as jm

# Density from its usual parameters, scipy's log-density from the same, their names, a point.
FAMILIES = {
    "LogNormal": (jm.LogNormal, lambda p: st.lognorm(p[1], scale=np.exp(p[0])).logpdf,
                  "log_mean log_sd", (0.5, 0.7)),
    "Exponential": (jm.Exponential, lambda p: st.expon(scale=1 / p[0]).logpdf, "rate", (2.0,)),
    "Gamma": (jm.Gamma, lambda p: st.gamma(p[0], scale=1 / p[1]).logpdf, "shape rate", (3.0, 2.0)),
    "Poisson": (jm.Poisson, lambda p: st.poisson(p[0]).logpmf, "rate", (3.5,)),
    "Geometric": (jm.Geometric, lambda p: st.geom(p[0]).logpmf, "prob", (0.3,)),
    "Bernoulli": (jm.Bernoulli, lambda p: st.bernoulli(p[0]).logpmf, "prob", (0.3,)),
    "StudentT": (jm.StudentT, lambda p: st.t(p[0], p[1], p[2]).logpdf,
                 "df loc scale", (4.0, 1.0, 2.0)),
    "Weibull": (jm.Weibull, lambda p: st.weibull_min(p[0], scale=p[1]).logpdf,
                "shape scale", (1.5, 2.0)),
    "NegativeBinomial": (jm.NegativeBinomial, lambda p: st.nbinom(p[0], p[1]).logpmf,
                         "successes prob", (2.5, 0.3)),
    "Beta": (jm.Beta, lambda p: st.beta(p[0], p[1]).logpdf, "a b", (2.5, 1.5)),
    "VonMises": (jm.VonMises, lambda p: st.vonmises(p[1], loc=p[0]).logpdf, "loc concentration",
                 (0.5, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_errors_of_every_family_are_those_of_its_likelihood_in_scipy(x64, family):
    build, law, names, truth = FAMILIES[family]
    frozen = law(truth).__self__
    x = np.asarray(frozen.rvs(150, random_state=np.random.default_rng(1)))
    loss = lambda p: -np.sum(law(p)(x))
    at = scipy.optimize.minimize(
        loss, truth, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000}
    ).x
    steps = 1e-4 * np.abs(at)
    hessian = np.empty((len(at), len(at)))
    for i, a in enumerate(np.diag(steps)):
        for j, b in enumerate(np.diag(steps)):
            corners = loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)
            hessian[i, j] = corners / (4 * steps[i] * steps[j])
    errors = jm.em.standard_errors(build(*at), jnp.asarray(x))
    assert bool(errors.result == jm.RESULTS.successful)
    parts = lambda model: jnp.stack([getattr(model, name) for name in names.split()])
    np.testing.assert_allclose(
        errors.covariance_of(parts), np.linalg.inv(hessian), rtol=2e-4, atol=1e-9
    )
    assert {path for path, _ in errors.items()} >= {f".{name}" for name in names.split()}


def test_a_single_normal_has_textbook_errors_influence_and_profile(x64):
    x = jax.random.normal(jax.random.key(2), (40,)) ** 3
    model = jm.em.solve(jm.Normal(0, 1), x, floor=0.0)
    errors = jm.em.standard_errors(model, x)
    sd, n = float(jnp.std(x)), len(x)
    np.testing.assert_allclose(errors.mean, sd / n**0.5, rtol=1e-8)
    np.testing.assert_allclose(errors.scale, sd / (2 * n) ** 0.5, rtol=1e-8)
    moves = jm.em.influence(model, x)
    np.testing.assert_allclose(moves.mean, (x - x.mean()) / n, atol=1e-10)
    ends = jm.em.profile(model, x, lambda m: m.mean)
    half = sd * np.sqrt(np.expm1(1.959963984540054**2 / n))
    np.testing.assert_allclose([ends.lower, ends.upper], [x.mean() - half, x.mean() + half], 1e-6)
    robust = jm.em.standard_errors(model, x, kind="sandwich")
    fourth = float(jnp.mean((x - x.mean()) ** 4))
    expected = np.sqrt((fourth - sd**4) / (n - 2)) / (2 * sd)  # n / (n - 2) of 2 parameters
    np.testing.assert_allclose(robust.scale, expected, rtol=1e-8)
    few = jm.em.standard_errors(model, x[:2], kind="sandwich")
    assert bool(few.result == jm.RESULTS.singular_information)
    for kind in ("observed", "sandwich"):
        lost = jm.em.standard_errors(model, x.at[3].set(jnp.nan), kind=kind)
        assert bool(lost.result == jm.RESULTS.nonfinite) and np.isnan(lost.mean)


def test_weights_of_a_categorical_have_multinomial_errors(x64):
    x = jnp.repeat(jnp.arange(3), jnp.array([20, 30, 50]))
    errors = jm.em.standard_errors(jm.Categorical(jnp.array([0.2, 0.3, 0.5])), x)
    p = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(errors.probs, np.sqrt(p * (1 - p) / 100), rtol=1e-8)
    names, matrix = errors.covariances()
    assert names == [".probs[0]", ".probs[1]", ".probs[2]"]
    np.testing.assert_allclose(matrix, (np.diag(p) - np.outer(p, p)) / 100, atol=1e-12)


def test_doubled_components_are_reported_as_singular(x64):
    x = jax.random.normal(jax.random.key(3), (50,))
    same = jax.vmap(jm.Normal)(jnp.full(2, x.mean()), jnp.full(2, x.std()))
    model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), same)
    errors = jm.em.standard_errors(model, x)
    assert bool(errors.result == jm.RESULTS.singular_information)
    assert bool(jnp.all(jnp.isnan(errors.components.mean)))


@pytest.fixture(scope="module")
def overlapping():
    """A fitted mixture of two normals that overlap, its data, and case weights."""
    with jax.enable_x64(True):
        parts = jax.vmap(jm.Normal)(jnp.array([-1.2, 1.5]), jnp.array([1.0, 0.7]))
        truth = jm.MixtureSameFamily(jnp.array([0.6, 0.4]), parts)
        x = jax.vmap(truth.sample)(jax.random.split(jax.random.key(4), 120))
        w = jnp.linspace(0.5, 1.5, 120)
        return jm.em.solve(truth, x, weights=w, floor=0.0), x, w


def likelihood(p, x, w):
    """The mixture's log-likelihood by scipy, from weight, means and standard deviations."""
    terms = p[0] * st.norm(p[1], p[3]).pdf(x) + (1 - p[0]) * st.norm(p[2], p[4]).pdf(x)
    return np.sum(w * np.log(terms))


def test_a_mixture_has_the_errors_of_scipys_likelihood_by_all_routes(x64, overlapping):
    model, x, w = overlapping
    parts = lambda m: jnp.concatenate([m.weights[:1], m.components.mean, m.components.scale])
    at, steps = np.asarray(parts(model)), 1e-4
    hessian = np.empty((5, 5))
    for i, a in enumerate(steps * np.eye(5)):
        for j, b in enumerate(steps * np.eye(5)):
            ends = [at + a + b, at + a - b, at - a + b, at - a - b]
            pp, pm, mp, mm = (likelihood(p, x, w) for p in ends)
            hessian[i, j] = (pp - pm - mp + mm) / (4 * steps**2)
    expected = np.linalg.inv(-hessian)
    direct = jm.em.standard_errors(model, x, weights=w)
    louis = jm.em.standard_errors(model, x, weights=w, kind="louis")
    np.testing.assert_allclose(direct.covariance_of(parts), expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(
        louis.covariance_of(parts), direct.covariance_of(parts), rtol=1e-9, atol=1e-12
    )
    # The delta method, for a quantile's worth of function: the mixture's own mean.
    slope = np.array([at[1] - at[2], at[0], 1 - at[0], 0, 0])
    np.testing.assert_allclose(
        direct.of(lambda m: m.mean), np.sqrt(slope @ expected @ slope), rtol=1e-4
    )


def test_a_profile_ends_where_the_best_of_the_rest_has_fallen_by_half_chi_squared(x64, overlapping):
    model, x, w = overlapping
    ends = jm.em.profile(model, x, lambda m: m.components.mean[0], weights=w, level=0.9)
    assert bool(ends.result == jm.RESULTS.successful)
    at = np.array([*model.weights[:1], *model.components.mean, *model.components.scale])
    top = likelihood(at, x, w)
    for end in (ends.lower, ends.upper):
        rest = lambda p, end=end: -likelihood(np.array([p[0], float(end), *p[1:]]), x, w)
        found = scipy.optimize.minimize(
            rest, np.delete(at, 1), method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000},
        )  # fmt: skip
        np.testing.assert_allclose(top + found.fun, st.chi2(1).ppf(0.9) / 2, rtol=1e-5)


def test_influence_is_what_a_little_more_weight_does(x64, overlapping):
    model, x, w = overlapping
    moves = jm.em.influence(model, x, weights=w)
    solve = jax.jit(lambda w: jm.em.solve(model, x, weights=w, floor=0.0))
    row, step = 17, 1e-4
    up, down = solve(w.at[row].add(step)), solve(w.at[row].add(-step))
    for at in (lambda m: m.components.mean, lambda m: m.components.scale, lambda m: m.weights):
        np.testing.assert_allclose(
            at(moves)[..., row], (at(up) - at(down)) / (2 * step), rtol=1e-5, atol=1e-9
        )


def test_a_bootstrap_of_a_normal_has_the_spread_of_its_mean_and_variance():
    x = jax.random.normal(jax.random.key(5), (60,))
    model = jm.em.solve(jm.Normal(0, 1), x)
    num = 800
    for parametric in (False, True):
        key = jax.random.key(5 + parametric)
        boot = jm.em.bootstrap(key, model, x, num=num, parametric=parametric)
        assert not bool(jnp.any(boot.failed))
        z = (boot.std(lambda m: m.mean) / (jnp.std(x) / 60**0.5) - 1) * jnp.sqrt(2 * num)
        assert abs(z) < 4
    # Drawn from the model, 60 times the variance over its own is chi-squared on 59.
    ratios = 60 * np.asarray(boot.values(lambda m: m.variance)) / float(model.variance)
    assert st.kstest(ratios, st.chi2(59).cdf).pvalue > 1e-3


def test_a_bootstrap_draws_rows_with_their_case_weights():
    absent = jnp.arange(80) < 20
    x = jax.random.normal(jax.random.key(8), (80,)) * jnp.where(absent, 5.0, 1.0)
    w = jnp.where(absent, 0.0, jnp.linspace(0.5, 2.0, 80))
    model = jm.em.solve(jm.Normal(0, 1), x, weights=w)
    num = 800
    boot = jm.em.bootstrap(jax.random.key(9), model, x, weights=w, num=num)
    # The mean is a ratio of two sums over rows: its linear part has this variance.
    rows, weights = np.asarray(x, float), np.asarray(w, float)
    centre = weights @ rows / weights.sum()
    spread = np.sqrt(np.sum((weights * (rows - centre)) ** 2)) / weights.sum()
    z = (float(boot.std(lambda m: m.mean)) / spread - 1) * np.sqrt(2 * num)
    assert abs(z) < 4
    with pytest.raises(ValueError, match="no case weights"):
        jm.em.bootstrap(jax.random.key(9), model, x, weights=w, parametric=True)


def test_components_are_matched_in_stacks_and_in_lists():
    x = jnp.array([-4.0, -3.5, 0.0, 0.5, 4.0, 4.5])
    means = jnp.array([-4.0, 0.0, 4.0])
    stack = lambda order: jm.MixtureSameFamily(
        jnp.array([0.2, 0.3, 0.5])[order], jax.vmap(jm.Normal)(means[order], jnp.ones(3))
    )
    order = jnp.array([2, 0, 1])
    found = jm.em.matched(stack(order), stack(jnp.arange(3)), x)
    np.testing.assert_allclose(found.components.mean, means)
    np.testing.assert_allclose(found.weights, [0.2, 0.3, 0.5], rtol=1e-6)
    tied = lambda order: jm.MixtureSameFamily(
        jnp.ones(3) / 3, jm.TiedMultivariateNormal(jnp.tile(means[order][:, None], 3), jnp.eye(3))
    )
    rows = jnp.tile(x[:, None], 3)
    found = jm.em.matched(tied(order), tied(jnp.arange(3)), rows)
    np.testing.assert_allclose(found.components.mean[:, 0], means)
    np.testing.assert_allclose(found.components.factor, jnp.zeros((3, 3)), atol=1e-6)
    normal = lambda k: jm.Normal(means[k], 1)
    listed = lambda a, b: jm.Mixture(
        jnp.array([0.2, 0.3, 0.5]), [normal(a), jm.Laplace(0.0, 1), normal(b)]
    )
    found = jm.em.matched(listed(2, 0), listed(0, 2), x)
    np.testing.assert_allclose([found.components[0].mean, found.components[2].mean], [-4, 4])
    np.testing.assert_allclose(found.weights, [0.5, 0.3, 0.2], rtol=1e-6)
    assert isinstance(found.components[1], jm.Laplace)


def test_components_of_unlike_shapes_stay_in_their_places():
    coin, die = jm.Categorical(jnp.array([0.9, 0.1])), jm.Categorical(jnp.ones(3) / 3)
    model = jm.Mixture(jnp.array([0.4, 0.6]), [coin, die])
    found = jm.em.matched(model, model, jnp.array([0, 1, 1, 0]))
    np.testing.assert_allclose(found.weights, model.weights)


def test_many_rows_and_covariates_far_from_zero_have_their_errors():
    """Two nats are less than what float32 holds of a total of 14,000."""
    rng, n = np.random.default_rng(1), 10_000
    near = rng.normal(size=n)
    data = np.float32(2 * near + rng.normal(size=n)), np.float32(1e4 + near)[:, None]
    model = jm.em.run(jm.LinearRegression.template(1), data).model
    x = data[1][:, 0].astype(float)
    spread = np.sum((x - x.mean()) ** 2)
    right = float(model.scale) / spread**0.5
    slope = lambda m: m.coefficients[0]
    np.testing.assert_allclose(jm.em.standard_errors(model, data).of(slope), right, rtol=1e-3)
    ends = jm.em.profile(model, data, slope, max_steps=6)
    half = right * np.sqrt(n * np.expm1(1.959963984540054**2 / n))
    np.testing.assert_allclose((ends.upper - ends.lower) / 2, half, rtol=1e-3)


WRONG = [
    (lambda m, x: jm.em.profile(m, x, lambda m: jnp.stack([m.mean, m.scale])), "one real number"),
    (lambda m, x: jm.em.profile(m, x, lambda m: m.mean, level=95), "between 0 and 1"),
    (lambda m, x: jm.em.standard_errors(jm.frozen(m), x), "frozen: no fit moves it"),
    (lambda m, x: jm.em.standard_errors(m, x, prior=3), "none of this model's"),
    (lambda m, x: jm.em.standard_errors(m, x).of(lambda m: 3), "one array of real numbers"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_calls_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call(jm.Normal(0, 1), jnp.array([-1.0, 1.0, 0.5]))


def test_a_wrong_kind_is_told():
    x = jnp.array([-1.0, 1.0])
    with pytest.raises(ValueError, match="kind of standard_errors is one of"):
        jm.em.standard_errors(jm.Normal(0, 1), x, kind="fisher")
    with pytest.raises(ValueError, match="for mixtures; Normal is none"):
        jm.em.standard_errors(jm.Normal(0, 1), x, kind="louis")
