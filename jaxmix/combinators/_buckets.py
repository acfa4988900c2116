"""Length buckets: rows of like lengths share a capacity, so that little of a pass is padding."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._trees import in_numpy, take
from ._lengths import SequenceEvent

LIMIT = 1.75  # padded items over items, which buckets stay under
# Padding that a pass may well compute: a bucket more is a compilation more.
WORTHWHILE = 1 << 22


class Buckets(NamedTuple):
    """Events in groups, each padded to its own longest, and the case weights of each group.

    Statistics are additive: a pass over the whole is the sum of one over each group.
    """

    parts: tuple[PyTree, ...]
    weights: tuple[Array | None, ...]


def bucketed(data: PyTree, weights: Array | None, width: int) -> tuple[PyTree, Array | None]:
    """Data and weights to make passes over: grouped by length where padding costs enough.

    Args:
        data: events, stacked along a leading axis, concrete and on one device.
        weights: case weights (rows,).
        width: densities that each item is put under.

    Returns:
        `Buckets` and None, or what was given.
    """
    sequences = [leaf for leaf in jax.tree.leaves(data, is_leaf=_is_sequence) if _is_sequence(leaf)]
    if not sequences:
        return data, weights
    capacities = np.array([jax.tree.leaves(s.items)[0].shape[1] for s in sequences])
    # An empty sequence keeps room for one item; the length of a missing one means nothing.
    used = np.stack(
        [np.clip(s.length, 1, max(c, 1)) for s, c in zip(sequences, capacities, strict=True)], 1
    )
    of_one = lambda s: sum(int(np.prod(a.shape[2:])) for a in jax.tree.leaves(s.items))
    sizes = np.array([of_one(s) for s in sequences])  # numbers that an item holds
    padding = float(((capacities - used) @ sizes).sum())
    if capacities.min() == 0 or padding * width < WORTHWHILE:
        return data, weights
    groups = grouped(used, sizes)
    cut = lambda rows: jax.tree.map(jnp.asarray, _trimmed(take(in_numpy(data), rows), 1))
    parts = [cut(rows) for rows in groups]
    split = [None if weights is None else jnp.asarray(np.asarray(weights)[rows]) for rows in groups]
    return Buckets(tuple(parts), tuple(split)), None


def grouped(lengths: np.ndarray, sizes: np.ndarray, limit: float = LIMIT) -> list[np.ndarray]:
    """Few groups of rows in which padding to the longest costs at most `limit` times the items.

    Rows whose lengths share their powers of two stay within 2 times; from these groups, pairs
    are joined, the cheapest first, for as long as the whole stays below the limit.

    Args:
        lengths: (rows, fields), each at least 1.
        sizes: numbers that an item of each field holds.
        limit: at least 1.

    Returns:
        Positions of the rows of each group, in the rows' own order.
    """
    powers = np.ceil(np.log2(lengths)).astype(int)
    _, group = np.unique(powers, axis=0, return_inverse=True)
    group = group.ravel()
    rows = np.bincount(group)
    tops = np.stack([lengths[group == g].max(0) for g in range(len(rows))])
    names = [[g] for g in range(len(rows))]
    cost = lambda rows, tops: rows * (tops @ sizes).astype(float)
    allowed = limit * float((lengths @ sizes).sum())
    while len(rows) > 1:
        joined = np.maximum(tops[:, None], tops[None])
        now = cost(rows, tops)
        extra = cost(rows[:, None] + rows[None], joined) - now[:, None] - now[None]
        np.fill_diagonal(extra, np.inf)
        a, b = sorted(np.unravel_index(np.argmin(extra), extra.shape))
        # Groups still dearer than the limit are split no further: joining must not add to them.
        if now.sum() + extra[a, b] > max(allowed, now.sum()):
            break
        rows[a], tops[a] = rows[a] + rows[b], joined[a, b]
        names[a] = names[a] + names.pop(b)
        rows, tops = np.delete(rows, b), np.delete(tops, b, axis=0)
    return [np.flatnonzero(np.isin(group, name)) for name in names]


def _is_sequence(node: Any) -> bool:
    return isinstance(node, SequenceEvent)


def _trimmed(tree: PyTree, axis: int) -> PyTree:
    """Rows whose sequences (and the sequences inside these) are cut at their longest."""

    def cut(node):
        if not _is_sequence(node):
            return node
        capacity = jax.tree.leaves(node.items)[0].shape[axis]
        longest = int(np.clip(node.length.max(initial=0), 1, max(capacity, 1)))
        keep = (slice(None),) * axis + (slice(longest),)
        items = take(node.items, keep)
        return SequenceEvent(_trimmed(items, axis + 1), node.length)

    return jax.tree.map(cut, tree, is_leaf=_is_sequence)
