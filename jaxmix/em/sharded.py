"""Rows over devices and processes: each has its own, the sums are added up, no row is sent.

Inside `shard_map` the data are wrapped as a `Shard`, which names the mesh axes to sum over; what
reads rows works on its own rows and calls `pooled` at the end. Models stay whole everywhere.
Processes that read sources exchange sums once a pass, and nothing else.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .. import _loops
from .._arguments import rows, takes
from .._refittable import Refittable
from .._refuse import on_host
from .._stack import stack_axes
from .._trees import in_numpy, is_sum, map_sums, merge, merged, num_rows, take


class Shard(eqx.Module):
    """One device's rows, and the mesh axes over which rows are spread."""

    rows: PyTree
    axes: tuple[str, ...] = eqx.field(static=True)


class Layout(NamedTuple):
    """How rows lie over a mesh."""

    mesh: Mesh
    axes: tuple[str, ...]

    @property
    def sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(self.axes))


def opened(data: PyTree) -> tuple[PyTree, tuple[str, ...]]:
    """The rows themselves, and the axes to sum over: none for data that are whole."""
    if isinstance(data, Shard):
        return data.rows, data.axes
    return data, ()


def pooled(tree: PyTree, axes: tuple[str, ...]) -> PyTree:
    """Sums over all devices; running sums keep their low parts.

    What is sent is as large as the tree, whatever the number of rows.
    """
    if not axes:
        return tree

    def total(node):
        if not is_sum(node):
            return jax.lax.psum(node, axes)
        every = jax.lax.all_gather(node, axes)
        fold = lambda so_far, one: (merge(so_far, one), None)
        return _loops.scan(fold, jax.tree.map(jnp.zeros_like, node), every)[0]

    return map_sums(total, tree)


def layout_of(data: PyTree) -> Layout | None:
    """How the rows of concrete arrays are spread over devices; None for arrays on one.

    Raises:
        ValueError: if arrays are spread differently, or along another axis than that of rows.
    """
    found: dict[Any, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]:
        name, place = jax.tree_util.keystr(path) or "the data", None
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            rows, *rest = (*sharding.spec, None)
            if any(part is not None for part in rest):
                raise ValueError(
                    f"{name} is sharded as {sharding.spec}: only the leading axis, of rows, may be "
                    "spread over devices."
                )
            axes = (rows,) if isinstance(rows, str) else tuple(rows or ())
            place = (sharding.mesh, axes) if axes else None
        found.setdefault(place, name)
    if len(found) > 1:
        names = " and ".join(found.values())
        raise ValueError(f"{names} are sharded differently: their rows must lie together.")
    one = next(iter(found), None)
    if one is None:
        return None
    mesh, axes = one
    return Layout(Mesh(mesh.devices, mesh.axis_names), axes)


def placed(data: PyTree, layout: Layout | None) -> PyTree:
    """The same rows on the same devices, with the mesh's axis types left to the compiler.

    Under explicit axis types every operation on the rows would have to name its sharding.
    """
    if layout is None:
        return data
    assert all(kind == AxisType.Auto for kind in layout.mesh.axis_types)
    return jax.tree.map(lambda a: jax.device_put(a, layout.sharding), data)


def over_rows(
    function: Callable, layout: Layout | None, data: PyTree, weights: PyTree, *whole: PyTree
) -> PyTree:
    """`function(data, weights, *whole)`, where rows are spread once on every device's own.

    The function's value must be the same on every device: it sums what it makes of rows by
    `pooled`.
    """
    if layout is None:
        return function(data, weights, *whole)
    arrays, rest = eqx.partition(whole, eqx.is_array)

    def local(data, weights, arrays):
        return function(Shard(data, layout.axes), weights, *eqx.combine(arrays, rest))

    rows, every = PartitionSpec(layout.axes), PartitionSpec()
    # With the check on, the gradient within a chunk would be summed over devices chunk by chunk.
    mapped = jax.shard_map(
        local, mesh=layout.mesh, in_specs=(rows, rows, every), out_specs=every, check_vma=False
    )
    return mapped(data, weights, arrays)


def together(totals: PyTree) -> PyTree:
    """Compensated sums over all processes, in the same order on each."""
    if jax.process_count() == 1:
        return totals
    every = multihost_utils.process_allgather(totals)
    parts = [take(every, i) for i in range(jax.process_count())]
    return jax.tree.map(jnp.asarray, functools.reduce(merged, parts))


def everyone(rows: PyTree, wanted: int) -> PyTree:
    """A sample made of every process's own, the same on each; processes must give as many rows."""
    if jax.process_count() == 1:
        return rows
    share = wanted // jax.process_count()
    have = num_rows(rows)
    least = int(np.min(multihost_utils.process_allgather(np.asarray(have))))
    index = np.round(np.linspace(0, have - 1, min(share, least))).astype(int)
    every = multihost_utils.process_allgather(take(in_numpy(rows), index))
    return jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:]), every)


def _mesh(mesh: Mesh | None, axis: str) -> Mesh:
    """The mesh with axes left to the compiler; None for one axis of all devices."""
    mesh = jax.make_mesh((jax.device_count(),), (axis,)) if mesh is None else mesh
    return Mesh(mesh.devices, mesh.axis_names)


@takes("place the rows before.", data=rows)
def shard_rows(data: PyTree, mesh: Mesh | None = None) -> tuple[PyTree, jax.Array]:
    """Spread rows over all devices, the last row repeated at weight 0 until they divide evenly.

    Args:
        data: events stacked along a leading axis.
        mesh: over all of whose axes rows are spread; None for one axis of all devices.

    Returns:
        The data and the case weights to give to `jm.fit`.

    Example:
        >>> import jaxmix as jm, numpy as np
        >>> data, weights = jm.em.shard_rows(np.zeros((5, 2), np.float32))
        >>> float(weights.sum())
        5.0
    """
    mesh = _mesh(mesh, "rows")
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    rows = num_rows(data)
    extra = -rows % mesh.size
    pad = lambda a: jnp.concatenate([a, jnp.repeat(a[-1:], extra, 0)]) if extra else a
    weights = (jnp.arange(rows + extra) < rows).astype(float)
    put = lambda a: jax.device_put(a, sharding)
    return jax.tree.map(lambda a: put(pad(a)), data), put(weights)


@on_host("place the components before.")
def shard_components(model: PyTree, mesh: Mesh | None = None) -> PyTree:
    """Spread the stacks of a model over all devices: for so many components that they are the load.

    Each device keeps its own components' parameters and statistics; the compiler sums over devices
    what a row adds up over components. A pass sends two numbers a row (the largest term and the
    sum of a logsumexp) and the mixture's weights, whatever the dimension. Rows lie whole on every
    device: give them to `jm.fit` or `em.run` as they are.

    Args:
        model: the start, whose stacked densities have a multiple of the devices in number.
        mesh: over all of whose axes stacks are spread; None for one axis of all devices.

    Raises:
        ValueError: if a stack does not divide evenly, or none is there to spread.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.arange(8.0), jnp.ones(8))
        >>> start = jm.em.shard_components(jm.MixtureSameFamily(jnp.full(8, 1 / 8), parts))
        >>> start.components.mean.shape
        (8,)
    """
    mesh = _mesh(mesh, "components")
    spread, whole = PartitionSpec(mesh.axis_names), PartitionSpec()
    is_leaf = lambda node: isinstance(node, Refittable)
    count = 0

    def put(node):
        nonlocal count
        stacked = is_leaf(node) and node.stack_shape
        if stacked and node.stack_shape[0] % mesh.size:
            raise ValueError(
                f"A stack of {node.stack_shape[0]} densities ({type(node).__name__}) does not divide "
                f"evenly over {mesh.size} devices."
            )
        count += bool(stacked)
        axes = stack_axes(node) if is_leaf(node) else jax.tree.map(lambda _: 0, node)

        def place(own, array):
            sharding = NamedSharding(mesh, spread if own else whole)  # what a stack shares is whole
            return jax.device_put(array, sharding) if eqx.is_array(array) else array

        return jax.tree.map(place, axes, node)

    model = jax.tree.map(put, model, is_leaf=is_leaf)
    if not count:
        raise ValueError(f"{type(model).__name__} has no stack of densities to spread.")
    return model
