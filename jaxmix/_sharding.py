"""Arrays over several devices: carries of loops inside `jax.shard_map`, and explicit mesh axes."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

C = TypeVar("C", bound=PyTree)


def varying(body: Callable[[C], PyTree], carry: C) -> C:
    """A loop's first carry, marked as varying over the mesh axes that its body's result varies on.

    A loop asks that both be alike; constants and zeros, of which a carry starts, vary on none.
    Outside `jax.shard_map` it is the carry itself.
    """
    while True:
        out = jax.tree.leaves(jax.eval_shape(body, carry))
        given, structure = jax.tree.flatten(carry)
        moved = [_as_of(leaf, like) for leaf, like in zip(given, out, strict=True)]
        if all(one is other for one, other in zip(moved, given, strict=True)):
            return carry
        carry = jax.tree.unflatten(structure, moved)


def refuse_mixed(tree: PyTree) -> None:
    """A sentence where some arrays vary over devices and others are one for all of them.

    The gradient in the latter is a sum over devices, which a loop whose length differs among them
    cannot take.
    """
    kinds = {_axes(jax.typeof(leaf)) for leaf in jax.tree.leaves(tree)}
    if len(kinds) > 1:
        names = tuple(sorted(set().union(*kinds)))
        raise ValueError(
            "Inside jax.shard_map an objective of random length is differentiated in parameters of "
            f"each device: mark them before by jax.lax.pcast(parameters, {names}, to='varying'), "
            "and add the gradients by jax.lax.psum."
        )


def _axes(abstract) -> frozenset:
    """The mesh axes that an array varies on inside `jax.shard_map`."""
    kind = getattr(abstract, "manual_axis_type", None)  # `vma` in earlier versions of JAX
    return getattr(kind, "varying", None) or getattr(abstract, "vma", None) or frozenset()


def _as_of(leaf, like):
    missing = tuple(_axes(like) - _axes(jax.typeof(leaf)))
    if missing:
        return jax.lax.pcast(leaf, missing, to="varying")
    return leaf


def on_its_mesh(function: Callable, rows: PyTree, *args) -> PyTree:
    """`function(rows, *args)`; where rows lie on a mesh with explicit axes, inside that mesh.

    What the function makes of itself (keys, zeros) then has the mesh's type too, as under
    `jax.set_mesh`. Outside `jit` the rows are taken as spread over automatic axes.
    """
    rows = _automatic(rows)
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(rows)]
    mesh = next((m for m in meshes if AxisType.Explicit in m.axis_types), None)
    if mesh is None or not jax.sharding.get_abstract_mesh().empty:
        return function(rows, *args)

    def inside(*given):
        with jax.sharding.use_abstract_mesh(mesh):
            return function(*given)

    return jax.jit(inside)(rows, *args)  # one program, which lies on all the mesh's devices


def _automatic(tree: PyTree) -> PyTree:
    """Arrays whose place is known, on explicit axes, as arrays on automatic ones: no data moves.

    JAX differentiates nothing on explicit axes outside `jit` and `jax.set_mesh`.
    """

    def retyped(leaf):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(leaf, jax.core.Tracer) or not isinstance(sharding, NamedSharding):  # pyright: ignore[reportAttributeAccessIssue]
            return leaf
        mesh = sharding.mesh
        if AxisType.Explicit not in mesh.axis_types or not isinstance(mesh, Mesh):
            return leaf
        names = mesh.axis_names
        mesh = Mesh(mesh.devices, names, axis_types=(AxisType.Auto,) * len(names))
        return jax.device_put(leaf, NamedSharding(mesh, sharding.spec))

    return jax.tree.map(retyped, tree) if jax.sharding.get_abstract_mesh().empty else tree


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
        if not hasattr(leaf, "dtype") or _spread(leaf) is None:
            return leaf
        mesh = jax.typeof(leaf).sharding.mesh
        return jax.sharding.reshard(leaf, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(whole, _automatic(tree))


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
