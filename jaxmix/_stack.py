"""Mapping over a stack of densities, some parts of which are one for the whole stack."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ._density import is_density


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


def has_shared(node: Any) -> bool:
    return is_density(node) and callable(getattr(node, "hold_shared", None))


def lent(components: PyTree) -> PyTree:
    """A tied stack itself, to whoever maps over it: only stacks around it leave it whole."""
    return getattr(components, "lent", components)


def over_stack(function: Callable, components: PyTree, *mapped: PyTree) -> PyTree:
    """`vmap` of `function(component, *slices)` over the leading axis of a stack of components."""
    held = jax.tree.map(
        lambda node: node.hold_shared() if has_shared(node) else node,
        lent(components),
        is_leaf=has_shared,
    )
    return jax.vmap(function)(held, *mapped)


def rows_log_prob(density: Any, rows: PyTree) -> Any:
    """`vmap(density.log_prob)(rows)`, by the density's own `rows_log_prob` where it has one.

    Under `vmap` every intermediate array has the rows first, and a small stack last, where no
    loop is long. A density of items writes out how its rows come last. `over_stack` around it
    puts the stack first.
    """
    own = getattr(density, "rows_log_prob", None)
    return own(rows) if callable(own) else jax.vmap(density.log_prob)(rows)


def as_one_row(event: PyTree) -> PyTree:
    """An event as a batch of one."""
    return jax.tree.map(lambda array: array[None], event)


def pick(components: PyTree, index) -> PyTree:
    """One density of a stack."""
    held = jax.tree.map(
        lambda node: node.hold_shared() if has_shared(node) else node,
        lent(components),
        is_leaf=has_shared,
    )
    taken = jax.tree.map(lambda array: array[index], held)
    return jax.tree.map(
        lambda node: node.let_go() if has_shared(node) else node, taken, is_leaf=has_shared
    )


def repeat(template: PyTree, size: int) -> PyTree:
    """A stack of `size` copies of a density."""

    def copies(node):
        if has_shared(node):
            return node.repeat(size)
        return jax.numpy.broadcast_to(node, (size, *node.shape))

    return jax.tree.map(copies, template, is_leaf=has_shared)


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
