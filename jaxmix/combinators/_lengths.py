"""What densities of sequences share: events with a length, and lengths that fit a capacity."""

import abc
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from .. import _loops
from .._density import LogDensity, check_kind, is_density, refused_shape
from .._numerics import as_array
from .._stack import as_one_row, pick
from .optional import masked


class SequenceEvent(NamedTuple):
    """Items stacked along a first axis of fixed capacity, of which the first `length` count."""

    items: PyTree
    length: Int[Array, ""]


def one_sequence(owner: PyTree, x: SequenceEvent) -> SequenceEvent:
    """One event as a batch of one, or a sentence."""
    check_sequence(owner, x)
    return as_one_row(x)


def check_sequence(owner: PyTree, x: SequenceEvent) -> None:
    """Refuse what is no sequence, or a batch of them: shapes are static, so it is free."""
    is_one = hasattr(x, "length") and hasattr(x, "items") and not callable(x.items)
    check_kind(owner, is_one, "a jm.SequenceEvent(items, length)", x)
    length, items = as_array(x.length), [as_array(a) for a in jax.tree.leaves(x.items)]
    if length.shape != ():
        expected = "() of its length, and its items one leading axis"
        raise ValueError(refused_shape(owner, expected, length.shape))
    if not jnp.issubdtype(length.dtype, jnp.integer):
        raise TypeError(f"The length of a sequence is a whole number; it was of {length.dtype}.")
    if len({a.shape[:1] for a in items} - {()}) != 1 or () in [a.shape for a in items]:
        raise ValueError(
            f"The items of a sequence lie along the first axis of every array; the shapes were "
            f"{[a.shape for a in items]}."
        )


def capacity_of(items: PyTree) -> int:
    """For how many items there is room in one sequence."""
    return jax.tree.leaves(items)[0].shape[0]


def as_sequence(owner: PyTree, x: PyTree) -> SequenceEvent:
    """A sequence as it is; items by themselves are one of all of them."""
    if not hasattr(x, "length"):
        lengths = {jnp.shape(a)[:1] for a in jax.tree.leaves(x)}
        if len(lengths) == 1 and lengths != {()}:
            ((size,),) = lengths
            return SequenceEvent(jax.tree.map(jnp.asarray, x), jnp.asarray(size))
    check_sequence(owner, x)
    return x


def flat_items(rows: SequenceEvent) -> tuple[PyTree, Array]:
    """The items of many sequences as one batch, unused ones 0; and which are used (t, rows).

    The first items of all rows come first, then the second: sums over a row's items then run
    along whole batches.
    """
    items, n = rows
    size, capacity = jax.tree.leaves(items)[0].shape[:2]
    used = jnp.arange(capacity)[:, None] < n[None]
    turned = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), items)
    flat = lambda a: a.reshape(size * capacity, *a.shape[2:])
    return jax.tree.map(flat, masked(used, turned)), used


def used_items(rows: PyTree, items: PyTree, start: int = 0) -> PyTree:
    """The used items of many sequences one after another, arrays of NumPy; from item `start` on."""
    capacity = jax.tree.leaves(items)[0].shape[1]
    size = np.asarray(rows.length if hasattr(rows, "length") else [capacity])
    at = np.arange(capacity)
    used = (at < size[:, None]) & (at >= start)
    return jax.tree.map(lambda a: a[np.broadcast_to(used, a.shape[:2])], items)


class OfLength(LogDensity):
    """A density of sequences, whose length may have a density of its own, up to a capacity."""

    length: eqx.AbstractVar[PyTree]
    max_length: eqx.AbstractVar[int | None]

    def __check_init__(self) -> None:
        if self.length is not None and not is_density(self.length):
            raise ValueError(
                f"The length of {type(self).__name__} must be a density of a count, such as "
                f"jm.Poisson(8.0), or None; it is a {type(self.length).__name__}."
            )

    def _with_length(self, total: Array, n: Int[Array, "*rows"], capacity: int) -> Array:
        """Log-densities of items, and of their number (0 without a density).

        Those that no event can have are -inf.
        """

        def one(n):
            value = jnp.zeros(()) if self.length is None else self.length.log_prob(n)
            return jnp.where((n >= 0) & (n <= capacity), value, jnp.full_like(value, -jnp.inf))

        length = (jax.vmap(one) if n.ndim else one)(n).astype(total.dtype)
        return total + jnp.broadcast_to(length, total.shape)

    @abc.abstractmethod
    def _draw(self, key: Key[Array, ""], size: int) -> PyTree:
        """So many items."""

    def sample(self, key: Key[Array, ""]) -> SequenceEvent:
        """As many items as fit the capacity: so many without a density of the length."""
        k_length, k_items = jax.random.split(key)
        size, name = self.max_length, type(self).__name__
        if size is None:
            raise ValueError(f"To draw from a {name}, give it `max_length`: shapes are static.")
        if self.length is None:
            n = jnp.asarray(size)
        else:
            fits = jax.vmap(self.length.log_prob)(jnp.arange(size + 1))
            n = jax.random.categorical(k_length, fits)
        return SequenceEvent(masked(jnp.arange(size) < n, self._draw(k_items, size)), n)


def walk(laws: PyTree, row: Array, key: Key[Array, ""], steps: int) -> Array:
    """The states that follow a row (the states before, as one number), each by the law of its row."""
    kind, (rows,) = jax.random.key_impl(key), laws.stack_shape

    def step(row, data):
        # Keys travel through `scan` as data: the checker of key reuse misreads a mapped scan.
        new = pick(laws, row).sample(jax.random.wrap_key_data(data, impl=kind)).astype(row.dtype)
        return (row * laws.size + new) % rows, new

    data = jax.random.key_data(jax.random.split(key, max(1, steps)))
    return _loops.scan(step, row, data)[1][:steps]


def stack_around(parts: Sequence[PyTree], stacks: Sequence[PyTree]) -> tuple[int, ...]:
    """The stack of a density from its parts', and its stacks' own; a tied part has none."""
    stack = lambda part: getattr(part, "stack_shape", ())
    return max([*map(stack, parts), *(stack(part)[:-1] for part in stacks)], key=len)
