"""Where estimators of this kind fail silently: an honest number or a clear sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxmix as jm

from .systems import CENTRES, THETAS, normals, rejects

imp = jm.importance


def test_zero_hits_give_the_exact_binomial_limit_and_no_zero_error():
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 1), 200)
    out = jm.imp_est(lambda x: x > 50, jm.Normal(0, 1), draws)
    assert out.value == 0
    np.testing.assert_allclose(out.upper, 1 - 0.05 ** (1 / 200), rtol=1e-4)
    assert out.std_error == out.upper
    assert out.interval() == (0, out.upper)
    assert "no draw hit" in str(out)


def test_zero_hits_far_from_the_target_bound_nothing():
    draws = imp.draw(jax.random.key(0), jm.Normal(30, 1), 200)
    out = jm.imp_est(lambda x: x < 0, jm.Normal(0, 1), draws)
    assert out.value == 0 and out.upper > 0.99
    assert "the draws saw only" in str(out)


def test_a_missed_mode_is_called_out():
    target = jm.Mixture(jnp.array([0.5, 0.5]), [jm.Normal(-8, 1), jm.Normal(8, 1)])
    draws = imp.draw(jax.random.key(0), jm.Normal(8, 1.2), 2000)
    out = jm.imp_est(lambda x: jnp.abs(x) > 8, target, draws)
    assert abs(out.mass - 0.5) < 4 * out.mass_error
    assert any("mass" in sentence for sentence in out.problems())


def test_a_target_of_density_zero_everywhere():
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 1), 100)
    table = imp.Table(
        jnp.full((100, 1), -jnp.inf), imp.log_table(draws.proposals, draws.events),
        draws.stratum, draws.counts, draws.each,
    )  # fmt: skip
    out = imp.from_table(table, rejects(draws.events))
    assert out.value[0] == 0 and out.upper[0] == 1 and out.mass[0] == 0

    def value(shift):
        moved = table._replace(log_targets=table.log_targets + shift)
        return imp.from_table(moved, rejects(draws.events)).value[0]

    assert jax.grad(value)(0.0) == 0


def test_far_targets_and_zero_weights_give_no_nan_in_value_or_gradient():
    thetas = jnp.linspace(-2.0, 12.0, 8)
    draws = imp.draw(jax.random.key(0), normals(jnp.concatenate([thetas, CENTRES])), 200)
    rows = jnp.concatenate([0.01 * jnp.eye(8), jnp.zeros((8, 3)).at[:, 0].set(0.99)], 1)

    def value(thetas):
        return jm.imp_est(rejects, normals(thetas), draws, weights=rows)

    out = value(thetas)
    assert np.isfinite(out.value).all() and np.isfinite(out.std_error).all()
    pooled = jm.imp_est(rejects, normals(thetas), draws)
    assert np.all(abs(pooled.value - stats.norm.sf(1.96 - thetas)) < 4.5 * pooled.std_error + 1e-6)
    assert np.isfinite(jax.jacfwd(lambda t: value(t).value)(thetas)).all()


def test_blocks_without_hits_leave_the_logarithm_of_a_far_target():
    # A block for each proposal; only the first hits, with terms near exp(-240).
    draws = imp.draw(jax.random.key(0), normals(jnp.array([0.0, -20.0])), 4096)
    out = jm.imp_est(rejects, jm.Normal(-20, 1), draws)
    assert out.value == 0 and out.hits > 0
    # Of weights exp(-20 x) above the edge about a twentieth of the hits count.
    assert abs(out.log_value - stats.norm.logsf(21.96)) < 2


def test_one_draw_a_proposal():
    draws = imp.draw(jax.random.key(0), normals(jnp.linspace(1.0, 3.0, 40)), 1)
    out = jm.imp_est(rejects, jm.Normal(0, 1), draws)
    assert out.std_error > 0
    assert abs(out.value - stats.norm.sf(1.96)) < 4 * out.std_error


def test_weights_that_are_no_convex_combination_are_refused():
    draws = imp.draw(jax.random.key(0), normals(CENTRES), 10)
    for rows, said in ((jnp.ones((6, 3)), "sum to 1; row 0"), (jnp.ones((5, 3)), "a row for each")):
        with pytest.raises(ValueError, match=said):
            jm.imp_est(rejects, normals(THETAS), draws, weights=rows)
    with pytest.raises(ValueError, match="row 2"):
        rows = jnp.full((6, 3), 1 / 3).at[2].set(0.0)
        jm.imp_est(rejects, normals(THETAS), draws, weights=rows)


def test_nan_of_f_is_named():
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 1), 20)
    with pytest.raises(ValueError, match="f gave NaN at"):
        jm.imp_est(lambda x: jnp.log(-jnp.abs(x)), jm.Normal(0, 1), draws)


def test_draws_that_are_nan_are_told():
    draws = imp.Draws.of(jnp.zeros((1, 20)).at[0, 3].set(jnp.nan), jm.Normal(0, 1))
    out = jm.imp_est(lambda x: x > 1, jm.Normal(0, 1), draws)
    assert any("gave NaN" in sentence for sentence in out.problems())


def test_what_is_no_stack_is_refused():
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 1), 20)
    with pytest.raises(ValueError, match="targets must be a density"):
        jm.imp_est(rejects, jnp.zeros(3), draws)
    with pytest.raises(ValueError, match="num_draws must be"):
        imp.draw(jax.random.key(0), normals(CENTRES), [1, 2])
    with pytest.raises(ValueError, match="None of the pilot"):
        imp.adapt(
            jax.random.key(0), lambda x: x > 50, jm.Normal(0, 1), num_draws=50, num_components=1
        )


def test_few_draws_a_variate_are_warned_of():
    draws = imp.draw(jax.random.key(0), normals(CENTRES), 20)
    with pytest.warns(UserWarning, match="control variates are fitted on 20 draws"):
        jm.imp_est(rejects, normals(THETAS), draws, control_variates=True)


def test_heavy_terms_are_called_out():
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 0.5), 4000)
    out = jm.imp_est(lambda x: x**2, jm.Normal(0, 1), draws)
    assert out.pareto_k > 0.7 and "Pareto k above 0.7" in str(out)


def test_a_hundred_coordinates_by_the_gradient():
    dim, beta = 100, 4.5
    target = jm.DiagonalNormal(jnp.zeros(dim), jnp.ones(dim))

    def score(x):
        return jnp.sum(x) / dim**0.5 - beta

    pilot = imp.adapt(jax.random.key(0), None, target, score=score, num_draws=500, num_components=1)
    assert pilot.reached
    draws = imp.draw(jax.random.key(1), pilot.proposals, 1000)
    out = jm.imp_est(lambda x: score(x) > 0, target, draws)
    exact = stats.norm.sf(beta)
    assert abs(out.value - exact) < 4 * out.std_error and out.std_error < 0.38 * exact


def test_events_of_a_user_class_serve_as_targets():
    class Laplace:
        def __init__(self, loc):
            self.loc = loc

        def log_prob(self, x):
            return -jnp.abs(x - self.loc) - jnp.log(jnp.asarray(2.0, x.dtype))

    jax.tree_util.register_pytree_node(
        Laplace, lambda d: ((d.loc,), None), lambda _, c: Laplace(*c)
    )
    draws = imp.draw(jax.random.key(0), jm.Normal(0, 3), 4000)
    out = jm.imp_est(lambda x: x > 1, Laplace(jnp.array([0.0, 0.5])), draws)
    exact = 0.5 * np.exp(-np.array([1.0, 0.5]))
    assert np.all(np.abs(np.asarray(out.value) - exact) < 4 * out.std_error)
