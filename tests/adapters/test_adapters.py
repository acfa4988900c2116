"""Other libraries' distributions as densities, ours as theirs, and all of them in one mixture."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats as st

import jaxmix as jm
from jaxmix import adapters

KEY = 11


@pytest.fixture(autouse=True, scope="module")
def their_promotion():
    """The libraries are not written for the strictness of these tests."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        with jax.debug_key_reuse(False):
            yield


def numpyro_cases():
    dist = pytest.importorskip("numpyro.distributions")
    take = adapters.from_numpyro
    return {
        "student": (take(dist.StudentT(4.0, 1.0, 2.0)), 0.3, st.t(4, 1, 2).logpdf, True),
        "ints": (take(dist.Normal(0, 2)), 0.3, st.norm(0, 2).logpdf, True),
        "gamma": (take(dist.Gamma(2.0, 3.0)), 0.7, st.gamma(2, scale=1 / 3).logpdf, True),
        "off the support": (take(dist.Exponential(2.0)), -1.0, st.expon(scale=0.5).logpdf, True),
        "poisson": (take(dist.Poisson(3.0)), 2, st.poisson(3).logpmf, False),
        "shifted": (
            take(dist.TransformedDistribution(
                dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(1.0, 2.0)
            )),
            0.3, st.norm(1, 2).logpdf, True,
        ),
        "truncated": (
            take(dist.TruncatedNormal(0.0, 1.0, low=0.0)), 0.3, st.halfnorm.logpdf, True
        ),
        "mixture": (
            take(dist.MixtureSameFamily(
                dist.Categorical(jnp.ones(2) / 2), dist.Normal(jnp.array([-1.0, 1.0]), 1.0)
            )),
            0.3, lambda x: np.log(0.5 * (st.norm.pdf(x, -1) + st.norm.pdf(x, 1))), False,
        ),
        "vector": (
            take(dist.MultivariateNormal(
                jnp.zeros(2), covariance_matrix=jnp.array([[2.0, 0.5], [0.5, 1.0]])
            )),
            [0.3, 1.0], st.multivariate_normal([0, 0], [[2, 0.5], [0.5, 1]]).logpdf, True,
        ),
        "independent": (
            take(dist.Normal(jnp.zeros(2), 1.0).to_event(1)),
            [0.3, 1.0], st.multivariate_normal([0, 0]).logpdf, True,
        ),
    }  # fmt: skip


def distrax_cases():
    distrax = pytest.importorskip("distrax")
    take = adapters.from_distrax
    return {
        "laplace": (take(distrax.Laplace(1.0, 2.0)), 0.3, st.laplace(1, 2).logpdf, True),
        "triangle": (
            take(distrax.MultivariateNormalTri(
                jnp.zeros(2), jnp.array([[1.0, 0.0], [0.5, 2.0]])
            )),
            [0.3, 1.0], st.multivariate_normal([0, 0], [[1, 0.5], [0.5, 4.25]]).logpdf, True,
        ),
        "shifted": (
            take(distrax.Transformed(distrax.Normal(0.0, 1.0), distrax.ScalarAffine(1.0, 2.0))),
            0.3, st.norm(1, 2).logpdf, True,
        ),
        "label": (
            take(distrax.Categorical(logits=jnp.log(jnp.array([0.2, 0.8])))), 1,
            lambda x: np.log(0.8), False,
        ),
    }  # fmt: skip


def tfp_cases():
    pytest.importorskip("tensorflow_probability")
    from tensorflow_probability.substrates.jax import distributions as tfd

    take = adapters.from_tfp
    return {
        "gamma": (take(tfd.Gamma(2.0, 3.0)), 0.7, st.gamma(2, scale=1 / 3).logpdf, True),
        "vector": (
            take(tfd.MultivariateNormalTriL(jnp.zeros(2), jnp.array([[1.0, 0.0], [0.5, 2.0]]))),
            [0.3, 1.0], st.multivariate_normal([0, 0], [[1, 0.5], [0.5, 4.25]]).logpdf, True,
        ),
    }  # fmt: skip


def flowjax_cases():
    fd = pytest.importorskip("flowjax.distributions")
    take = adapters.from_flowjax
    return {"normal": (take(fd.Normal(1.0, 2.0)), 0.3, st.norm(1, 2).logpdf, True)}


LIBRARIES = {
    "numpyro": numpyro_cases,
    "distrax": distrax_cases,
    "tfp": tfp_cases,
    "flowjax": flowjax_cases,
}


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("library", LIBRARIES)
def test_values_samples_and_any_step_stays_valid(library):
    for name, (density, x, truth, reparametrised) in LIBRARIES[library]().items():
        x = jnp.asarray(x)
        both = eqx.filter_jit(eqx.filter_value_and_grad(lambda d, x: d.log_prob(x)))
        value, slope = both(density, x)
        np.testing.assert_allclose(value, truth(np.asarray(x)), rtol=2e-5, err_msg=name)
        assert density.reparametrised is reparametrised, name
        assert density.stack_shape == ()
        assert density.sample(jax.random.key(KEY)).shape == x.shape, name
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(slope)), name
        far = jax.tree.map(lambda a: a - 3.0 if eqx.is_inexact_array(a) and a.size else a, density)
        if name not in ("truncated", "shifted"):  # their fixed ends were moved as well
            assert not bool(jnp.isnan(far.log_prob(x))), name


def test_stacks_are_made_by_vmap_and_batches_refused():
    dist = pytest.importorskip("numpyro.distributions")
    take = adapters.from_numpyro
    stack = jax.vmap(lambda m: take(dist.Normal(m, 1.0)))(jnp.array([-1.0, 1.0]))
    assert stack.stack_shape == (2,)
    mixture = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), stack)
    expected = np.log(0.5 * (st.norm.pdf(0.3, -1) + st.norm.pdf(0.3, 1)))
    np.testing.assert_allclose(mixture.log_prob(jnp.array(0.3)), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"batch shape \(3,\)"):
        take(dist.Normal(jnp.zeros(3), 1.0))
    with pytest.raises(ValueError, match="numpyro distribution"):
        take(jm.Normal(0, 1))


def test_what_has_no_density_is_refused_wherever_it_stands():
    dist, distrax = pytest.importorskip("numpyro.distributions"), pytest.importorskip("distrax")
    point, flat = dist.Delta(1.0), dist.ImproperUniform(dist.constraints.real, (), ())
    inside = dist.TransformedDistribution(flat, dist.transforms.ExpTransform())
    for kind, given in (
        ("Delta", point),
        ("Improper", inside),
        ("Determin", distrax.Deterministic(1.0)),
    ):
        with pytest.raises(ValueError, match=f"A {kind}.* has no density here"):
            jm.importance.draw(jax.random.key(KEY), given, 10)
        with pytest.raises(ValueError, match="has no density here"):
            jm.elbo()(jax.random.key(KEY), lambda z, x: z - x, lambda x, g=given: g, jnp.zeros(2))


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("library", LIBRARIES)
def test_targets_and_proposals_of_importance_sampling_as_they_are(library):
    of = {
        "numpyro": "numpyro.distributions",
        "distrax": "distrax",
        "tfp": "tensorflow_probability.substrates.jax.distributions",
        "flowjax": "flowjax.distributions",
    }
    normal = pytest.importorskip(of[library]).Normal
    draws = jm.importance.draw(jax.random.key(KEY), normal(2.0, 1.0), 500)
    found = jm.imp_est(lambda x: x > 2, [normal(0.0, 1.0), jm.Normal(1.0, 1.0)], draws)
    gap = abs(np.asarray(found.value) - st.norm.sf([2.0, 1.0]))
    assert (gap < 4 * np.asarray(found.std_error)).all()
    if library == "numpyro":  # a stack made by `jax.vmap` is one here too
        stack = jax.vmap(normal)(jnp.array([0.0, 1.0]), jnp.ones(2))
        np.testing.assert_allclose(jm.imp_est(lambda x: x > 2, stack, draws).value, found.value)


class Peak(eqx.Module):
    """A user's own density: two methods, no base class (a logistic)."""

    loc: jax.Array
    log_scale: jax.Array

    def log_prob(self, x):
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        return -z - 2 * jax.nn.softplus(-z) - self.log_scale

    def sample(self, key):
        return self.loc + jnp.exp(self.log_scale) * jax.random.logistic(key)


def test_three_kinds_of_components_agree_with_a_direct_optimisation():
    dist = pytest.importorskip("numpyro.distributions")
    fd = pytest.importorskip("flowjax.distributions")
    fb = pytest.importorskip("flowjax.bijections")
    rng = np.random.default_rng(0)
    x = jnp.asarray(
        np.r_[
            rng.standard_t(5, 150) * 0.7 - 6,
            rng.logistic(size=120) * 0.5,
            np.exp(0.5 * rng.normal(size=130)) + 5,
        ],
        jnp.float32,
    )
    # A smooth flow: the density of a spline has kinks at its knots, where every climb comes to rest.
    net = fb.BlockAutoregressiveNetwork(jax.random.key(0), dim=1, depth=1, block_dim=3)
    bend = [fb.Reshape(fb.Invert(net), ()), fb.Affine(6.0, 2.0)]
    flow = fd.Transformed(fd.Normal(0.0, 1.0), fb.Chain(bend))
    start = jm.Mixture(
        jnp.ones(3) / 3,
        [
            adapters.from_numpyro(dist.StudentT(5.0, -5.0, 1.0)),
            Peak(jnp.array(0.5), jnp.array(0.0)),
            adapters.from_flowjax(flow),
        ],
    )
    solution = eqx.filter_jit(lambda m: jm.em.run(m, x, tol=1e-7, history_size=500))(start)
    assert bool(solution.result == jm.RESULTS.successful)
    trace = solution.history.log_likelihood[: int(solution.num_steps)]
    assert bool(jnp.all(jnp.diff(trace) > -2e-3))  # nats in total, float32

    arrays, rest = eqx.partition(start, eqx.is_inexact_array)
    loss = lambda p: -jnp.mean(jax.vmap(eqx.combine(p, rest).log_prob)(x))
    rule = optax.lbfgs()
    pair = optax.value_and_grad_from_state(loss)

    @jax.jit
    def direct(p):
        def body(carry, _):
            p, state = carry
            value, slope = pair(p, state=state)
            move, state = rule.update(slope, state, p, value=value, grad=slope, value_fn=loss)
            return (optax.apply_updates(p, move), state), value

        return jax.lax.scan(body, (p, rule.init(p)), None, length=150)[0][0]

    found = direct(arrays)
    ours = float(solution.log_likelihood) / len(x)
    assert ours == pytest.approx(-float(loss(found)), abs=2e-3)
    model, other = solution.model, eqx.combine(found, rest)
    np.testing.assert_allclose(model.weights, other.weights, atol=3e-3)
    np.testing.assert_allclose(model.components[1].loc, other.components[1].loc, atol=2e-2)
    scale = lambda m: m.components[0].distribution.scale
    np.testing.assert_allclose(scale(model), scale(other), rtol=3e-2)


def test_foreign_targets_proposals_and_guides():
    dist = pytest.importorskip("numpyro.distributions")
    distrax = pytest.importorskip("distrax")
    fd = pytest.importorskip("flowjax.distributions")
    proposals = [adapters.from_numpyro(dist.StudentT(5.0, 0.0, 2.0)), jm.Normal(1, 1)]
    target = adapters.from_distrax(distrax.Normal(1.0, 1.0))
    draws = jm.importance.draw(jax.random.key(KEY), proposals, 2000)
    estimate = jm.imp_est(lambda x: x**2, target, draws)
    assert abs(float(estimate.value) - 2) < 4 * float(estimate.std_error)
    guide = lambda x: adapters.from_flowjax(fd.Normal(0.5 * x, 0.8))
    model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    xs = jnp.array([0.3, -1.0])
    value = jm.iwae(num_samples=64)(jax.random.key(KEY), model, guide, xs)
    truth = st.norm(0, np.sqrt(2)).logpdf(np.asarray(xs))
    np.testing.assert_allclose(value, truth, atol=0.05)


def test_a_tfp_density_is_a_component_and_a_target():
    pytest.importorskip("tensorflow_probability")
    from tensorflow_probability.substrates.jax import distributions as tfd

    x = jnp.concatenate([jnp.array([-6.5, -6.1, -6.0, -5.9, -4.5]), jnp.linspace(4.0, 6.0, 7)])
    parts = [adapters.from_tfp(tfd.Laplace(-5.0, 1.0)), jm.Normal(4.0, 1.0)]
    solution = jm.em.run(jm.Mixture(jnp.ones(2) / 2, parts), x, tol=1e-7)
    theirs, ours = solution.model.components
    # Apart as they are, each has the estimate of its own data: their median, and mean distance from it.
    assert float(theirs.distribution.loc) == pytest.approx(-6.0, abs=0.05)
    assert float(theirs.distribution.scale) == pytest.approx(0.44, abs=0.005)
    assert float(ours.mean) == pytest.approx(5.0, abs=1e-3)
    draws = jm.importance.draw(jax.random.key(KEY), [jm.StudentT(5.0, 0.0, 1.5)], 2000)
    estimate = jm.imp_est(lambda z: z**2, adapters.from_tfp(tfd.Laplace(0.0, 1.0)), draws)
    assert abs(float(estimate.value) - 2) < 4 * float(estimate.std_error)


def test_ours_in_numpyro():
    dist = pytest.importorskip("numpyro.distributions")
    import numpyro
    from numpyro.infer import MCMC, NUTS

    mixture = jm.MixtureSameFamily(
        jnp.array([0.3, 0.7]), jax.vmap(jm.Normal)(jnp.array([-1.0, 2.0]), jnp.array([0.5, 1.0]))
    )
    prior = adapters.to_numpyro(mixture)
    assert prior.event_shape == () and prior.support is dist.constraints.real
    draws = prior.sample(jax.random.key(KEY), (5, 4))
    assert draws.shape == (5, 4) and prior.log_prob(draws).shape == (5, 4)
    raw = jax.random.key_data(jax.random.key(KEY))  # as NumPyro hands keys on
    np.testing.assert_array_equal(prior.sample(raw, (5, 4)), draws)
    np.testing.assert_allclose(prior.log_prob(draws)[1, 2], mixture.log_prob(draws[1, 2]))

    def model():
        numpyro.sample("z", prior)
        numpyro.sample("rate", adapters.to_numpyro(jm.Gamma(3, 2)))
        with numpyro.plate("rows", 3):
            numpyro.sample("x", adapters.to_numpyro(jm.Normal(0, 1)), obs=jnp.zeros(3))

    chain = MCMC(NUTS(model), num_warmup=150, num_samples=400, progress_bar=False)
    chain.run(jax.random.key(KEY))
    got = chain.get_samples()
    assert abs(float(got["z"].mean()) - float(mixture.mean)) < 0.6
    assert abs(float(got["rate"].mean()) - 1.5) < 0.35 and float(got["rate"].min()) > 0
    assert adapters.to_numpyro(mixture.components).batch_shape == (2,)
    with pytest.raises(ValueError, match="record"):
        adapters.to_numpyro(jm.Composite((jm.Normal(0, 1), jm.Normal(0, 1))))


def test_what_is_drawn_lies_in_the_support_that_numpyro_is_told():
    dist = pytest.importorskip("numpyro.distributions")
    discrete = [jm.Categorical(jnp.ones(3) / 3), jm.BernoulliSet(jnp.ones(3) / 2), jm.Poisson(2.0)]
    others = [
        jm.VonMisesFisher(jnp.array([1.0, 0.0, 0.0]), 3.0), jm.Wishart(4.0, jnp.eye(2)),
        jm.Dirichlet(jnp.ones(3)), jm.DiagonalNormal(jnp.zeros(2), jnp.ones(2)),
    ]  # fmt: skip
    for density in (*discrete, *others):
        prior = adapters.to_numpyro(density)
        draws = prior.sample(jax.random.key(KEY), (4,))
        assert prior.support.event_dim == len(prior.event_shape) == draws.ndim - 1
        assert bool(prior.support(draws).all()), density
        assert prior.support.is_discrete == any(density is d for d in discrete)
    for density, variance in (others[2], 1 / 18), (others[3], 1.0), (discrete[2], 2.0):
        np.testing.assert_allclose(adapters.to_numpyro(density).variance, variance, rtol=1e-5)
    triangle = dist.WishartCholesky(4.0, scale_tril=jnp.eye(2))
    x = triangle.sample(jax.random.key(KEY))
    np.testing.assert_allclose(adapters.from_numpyro(triangle).log_prob(x), triangle.log_prob(x))


def test_a_network_with_functions_in_it_is_a_component():
    """Activations are leaves of a user's class; loops take arrays alone."""

    class Bumps(eqx.Module):
        weight: jax.Array
        squash: object

        def log_prob(self, x):
            return jm.Normal(self.squash(self.weight), 1.0).log_prob(x)

    x = jnp.array([0.2, 0.3, 5.0, 5.2, 4.8])
    start = jm.Mixture(jnp.ones(2) / 2, [Bumps(jnp.array(0.1), jnp.tanh), jm.Normal(5.0, 1.0)])
    solution = jm.em.run(start, x, max_steps=20)
    assert bool(jnp.isfinite(solution.log_likelihood))
    assert 0 < float(jnp.tanh(solution.model.components[0].weight)) < 0.5
