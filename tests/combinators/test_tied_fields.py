"""One parameter shared by a whole stack: against closed forms, and against a direct optimiser."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats as st

import jaxmix as jm
from jaxmix.em.solution import num_parameters

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [50, 80, 120])


def labelled(model, values):
    """Rows of known labels: one M-step is the fit."""
    rows = (jnp.asarray(LABELS), jax.tree.map(jnp.asarray, values))
    found = jm.em.run(jm.Conditional(model), rows, tol=1e-14)
    assert bool(found.result == jm.RESULTS.successful)
    return found.model.laws


def tied(part, *names):
    return jm.tie(part, lambda m: m, names if len(names) > 1 else names[0])


def stack(template, k=3):
    return jm.mixture_of(template, k).components


def test_scales_shared_are_those_of_all_residuals(x64):
    x = RNG.normal(size=(250, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]]) + 5 * LABELS[:, None]
    means = np.stack([x[LABELS == k].mean(0) for k in range(3)])
    rest = x - means[LABELS]
    normal = labelled(tied(stack(jm.Normal.template()), "variance"), x[:, 0])
    np.testing.assert_allclose(normal.mean, means[:, 0])
    np.testing.assert_allclose(normal.variance, [np.mean(rest[:, 0] ** 2)] * 3)
    full = labelled(tied(stack(jm.MultivariateNormal.template(2)), "covariance"), x)
    np.testing.assert_allclose(full.covariance[1], rest.T @ rest / 250)
    start = eqx.tree_at(lambda m: m.mean, stack(jm.Normal.template()), jnp.array([0.0, 5.0, 9.0]))
    for known in (tied(jm.frozen(start, "mean"), "scale"), jm.frozen(tied(start, "scale"), "mean")):
        found = labelled(known, x[:, 0])
        away = x[:, 0] - np.array([0, 5, 9])[LABELS]
        np.testing.assert_allclose(found.scale, [np.sqrt(np.mean(away**2))] * 3)
        assert found.mean.tolist() == [0, 5, 9]
        assert jm.trainable(found).part.mean is False


def test_lines_with_one_variance_and_lines_with_one_slope(x64):
    x = RNG.normal(size=(250, 2))
    y = x @ [1.0, -2.0] + LABELS + RNG.normal(size=250)
    lines = stack(jm.LinearRegression.template(2))
    fits = [np.linalg.lstsq(np.c_[x, np.ones(250)][LABELS == k], y[LABELS == k]) for k in range(3)]
    left = sum(fit[1][0] for fit in fits)
    one = labelled(tied(lines, "scale"), (y, x))
    np.testing.assert_allclose(one.coefficients, [fit[0][:2] for fit in fits])
    np.testing.assert_allclose(one.scale, [np.sqrt(left / 250)] * 3)
    # One slope and one variance for all groups: analysis of covariance.
    design = np.c_[x, np.eye(3)[LABELS]]
    solved, left, *_ = np.linalg.lstsq(design, y)
    both = labelled(tied(lines, "coefficients", "scale"), (y, x))
    np.testing.assert_allclose(both.coefficients, [solved[:2]] * 3)
    np.testing.assert_allclose(both.intercept, solved[2:])
    np.testing.assert_allclose(both.scale, [np.sqrt(left[0] / 250)] * 3)


def test_a_shape_shared_by_gammas_is_where_a_direct_optimiser_finds_it(x64):
    x = RNG.gamma(2.5, np.array([1.0, 3.0, 0.2])[LABELS])
    found = labelled(tied(stack(jm.Gamma.template()), "shape"), x)
    means = np.array([x[LABELS == k].mean() for k in range(3)])[LABELS]
    loss = lambda k: -st.gamma(k, scale=means / k).logpdf(x).sum()
    best = scipy.optimize.minimize_scalar(loss, bounds=(1, 9), options={"xatol": 1e-9}).x
    np.testing.assert_allclose(found.shape, [best] * 3, rtol=1e-6)


def test_in_a_nested_mixture_of_records(x64, tmp_path):
    """Counted once; fitted, with errors as by the whole Hessian; saved, thawed, differentiated."""
    y = np.where(RNG.random(300) < 0.4, RNG.normal(0, 1, 300), RNG.normal(4, 1, 300))
    z = RNG.poisson(3, 300)
    inner = jm.tie(jm.mixture_of(jm.Normal.template(), 2), lambda m: m.components, "scale")
    template = jm.mixture_of(jm.Composite({"y": inner, "z": jm.Poisson.template()}), 1)
    data = {"y": jnp.asarray(y), "z": jnp.asarray(z)}
    start = eqx.tree_at(
        lambda m: m.components.parts["y"].components.part.mean, template, jnp.array([[0.0, 4.0]])
    )
    assert num_parameters(start) == 1 + 2 + 1 + 1
    model = jm.em.solve(start, data)
    part = model.components.parts["y"].components
    assert part.once.log_scale.shape == (1,) and part.scale.shape == (1, 2)
    record = jm.em.standard_errors(model, data)
    errors = record.components.parts["y"].components.mean[0]
    assert ".components.parts['y'].components.scale" in str(record)

    def total(free):
        weight, first, second, log_scale = free
        under = [jm.Normal(m, jnp.exp(log_scale)) for m in (first, second)]
        both = jm.Mixture(jax.nn.softmax(jnp.array([0.0, 1.0]) * weight), under)
        return jnp.sum(jax.vmap(both.log_prob)(data["y"]))

    inside = model.components.parts["y"]
    odds = jnp.log(inside.weights[0, 1] / inside.weights[0, 0])
    at = jnp.stack([odds, *part.mean[0], part.once.log_scale[0]])
    slope, bend = jax.jit(lambda at: (jax.grad(total)(at), jax.hessian(total)(at)))(at)
    assert np.max(np.abs(slope)) < 1e-5
    wanted = np.sqrt(np.diag(np.linalg.inv(-np.asarray(bend))))
    np.testing.assert_allclose(errors, wanted[1:3], rtol=1e-6)
    assert isinstance(jm.unwrap(model).components.parts["y"].components, jm.Normal)
    slope = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(jax.vmap(m.log_prob)(data))))(model)
    assert slope.components.parts["y"].components.once.log_scale.shape == (1,)
    path = tmp_path / "model.npz"
    jm.save(path, model)
    assert eqx.tree_equal(jm.load(path), model)


def test_a_shared_scale_has_one_prior(x64):
    """That of a normal-inverse-gamma law, of which each mean has its own part."""
    x = RNG.normal(size=250) + 5 * LABELS
    part = tied(stack(jm.Normal.template()), "scale")
    rule = [(jm.Normal, jm.em.NormalInverseGamma(1.0, 2.0, 3.0, 7.0))]
    template = jm.Conditional(part)
    data = (jnp.asarray(LABELS), jnp.asarray(x))
    prior = jm.em.conjugate_prior(template, data, rule, floor=0.0)
    found = jm.em.run(template, data, prior=prior, tol=1e-14).model.laws
    each = [x[LABELS == k] for k in range(3)]
    means = [(2 + rows.sum()) / (2 + len(rows)) for rows in each]
    left = [((r - m) ** 2).sum() + 2 * (m - 1) ** 2 for r, m in zip(each, means, strict=True)]
    np.testing.assert_allclose(found.mean, means)
    np.testing.assert_allclose(found.variance, [(sum(left) + 14) / (250 + 8 + 3)] * 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tied(stack(jm.Normal.template()), "rate"), "no parameter 'rate' to tie"),
        (lambda: tied(stack(jm.Poisson.template()), "rate"), "jm.tie(model, where)"),
        (lambda: tied(jm.mixture_of(jm.Normal.template(), 2), "scale"), "lambda m: m.components"),
        (lambda: tied(jm.Normal.template(), "scale"), "stack shape ()"),
        (lambda: tied(stack(jm.MultivariateNormal.template(2)), "mean"), "covariance alone"),
    ],
)
def test_what_cannot_be_tied_is_told(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
