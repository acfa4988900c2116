"""Many fits under one `vmap` run in blocks: each is what it is alone, whatever the blocks."""

import jax
import jax.numpy as jnp
import pytest

import jaxmix as jm
from jaxmix import _platform


@pytest.fixture(scope="module")
def problems():
    """Data of five mixtures of two normals, and starts."""
    with jax.enable_x64(True):
        centres = jnp.arange(5.0)[:, None] + 8 * jnp.repeat(jnp.arange(2.0), 20)[None]
        x = centres + jax.random.normal(jax.random.key(0), (5, 40))
        template = jm.mixture_of(jm.Normal.template(), 2)
        starts = jax.vmap(lambda key, x: jm.em.init(key, template, x))(
            jax.random.split(jax.random.key(1), 5), x
        )
        return starts, x


def fit(start, x):
    return jm.em.run(start, x, tol=None, max_steps=7, history_size=7)


def same(found, wanted):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert jnp.allclose(a, b, rtol=1e-9, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("most", [2, 3])  # five lanes in three blocks, in two
def test_blocks_give_each_fit_its_own_answer(problems, monkeypatch, most, x64):
    alone = jax.lax.map(lambda both: fit(*both), problems)
    monkeypatch.setitem(_platform.SIZES, "cpu", _platform.CACHE._replace(lanes=most * 40 * 2))
    assert "scan" in str(jax.make_jaxpr(jax.vmap(fit))(*problems))
    same(jax.jit(jax.vmap(fit))(*problems), alone)


def test_what_is_not_mapped_serves_all_lanes(problems, monkeypatch, x64):
    starts, x = problems
    alone = jax.lax.map(lambda start: fit(start, x[0]), starts)
    monkeypatch.setitem(_platform.SIZES, "cpu", _platform.CACHE._replace(lanes=2 * 40 * 2))
    same(jax.jit(jax.vmap(fit, in_axes=(0, None)))(starts, x[0]), alone)


def test_nested_maps_and_forward_derivatives_pass_through_blocks(problems, monkeypatch, x64):
    starts, x = problems

    def level(shift, start, x):
        return fit(start, x + shift * x).log_likelihood

    several = jax.vmap(jax.vmap(level, in_axes=(0, None, None)), in_axes=(None, 0, 0))
    shifts = jnp.array([0.0, 0.5, 1.0])
    slopes = lambda s: jax.vmap(jax.jacfwd(level), in_axes=(None, 0, 0))(s, starts, x)
    wanted = several(shifts, starts, x), slopes(0.1)
    monkeypatch.setitem(_platform.SIZES, "cpu", _platform.CACHE._replace(lanes=2 * 40 * 2))
    same((jax.jit(several)(shifts, starts, x), jax.jit(slopes)(0.1)), wanted)
    # Scaling the data by 1 + s scales the fit: the log-likelihood falls by n log(1 + s).
    same(wanted[1], jnp.full(5, -40 / 1.1))
