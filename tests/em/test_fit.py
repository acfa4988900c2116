"""What a fit must be: monotone, at the peers' fixed points, honest about how it ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets, mixture
from sklearn.decomposition import PCA

import jaxmix as jm
from jaxmix.em.parts import num_parameters


def table(name):
    if name == "digits":
        return PCA(8, random_state=0).fit_transform(datasets.load_digits().data) / 10
    data = getattr(datasets, f"load_{name}")().data
    return (data - data.mean(0)) / data.std(0)


def same_start(covariance, x, k, dtype):
    """One hard assignment to k blocks of rows, as a scikit-learn start and as ours."""
    rng = np.random.default_rng(0)
    means = x[rng.choice(len(x), k, replace=False)]
    variance = x.var()
    d = x.shape[1]
    precision = {
        "full": np.repeat(np.eye(d)[None] / variance, k, 0),
        "tied": np.eye(d) / variance,
        "diag": np.full((k, d), 1 / variance),
        "spherical": np.full(k, 1 / variance),
    }[covariance]
    peer = mixture.GaussianMixture(
        k, covariance_type=covariance, tol=0, reg_covar=0, max_iter=400,
        weights_init=np.full(k, 1 / k), means_init=means, precisions_init=precision,
    )  # fmt: skip
    scale = np.sqrt(variance)
    means = jnp.asarray(means, dtype)
    if covariance == "full":
        parts = jax.vmap(lambda m: jm.MultivariateNormal(m, jnp.eye(d, dtype=dtype) * variance))(
            means
        )
    elif covariance == "tied":
        parts = jm.TiedMultivariateNormal(means, jnp.eye(d, dtype=dtype) * variance)
    elif covariance == "diag":
        parts = jax.vmap(lambda m: jm.DiagonalNormal(m, jnp.full(d, scale, dtype)))(means)
    else:
        parts = jax.vmap(lambda m: jm.SphericalNormal(m, jnp.asarray(scale, dtype)))(means)
    return peer, jm.MixtureSameFamily(jnp.full(k, 1 / k, dtype), parts)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_fixed_point_of_scikit_learn(name, covariance, x64):
    x = table(name)
    k = {"iris": 2, "wine": 2, "digits": 4}[name]
    peer, start = same_start(covariance, x, k, jnp.float64)
    peer.fit(x)
    ours = jm.em.run(start, jnp.asarray(x), max_steps=400, tol=None, history_size=400)
    objective = np.asarray(ours.history.objective)
    assert (np.diff(objective) > -1e-7).all()
    assert abs(float(ours.log_likelihood) / len(x) - peer.score(x)) < 1e-5


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_monotone_in_float32_and_kl_positive(covariance):
    x = jnp.asarray(table("wine")[:, :5], jnp.float32)
    start = jm.em.init(jax.random.key(3), jm.gaussian_mixture(3, 5, covariance=covariance), x)
    run = jm.em.run(start, x, max_steps=80, tol=None, history_size=80)
    noise = 4 * jnp.finfo(jnp.float32).eps * jnp.abs(run.log_likelihood)
    assert (jnp.diff(run.history.objective) > -noise).all()
    assert (run.history.kl > -noise).all()


def test_kl_is_from_the_old_responsibilities_to_the_new(x64):
    x = jnp.asarray(table("iris"))
    start = jm.em.init(jax.random.key(0), jm.gaussian_mixture(3, 4), x)
    history, model = jm.em.run(start, x, max_steps=4, tol=None, history_size=4).history, start
    for t in range(4):
        new = jm.em.run(model, x, max_steps=1, tol=None, history_size=1).model
        joint = [jax.vmap(m.joint_log_probs)(x) for m in (model, new)]
        before, after = (j - jax.nn.logsumexp(j, axis=1, keepdims=True) for j in joint)
        answer = (jnp.exp(before) * (before - after)).sum()
        np.testing.assert_allclose(history.kl[t], answer, rtol=1e-6)
        total = jax.vmap(new.log_prob)(x).sum()
        np.testing.assert_allclose(history.log_likelihood[t], total, rtol=1e-10)
        model = new


def test_weights_are_repetitions_and_zero_is_absence(x64):
    x = jnp.asarray(table("iris"))
    start = jm.em.init(jax.random.key(0), jm.gaussian_mixture(2, 4), x)
    counts = np.random.default_rng(0).integers(0, 4, len(x))
    repeated = jnp.repeat(x, jnp.asarray(counts), axis=0, total_repeat_length=int(counts.sum()))
    a = jm.em.run(start, x, weights=jnp.asarray(counts, float), max_steps=20, tol=None)
    b = jm.em.run(start, repeated, max_steps=20, tol=None)
    np.testing.assert_allclose(a.model.components.mean, b.model.components.mean, rtol=1e-8)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-10)


def test_k_means_is_hard_em_of_frozen_equal_weights():
    """With equal frozen weights and a tied scale, hard EM walks Lloyd's centres."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 2)) + 3 * rng.integers(0, 3, (300, 1))).astype(np.float32)
    centres = x[:3].copy()
    parts = jm.TiedMultivariateNormal(jnp.asarray(centres), jnp.eye(2))
    parts = jm.TiedMultivariateNormal(parts.mean, jnp.eye(2) * 1.0)
    model = jm.MixtureSameFamily(jm.frozen(jm.Categorical(jnp.ones(3))), parts)
    for _ in range(5):
        labels = np.argmin(((x[:, None] - centres) ** 2).sum(-1), 1)
        centres = np.stack([x[labels == k].mean(0) for k in range(3)])
        model, _, _ = jm.em.step(model, jnp.asarray(x), assignment="hard")
        np.testing.assert_allclose(model.components.mean, centres, rtol=1e-4)
        # Lloyd's metric is the plain distance: put the identity back.
        model = jm.MixtureSameFamily(
            model.mixing, jm.TiedMultivariateNormal(model.components.mean, jnp.eye(2))
        )


def test_hard_em_reports_the_mixtures_own_likelihood():
    x = jnp.asarray(table("iris"), jnp.float32)
    fit = jm.fit(jax.random.key(0), jm.gaussian_mixture(3, 4), x, assignment="hard", num_restarts=4)
    np.testing.assert_allclose(fit.log_likelihood, jax.vmap(fit.model.log_prob)(x).sum(), rtol=1e-5)
    assert (jnp.diff(fit.history.objective) > -1e-3).all()
    assert (fit.history.kl > -1e-3).all()


def test_best_restart_is_kept_and_told():
    x = jnp.asarray(table("iris"), jnp.float32)
    fit = jm.fit(jax.random.key(1), jm.gaussian_mixture(3, 4), x, num_restarts=6)
    clean = [r != "degenerate" for r in fit.restarts.result]
    assert float(fit.log_likelihood) == fit.restarts.log_likelihood[clean].max()
    assert fit.history.log_likelihood.shape == (fit.num_steps,)
    assert "log-likelihood" in str(fit)
    d, k, n = 4, 3, len(x)
    free = (k - 1) + k * (d + d * (d + 1) // 2)
    assert fit.num_parameters == free
    np.testing.assert_allclose(fit.bic, -2 * fit.log_likelihood + free * np.log(n), rtol=1e-6)
    assert fit.icl >= fit.bic
    posterior = np.asarray(jax.vmap(fit.model.posterior)(x), np.float64)
    entropy = -np.sum(posterior * np.log(np.where(posterior > 0, posterior, 1)))
    np.testing.assert_allclose(fit.entropy, entropy, rtol=1e-3, atol=1e-4)


def test_the_best_restart_by_held_out_rows_is_kept():
    x = jnp.asarray(table("iris"), jnp.float32)
    held = x[::3]
    fit = jm.fit(
        jax.random.key(2), jm.gaussian_mixture(4, 4), x[1::3],
        validation=held, num_restarts=6, max_steps=30, tol=None,
    )  # fmt: skip
    clean = [r != "degenerate" for r in fit.restarts.result]
    scores = np.where(clean, fit.restarts.validation_log_likelihood, -np.inf)
    assert fit.validation_log_likelihood == scores.max() > scores.min()
    total = np.asarray(jax.vmap(fit.model.log_prob)(held), np.float64).sum()
    np.testing.assert_allclose(fit.validation_log_likelihood, total, rtol=1e-5)


@pytest.mark.parametrize(
    ("covariance", "count"),
    [("full", 2 + 15), ("tied", 2 + 6 + 3), ("diag", 2 + 12), ("spherical", 2 + 9)],
)
def test_num_parameters(covariance, count):
    assert num_parameters(jm.gaussian_mixture(3, 2, covariance=covariance)) == count


def test_second_fit_compiles_nothing():
    x = jnp.asarray(table("iris"), jnp.float32)
    template = jm.gaussian_mixture(2, 4)
    jm.fit(jax.random.key(0), template, x, num_restarts=2)
    other, key = jax.block_until_ready((x + 1.0, jax.random.key(5)))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    try:
        jm.fit(key, template, other, num_restarts=2, max_steps=37, tol=1e-5)
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []


def test_gradient_leaf_needs_no_registration():
    """A user's two methods, refitted by gradient, reach the optimum of a direct search."""
    import equinox as eqx
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    class Gumbel(eqx.Module):
        place: jax.Array
        log_scale: jax.Array

        def log_prob(self, x):
            z = (x - self.place) * jnp.exp(-self.log_scale)
            return -z - jnp.exp(-z) - self.log_scale

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.gumbel(2, 1.5, 400), rng.normal(-6, 1, 300)])
    model = jm.Mixture(
        jnp.array([0.5, 0.5]), [Gumbel(jnp.array(0.0), jnp.array(0.0)), jm.Normal(-3.0, 2.0)]
    )
    run = jm.em.run(model, jnp.asarray(x, jnp.float32), max_steps=400, tol=1e-8)

    def negative(p):
        z = (x - p[0]) / np.exp(p[1])
        gumbel = -z - np.exp(-z) - p[1]
        normal = -0.5 * ((x - p[2]) / np.exp(p[3])) ** 2 - p[3] - 0.5 * np.log(2 * np.pi)
        log_w = -np.logaddexp(0, -p[4]), -np.logaddexp(0, p[4])
        return -logsumexp(np.stack([gumbel + log_w[0], normal + log_w[1]]), axis=0).sum()

    best = min(
        minimize(negative, [2, 0.4, -6, 0, 0]).fun, minimize(negative, [1, 0, -5, 0, 0.3]).fun
    )
    assert abs(float(run.log_likelihood) + best) < 0.05
    assert (jnp.diff(run.history.objective[: int(run.num_steps)]) > -1e-2).all()


def test_a_label_of_one_row_in_thousands_keeps_its_probability():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20_000)
    labels[19_007] = 3  # beyond any sample that a start is made of
    data = {"label": jnp.asarray(labels), "value": _float(rng.normal(size=20_000) + labels)}
    fields = {"label": jm.Categorical.template(4), "value": jm.Normal.template()}
    template = jm.mixture_of(jm.Composite(fields), 2)
    batches = [
        jax.tree.map(lambda a, i=i: np.asarray(a)[i : i + 5000], data)
        for i in range(0, 20_000, 5000)
    ]
    for rows in (data, jm.data.Batches(batches)):
        fit = jm.fit(jax.random.key(1), template, rows, num_restarts=2, max_steps=20)
        probs = fit.model.components.parts["label"].probs
        # The labels' marginal law is the data's own after any M-step.
        share = jnp.dot(fit.model.weights, probs)[3]
        assert np.isfinite(float(fit.log_likelihood))
        np.testing.assert_allclose(share, 1 / 20_000, rtol=1e-3)


def _float(values):
    return jnp.asarray(np.asarray(values, np.float32))
