"""Rows over automatic and explicit mesh axes: the answer of one device, however it is asked for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmix as jm

ROWS = np.random.default_rng(0).normal(size=(40, 2)) + 3.0 * (np.arange(40) % 2)[:, None]
SHORT: dict[str, Any] = {"num_restarts": 2, "max_steps": 20}


def start(x):
    means = jnp.asarray([[0.0, 0.5], [2.5, 3.0]], x.dtype)
    return jm.MixtureSameFamily(
        jnp.full(2, 0.5, x.dtype), jax.vmap(jm.DiagonalNormal)(means, jnp.ones_like(means))
    )


def of_statistics(model, x):
    return jm.em.m_step(model, jm.em.expected_stats(model, x)[1]).model


def posterior(model, x):
    about = jm.em.posterior(model, x)
    at = jnp.stack([about.origin, about.origin])
    # The axes of the coordinates have no sign.
    return jnp.linalg.norm(about.covariance), jax.vmap(about.log_density)(at)


PURE = {
    "run": lambda m, x: jm.em.run(m, x, weights=jnp.ones(len(x)), max_steps=5, history_size=5),
    "step": lambda m, x: jm.em.step(m, x)[::2],
    "init": lambda m, x: jm.em.init(jax.random.key(1), m, x),
    "solve": lambda m, x: jm.em.solve(m, x),
    "slope": lambda m, x: jax.grad(
        lambda floor: jnp.sum(jm.em.solve(m, x, floor=floor).components.log_scale)
    )(0.01),
    "statistics": of_statistics,
    "standard_errors": lambda m, x: jm.em.standard_errors(m, x).components.mean,
    "posterior": posterior,
}
HOST = {
    "fit": lambda m, x: jm.fit(jax.random.key(0), m, x, **SHORT).log_likelihood,
    "sweep": lambda m, x: (
        jm.choice.sweep(jax.random.key(0), {2: m}, x, **SHORT).fits[2].log_likelihood
    ),
}


def mesh(kind, shape=(2,), names=("rows",)):
    kinds = (kind,) * len(names)
    return jax.make_mesh(shape, names, axis_types=kinds, devices=jax.devices()[:2])


def close(found, right):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=2e-3, atol=2e-3)


# Rows over automatic axes without a set mesh: tests/test_transforms.py.
CASES = [(name, AxisType.Explicit) for name in [*PURE, *HOST]]
CASES += [(name, AxisType.Auto) for name in ("step", "fit")]


@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda case: getattr(case, "name", case))
def test_rows_over_a_mesh(name, kind):
    function = (PURE | HOST)[name]
    x = jnp.asarray(ROWS, jnp.float32)
    right = function(start(x), x)
    rows = mesh(kind)
    spread = jax.device_put(x, NamedSharding(rows, PartitionSpec("rows")))
    close(function(start(x), spread), right)
    with jax.set_mesh(rows):
        close(function(start(x), spread), right)
    if name in PURE:
        close(jax.jit(lambda x: function(start(x), x))(spread), right)


def inside(function, mesh, axes, check=True):
    """The function of each device's own rows, stacked."""
    spec = PartitionSpec(axes)
    stacked = lambda x: jax.tree.map(lambda a: a[None], function(start(x), x))
    mapped = jax.shard_map(stacked, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check)
    return jax.jit(mapped)


@pytest.mark.parametrize("name", ["run", "solve", "posterior"])
def test_rows_spread_over_one_of_two_axes_inside_shard_map(name):
    """Over both axes: tests/test_transforms.py."""
    rows = mesh(AxisType.Auto, (2, 1), ("rows", "more"))
    inside(PURE[name], rows, "rows").trace(jnp.asarray(ROWS, jnp.float32))


@pytest.mark.parametrize("check", [False, True])
def test_each_devices_own_rows_inside_shard_map(check):
    x = jnp.asarray(ROWS, jnp.float32)
    function = lambda m, x: jm.em.run(m, x, max_steps=3, history_size=3).model
    rows = mesh(AxisType.Explicit)
    spread = jax.device_put(x, NamedSharding(rows, PartitionSpec("rows")))
    found = inside(function, rows, "rows", check)(spread)
    each = [function(start(part), part) for part in (x[:20], x[20:])]
    close(found, jax.tree.map(lambda *parts: jnp.stack(parts), *each))


def test_what_the_check_does_not_follow_is_refused_inside_shard_map():
    x = jnp.asarray(ROWS, jnp.float32)
    call = inside(lambda m, x: jm.em.matched(m, m, x), mesh(AxisType.Auto), "rows")
    with pytest.raises(ValueError, match="check_vma=False"):
        call(x)
