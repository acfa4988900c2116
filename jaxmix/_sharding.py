"""Arrays over several devices: carries of loops inside `jax.shard_map`, and explicit mesh axes."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ._loops import marked, over_axes, varies_on
from ._refuse import is_long, leaves_of

C = TypeVar("C", bound=PyTree)
P = ParamSpec("P")
R = TypeVar("R")


def varying(body: Callable[[C], PyTree], carry: C) -> C:
    """A loop's first carry, marked as varying over the mesh axes that its body's result varies on.

    A loop asks that both be alike; constants and zeros, of which a carry starts, vary on none.
    Outside `jax.shard_map` it is the carry itself.
    """
    while jax.sharding.get_abstract_mesh().manual_axes:
        out = jax.tree.leaves(jax.eval_shape(body, carry))
        given, structure = jax.tree.flatten(carry)
        moved = [_as_of(leaf, like) for leaf, like in zip(given, out, strict=True)]
        if all(one is other for one, other in zip(moved, given, strict=True)):
            return carry
        carry = jax.tree.unflatten(structure, moved)
    return carry


def refuse_mixed(tree: PyTree) -> None:
    """A sentence where some arrays vary over devices and others are one for all of them.

    The gradient in the latter is a sum over devices, which a loop whose length differs among them
    cannot take.
    """
    kinds = {varies_on(jax.typeof(leaf)) for leaf in jax.tree.leaves(tree)}
    if len(kinds) > 1:
        names = tuple(sorted(set().union(*kinds)))
        raise ValueError(
            "Inside jax.shard_map an objective of random length is differentiated in parameters of "
            f"each device: mark them before by jax.lax.pcast(parameters, {names}, to='varying'), "
            "and add the gradients by jax.lax.psum."
        )


def _as_of(leaf, like):
    missing = tuple(varies_on(like) - varies_on(jax.typeof(leaf)))
    if missing:
        return jax.lax.pcast(leaf, missing, to="varying")
    return leaf


def on_its_mesh(function: Callable, rows: PyTree, *args, held: Sequence = ()) -> PyTree:
    """`function(rows, *args)`; where rows lie on a mesh with explicit axes, inside that mesh.

    What the function makes of itself (keys, zeros) then has the mesh's type too, as under
    `jax.set_mesh`. Outside `jit` the rows are taken as spread over automatic axes. The mesh may
    also be that of the arrays `held` by what the function closes over.
    """
    rows = automatic(rows)
    known = [*jax.tree.leaves(rows), *(leaf for leaf in held if isinstance(leaf, Tracer))]
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in known]
    mesh = next((m for m in meshes if AxisType.Explicit in m.axis_types), None)
    if mesh is None or not jax.sharding.get_abstract_mesh().empty:
        return function(rows, *args)

    def inside(*given):
        with jax.sharding.use_abstract_mesh(mesh):
            return function(*given)

    return jax.jit(inside)(rows, *args)  # one program, which lies on all the mesh's devices


def automatic(tree: PyTree) -> PyTree:
    """Arrays whose place is known, on explicit axes, as arrays on automatic ones: no data moves.

    JAX differentiates nothing on explicit axes outside `jit` and `jax.set_mesh`.
    """
    return jax.tree.map(_retyped, tree) if jax.sharding.get_abstract_mesh().empty else tree


def _retyped(leaf, spread: bool = True):
    sharding = getattr(leaf, "sharding", None)
    if isinstance(leaf, Tracer) or not isinstance(sharding, NamedSharding):
        return leaf
    mesh = sharding.mesh
    if AxisType.Explicit not in mesh.axis_types or not isinstance(mesh, Mesh):
        return leaf
    mesh = Mesh(mesh.devices, mesh.axis_names)
    return jax.device_put(leaf, NamedSharding(mesh, sharding.spec if spread else PartitionSpec()))


def _spread(leaf) -> PartitionSpec | None:
    """How an array is spread over explicit mesh axes; None if it is not."""
    spec = jax.typeof(leaf).sharding.spec
    return spec if any(names is not None for names in spec) else None


def gathered(tree: PyTree) -> PyTree:
    """Arrays spread over explicit mesh axes, whole on every device; others as they are.

    Over automatic axes the compiler spreads whatever is done with the rows. Explicit ones ask that
    each operation says where its result lies, and sorts, blocks and gathers of rows have no such
    place: they are done on all the rows everywhere.
    """

    def whole(leaf):
        if not isinstance(leaf, jax.Array) or _spread(leaf) is None:
            return leaf
        mesh = jax.typeof(leaf).sharding.mesh
        return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(whole, automatic(tree))


def aligned(rows: PyTree) -> PyTree:
    """Arrays with a common leading axis, spread alike over explicit mesh axes if one of them is."""
    found = [(leaf, _spread(leaf)) for leaf in jax.tree.leaves(rows)]
    first = next((leaf for leaf, spec in found if spec is not None and spec[0] is not None), None)
    if first is None:
        return rows
    mesh, names = jax.typeof(first).sharding.mesh, jax.typeof(first).sharding.spec[0]

    def spread(leaf):
        rest = jax.typeof(leaf).sharding.spec[1:]
        return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec(names, *rest)))

    return jax.tree.map(spread, rows)


def on_automatic_axes(
    function: Callable[P, R], *, spread: bool = False, checked: bool = True
) -> Callable[P, R]:
    """A decorator: arguments on explicit mesh axes are worked on over automatic ones.

    They are whole on every device first: a scan over chunks of spread rows would gather them, and
    sums over devices that wait for one another in two orders abort the process on a CPU. With
    `spread`, a function that lays out rows itself is given them as they lie. What comes back is
    whole on every device of the mesh. `jax.set_mesh` changes nothing inside.

    Inside `jax.shard_map` each device works on its own arguments, with its check or, where a
    function is not `checked`, without it.
    """
    retyped = functools.partial(_retyped, spread=spread)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        arrays = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, jax.Array)]
        around = jax.sharding.get_abstract_mesh()
        inside = arrays if around.manual_axes else []
        if names := frozenset().union(*(varies_on(jax.typeof(a)) for a in inside)):
            if not checked:
                raise ValueError(
                    f"Inside jax.shard_map {function.__name__} works on each device's own rows with "
                    "check_vma=False alone: it calls loops that JAX's check does not follow."
                )
            # Of parameters that are one for all devices JAX adds up the gradient, which EM's
            # statistics are, over devices: each has its own instead.
            with over_axes(names):
                mark = lambda a: marked(jax.numpy.asarray(a)) if _is_array(a) else a
                args, kwargs = jax.tree.map(mark, (args, kwargs), is_leaf=is_long)
                return function(*args, **kwargs)
        mesh = _explicit([around, *(jax.typeof(a).sharding.mesh for a in arrays)])
        if mesh is None:
            return function(*args, **kwargs)
        traced = [jax.typeof(a).sharding.mesh for a in arrays if isinstance(a, Tracer)]
        if _explicit([around, *traced]) is None:
            args, kwargs = jax.tree.map(retyped, (args, kwargs), is_leaf=is_long)
            return function(*args, **kwargs)
        if traced:
            put = lambda a: jax.numpy.asarray(a) if isinstance(a, np.ndarray) else a
            return _inside(function, mesh, *jax.tree.map(put, (args, kwargs)))
        whole = NamedSharding(jax.sharding.get_mesh(), PartitionSpec())
        with jax.set_mesh(Mesh(np.empty((), object), ())):
            args, kwargs = jax.tree.map(retyped, (args, kwargs), is_leaf=is_long)
            out = function(*args, **kwargs)
        put = lambda a: jax.device_put(a, whole) if isinstance(a, jax.Array) else a
        return jax.tree.map(put, out)

    return run


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _explicit(meshes: list[Any]) -> Any:
    return next((m for m in meshes if AxisType.Explicit in m.axis_types), None)


@eqx.filter_jit
def _inside(function: Callable, mesh: Any, args: tuple, kwargs: dict) -> PyTree:
    """The function inside a program that knows explicit axes."""
    given, rest = eqx.partition((args, kwargs), eqx.is_array)
    static: list[PyTree] = []

    def call(given):
        args, kwargs = eqx.combine(given, rest)
        arrays, others = eqx.partition(function(*args, **kwargs), eqx.is_array)
        static.append(others)
        return arrays

    with jax.sharding.use_abstract_mesh(mesh):
        arrays = jax.sharding.auto_axes(call, out_sharding=PartitionSpec())(gathered(given))
    return eqx.combine(arrays, static[0])


def everywhere(tree: PyTree) -> PyTree:
    """Arrays whose place is known, spread over a mesh, whole on every device; others as they are."""

    def whole(leaf):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(leaf, Tracer) or not isinstance(sharding, NamedSharding):
            return leaf
        return jax.device_put(leaf, NamedSharding(sharding.mesh, PartitionSpec()))

    return jax.tree.map(whole, tree)
