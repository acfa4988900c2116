"""Mapping over a stack of densities, some parts of which are one for the whole stack."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ._density import LogDensity
from ._hooks import ByOutcomes, ByRows
from ._numerics import as_array
from ._trees import is_traced


class Held:
    """A value that `vmap` over a stack leaves whole: a pytree node without children.

    Made inside a traced function and used there; it never crosses a `jit` boundary, since two
    of them are equal only if they are one object.
    """

    def __init__(self, value: PyTree):
        self.value = value


jax.tree_util.register_pytree_node(Held, lambda held: ((), held), lambda held, _: held)


def release(value: Any) -> Any:
    """The value itself, held or not."""
    return value.value if isinstance(value, Held) else value


def release_all(tree: PyTree) -> PyTree:
    """A tree of values, held or not."""
    return jax.tree.map(release, tree, is_leaf=lambda node: isinstance(node, Held))


def stack_axes(density: PyTree) -> PyTree:
    """How many axes of the stack each array of a density has, as its families declare.

    A `shared` field lacks the last; an array of which nothing is declared has them all.
    """

    def below(node, depth):
        if not isinstance(node, LogDensity):
            deeper = lambda n: below(n, depth) if isinstance(n, LogDensity) else depth
            return jax.tree.map(deeper, node, is_leaf=lambda n: isinstance(n, LogDensity))
        children, structure = jax.tree_util.tree_flatten_with_path(
            node, is_leaf=lambda n: n is not node
        )

        def axes(path, child):
            rank = node.ranks.get(path[0].name)
            if child is None:  # a field that is kept elsewhere
                return None
            return below(child, depth) if rank is None else child.ndim - rank

        return structure.unflatten([axes(path, child) for path, child in children])

    return below(density, len(density.stack_shape))


def has_shared(node: Any) -> bool:
    return isinstance(node, LogDensity) and bool(node.shared)


def _by_stack(function: Callable, components: PyTree) -> PyTree:
    """A function of each array, and of whether it has the outermost axis of the stack."""

    def of_node(node):
        if not has_shared(node):
            return function(node, True)
        return jax.tree.map(lambda own, array: function(array, own > 0), stack_axes(node), node)

    return jax.tree.map(of_node, components, is_leaf=has_shared)


def lent(components: PyTree) -> PyTree:
    """A tied stack itself, to whoever maps over it: only stacks around it leave it whole."""
    return getattr(components, "lent", components)


def over_stack(function: Callable, components: PyTree, *mapped: PyTree) -> PyTree:
    """`vmap` of `function(component, *slices)` over the leading axis of a stack of components."""
    components = lent(components)
    axes = _by_stack(lambda _, has_axis: 0 if has_axis else None, components)
    return jax.vmap(function, in_axes=(axes, *(0 for _ in mapped)))(components, *mapped)


def rows_log_prob(density: Any, rows: PyTree) -> Any:
    """`vmap(density.log_prob)(rows)`, by the density's own `rows_log_prob` where it has one.

    Under `vmap` every intermediate array has the rows first, and a small stack last, where no
    loop is long. A density of items writes out how its rows come last. `over_stack` around it
    puts the stack first.
    """
    if isinstance(density, ByRows):
        return density.rows_log_prob(rows)
    many = jax.tree.leaves(rows)  # of nothing, its own sentence
    return jax.vmap(density.log_prob)(rows) if many else density.log_prob(rows)


def rows_total(values: Array, used: Array) -> Array:
    """Sums over each row's used items: (..., t * rows) to (..., rows)."""
    values = values.reshape(*values.shape[:-1], *used.shape)
    there = jnp.broadcast_to(used, values.shape)
    return jnp.sum(jnp.where(there, values, jnp.zeros_like(values)), -2)


def outcome_log_probs(density: Any, size: int) -> Array:
    """Log-probabilities of 0, ..., size - 1, by the density's own `outcome_log_probs` if it has one.

    One by one they would be a gradient of one-hot rows, `size` squared numbers.
    """
    if isinstance(density, ByOutcomes):
        return density.outcome_log_probs(size)
    return jax.vmap(density.log_prob)(jax.numpy.arange(size))


def as_one_row(event: PyTree) -> PyTree:
    """An event as a batch of one."""
    return jax.tree.map(lambda array: as_array(array)[None], event)


def pick(components: PyTree, index) -> PyTree:
    """One density of a stack, or several; on the host, where both stack and index are."""
    on_host = isinstance(index, np.ndarray | slice)
    here = lambda a: a if on_host and isinstance(a, np.ndarray) else jax.numpy.asarray(a)
    return _by_stack(lambda a, own: here(a)[index] if own else a, lent(components))


def repeat(template: PyTree, size: int) -> PyTree:
    """A stack of `size` copies of a density: what a lone one would share, it has once."""

    def of_node(node):
        shared = node.shared if has_shared(node) and not node.stack_shape else ()

        def copies(path, array):
            once = bool(path) and path[0].name in shared
            if once:
                return array
            if is_traced(array):
                return jax.numpy.broadcast_to(array, (size, *array.shape))
            # On the host: another size compiles nothing.
            return jax.device_put(np.broadcast_to(np.asarray(array), (size, *array.shape)))

        return jax.tree_util.tree_map_with_path(copies, node)

    return jax.tree.map(of_node, template, is_leaf=has_shared)


class Function(eqx.Module):
    """A function inside a model, such as a network's activation, as a node without leaves."""

    call: Callable = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


def of_arrays(model: PyTree) -> PyTree:
    """The model as a pytree of arrays alone, as `jit`, `vmap` and loops want it."""
    return jax.tree.map(
        lambda leaf: Function(leaf) if callable(leaf) and not eqx.is_array(leaf) else leaf, model
    )
