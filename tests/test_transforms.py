"""Every public function under transformations: it works, or refuses in words.

`works` means: jit gives numbers; vmap over two arguments gives each one's answer; jvp and grad
agree with one another and with a central difference where `smooth`, and so do second derivatives
(forward over reverse) with that of the first ones; rows spread over two devices, on automatic and
on explicit axes, give the answer of one, and are traced under `jax.set_mesh`; exported for any
number of rows, the program called with some gives their answer. Under float64 the same functions
are traced. The table is in `transforms_table.py`.
"""

import functools
import inspect
import pathlib
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmix as jm

from .transforms_table import (
    ADAPTERS,
    HOST,
    MODULES,
    ROWS,
    TABLE,
    THE_SAME,
    WITHOUT_ARRAYS,
    floats,
    key,
    proposals,
    targets,
)


def beside(a, v):
    """A point and two that are a small step away from it along v, and the length between these."""
    step = jnp.asarray(jnp.finfo(a.dtype).eps ** (1 / 3), a.dtype)
    return jnp.stack([a, a + step * v, a - step * v]), 2 * step


def everything(row, a, v):
    """Value, mapped value, forward and reverse derivative, as far as the row has them."""
    f = lambda a: floats(row.function(a))
    places, length = beside(a, v)
    mapped = jax.vmap(f)(places if row.smooth else jnp.stack([a, a]))
    out = {"value": f(a), "mapped": [one[:1] if row.smooth else one for one in mapped]}
    out["jvp"] = sum(jnp.sum(t) for t in jax.jvp(f, (a,), (v,))[1])
    if row.grad == "works":
        out["grad"] = jnp.sum(jax.grad(lambda a: sum(jnp.sum(o) for o in f(a)))(a) * v)
    if row.smooth:
        out["slope"] = sum(jnp.sum(one[1]) - jnp.sum(one[2]) for one in mapped) / length
    return out


def arguments(row, dtype):
    a = jnp.asarray(row.argument, dtype)
    v = jnp.cos(jnp.arange(a.size, dtype=dtype)).reshape(a.shape)
    return a, v


# Each function is run once: LLVM's optimisation would take longer than it saves.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

by_name = pytest.mark.parametrize("name", TABLE)


@functools.cache
def seen_of(name):
    row = TABLE[name]
    return jax.device_get(
        compiled(lambda a, v: everything(row, a, v))(*arguments(row, jnp.float32))
    )


@functools.cache
def answer(name):
    """What the function of rows gives on one device: computed once for all columns."""
    if TABLE[name].over is None:
        return seen_of(name)["value"]
    function, argument, _ = TABLE[name].of_rows
    return jax.device_get(
        compiled(lambda a: floats(function(a)))(jnp.asarray(argument, jnp.float32))
    )


@by_name
def test_works(name):
    seen = seen_of(name)
    assert seen["value"] and all(np.isfinite(out).all() for out in seen["value"]), seen
    for one, two in zip(seen["value"], seen["mapped"], strict=True):
        np.testing.assert_allclose(two, np.stack([one] * len(two)), rtol=2e-4, atol=2e-4)
    given = [float(seen[k]) for k in ("jvp", "grad", "slope") if k in seen]
    assert np.isfinite(given).all()
    size = 1 + max(map(abs, given), default=0.0) + sum(np.abs(o).sum() for o in seen["value"])
    np.testing.assert_allclose(given, given[0], atol=2e-3 * size, rtol=0)


@by_name
def test_doubles_stay_doubles(name, x64):
    row = TABLE[name]
    a, v = arguments(row, jnp.float64)
    for out in jax.tree.leaves(jax.eval_shape(lambda a, v: everything(row, a, v), a, v)):
        assert out.dtype == jnp.float64


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if "works" != row.grad])
def test_refuses_reverse_mode(name):
    row = TABLE[name]
    a, _ = arguments(row, jnp.float32)
    with pytest.raises(RuntimeError, match=row.grad.removeprefix("refused: ")):
        jax.grad(lambda a: sum(jnp.sum(o) for o in floats(row.function(a))))(a)


def mesh(kind):
    return jax.make_mesh((2,), ("rows",), axis_types=(kind,), devices=jax.devices()[:2])


OUTSIDE = {"em.bootstrap", "em.matched"}  # refused: tests/em/test_meshes.py


@pytest.mark.parametrize("name", [n for n in TABLE if n not in OUTSIDE])
def test_is_traced_inside_shard_map(name):
    """Each device has its own argument, over two mesh axes, with JAX's check of what varies."""
    row = TABLE[name]
    a, _ = arguments(row, jnp.float32)
    kinds = (AxisType.Auto,) * 2
    both = jax.make_mesh((2, 1), ("rows", "more"), axis_types=kinds, devices=jax.devices()[:2])
    spec = PartitionSpec(("rows", "more"))
    one = lambda a: [out[None] for out in floats(row.function(a[0]))]
    jax.jit(jax.shard_map(one, mesh=both, in_specs=spec, out_specs=spec)).trace(jnp.stack([a, a]))


@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if row.rows])
def test_rows_over_two_devices(name):
    row = TABLE[name]
    a, _ = arguments(row, jnp.float32)
    spread = jax.device_put(a, NamedSharding(mesh(AxisType.Auto), PartitionSpec("rows")))
    f = compiled(lambda a: floats(row.function(a)))
    for one, two in zip(seen_of(name)["value"], f(spread), strict=True):
        np.testing.assert_allclose(np.asarray(two), one, rtol=2e-4, atol=2e-4)


def told(error):
    """Whether an error is a sentence of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename.startswith(str(pathlib.Path(jm.__file__).parent))


def refuses(call, said):
    with pytest.raises((TypeError, ValueError), match=said.removeprefix("refused: ")) as caught:
        call()
    assert told(caught.value)


def second(row, a, v):
    """The second derivative along v: of the gradient, or where it is refused of the derivative."""
    f = lambda a: sum(jnp.sum(o) for o in floats(row.function(a)))
    if row.grad == "works":
        first = lambda a: jnp.vdot(jax.grad(f)(a), v)
    else:
        first = lambda a: jax.jvp(f, (a,), (v,))[1]
    twice = jax.jvp(first, (a,), (v,))
    if not row.smooth or row.dear:  # it is no derivative of the value, or only its type is asked
        return twice
    places, length = beside(a, v)
    up, down = jax.vmap(first)(places[1:])
    return *twice, (up - down) / length, f(a)


@by_name
def test_second_derivatives(name):
    row = TABLE[name]
    a, v = arguments(row, jnp.float32)
    call = lambda a, v: second(row, a, v)
    if row.second != "works":
        refuses(lambda: jax.eval_shape(call, a, v), row.second)
        return
    if row.dear:  # traced once, in doubles
        return
    if not row.smooth:  # there is no derivative of the value
        jax.eval_shape(call, a, v)
        return
    first, twice, slope, value = map(float, compiled(call)(a, v))
    size = 1 + abs(twice) + abs(first) + abs(value)
    np.testing.assert_allclose(twice, slope, atol=5e-3 * size)


def spread(a, kind=AxisType.Explicit, rows=True):
    names = PartitionSpec("rows") if rows else PartitionSpec()
    return jax.device_put(a, NamedSharding(mesh(kind), names))


@by_name
def test_explicit_axes(name):
    function, argument, rows = TABLE[name].of_rows
    f = lambda a: floats(function(a))
    given = spread(jnp.asarray(argument, jnp.float32), rows=rows)
    for one, two in zip(answer(name), compiled(f)(given), strict=True):
        np.testing.assert_allclose(np.asarray(two), one, rtol=2e-4, atol=2e-4)
    with jax.set_mesh(mesh(AxisType.Explicit)):
        jax.eval_shape(f, given)


def exported(row, dtype):
    function, argument, rows = row.of_rows
    a = jnp.asarray(argument, dtype)
    sizes = export.symbolic_shape("n") if rows else a.shape[:1]
    kind = jax.ShapeDtypeStruct((*sizes, *a.shape[1:]), dtype)
    return export.export(jax.jit(lambda a: floats(function(a))))(kind), a


@by_name
def test_export_for_any_number_of_rows(name):
    row = TABLE[name]
    if row.export.startswith("refused"):
        refuses(lambda: exported(row, jnp.float32), row.export)
        return
    program, a = exported(row, jnp.float32)
    found = compiled(program.call)(a)
    if row.export == "elsewhere":
        assert all(np.isfinite(two).all() for two in found)
        return
    for one, two in zip(answer(name), found, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-4, atol=2e-4)


@by_name
def test_in_doubles_too(name, x64):
    row = TABLE[name]
    a, v = arguments(row, jnp.float64)
    call = lambda a, v: second(row, a, v)
    if row.second == "works":
        assert all(out.dtype == jnp.float64 for out in jax.eval_shape(call, a, v))
    else:
        refuses(lambda: jax.eval_shape(call, a, v), row.second)
    function, argument, rows = row.of_rows
    f = lambda a: floats(function(a))
    given = spread(jnp.asarray(argument, jnp.float64), rows=rows)
    jax.eval_shape(f, given)
    if row.dear:
        return
    with jax.set_mesh(mesh(AxisType.Explicit)):
        jax.eval_shape(f, given)
    if row.export.startswith("refused"):
        refuses(lambda: exported(row, jnp.float64), row.export)
    else:
        exported(row, jnp.float64)


# What looks at values, with rows or draws spread over devices: the same answer. Those of `em` and
# `choice` are in `em/test_meshes.py`.
SPREAD = {
    "jm.partition": lambda x: jm.partition(key(), x, [0.5, 0.5]),
    "jm.decode": lambda x: jm.decode(jm.Composite((jm.Normal(0, 1),)), (x[:, 0],)),
    "data.k_fold": lambda x: list(jm.data.k_fold(key(), x, 2)),
    "importance.max_weight": lambda x: jm.importance.max_weight(
        targets(jnp.zeros(2)), jm.importance.Draws.of(x.T, proposals(x))
    ),
}


@pytest.mark.parametrize("name", SPREAD)
def test_on_the_host_with_rows_on_explicit_axes(name):
    x = jnp.asarray(ROWS, jnp.float32)
    one, two = SPREAD[name](x), SPREAD[name](spread(x))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", HOST)
@pytest.mark.parametrize("transform", ["jit", "vmap", "grad", "jvp"])
def test_refuses_on_the_host(name, transform):
    x = jnp.asarray(ROWS, jnp.float32)
    f = HOST[name]
    with pytest.raises(TypeError, match=name.split(".")[1] + " looks at values"):
        if transform == "jit":
            jax.jit(f)(x)
        elif transform == "vmap":
            jax.vmap(f)(jnp.stack([x, x]))
        elif transform == "grad":
            jax.grad(f)(x)
        else:
            jax.jvp(f, (x,), (x,))


def test_no_public_function_is_missing():
    listed = {*TABLE, *HOST, *THE_SAME, *WITHOUT_ARRAYS, *ADAPTERS}
    # A function that two modules export is told of once.
    known = {
        getattr(MODULES[name.split(".")[0]], name.split(".")[1])
        for name in listed - ADAPTERS
        if ", " not in name
    }
    missing = [
        f"{where}.{name}"
        for where, module in MODULES.items()
        for name, thing in vars(module).items()
        if inspect.isfunction(thing)
        and not name.startswith("_")
        and f"{where}.{name}" not in listed
        and thing not in known
    ]
    assert not missing
