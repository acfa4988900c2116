"""Shapes in buckets: rows at weight 0, components at probability 0, and lanes that are spare."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from ..._compile import Quick
from ..._stack import pick
from ..._trees import float_of, in_numpy, num_rows
from ...combinators import MixtureSameFamily, SequenceEvent
from ...families.categorical import Categorical
from ..chunks import is_brief

FEW_ROWS = 256
MANY_ROWS = 16_384  # from here a compilation is cheap beside the work, and a padded copy is not


def bucket(count: int, least: int = 32, few: int = FEW_ROWS) -> int:
    """The next of 1, 1.25, 1.5, 1.75, 2 times a power of two; of a few, a power of two."""
    power = 1 << (max(count, least).bit_length() - 1)
    steps = (4, 8) if count <= few else (4, 5, 6, 7, 8)
    return next(power * q // 4 for q in steps if max(count, least) <= power * q // 4)


def bucket_of_components(count: int) -> int:
    """1, 2, 4, 8, and from there multiples of 4."""
    return 1 << (count - 1).bit_length() if count <= 4 else -(-count // 4) * 4


def bucket_of_items(count: int) -> int:
    """8, or the next of 1, 1.25, 1.5, 1.75, 2 times a power of two: at most a quarter too many."""
    return bucket(count, 8, 0)


def can_widen(template: PyTree) -> bool:
    """Whether components can be added to a mixture: a stack, under weights that are refitted."""
    return (
        isinstance(template, MixtureSameFamily)
        and isinstance(template.mixing, Categorical)
        and template.mixing.labels is None
        and template.mixing.logits.ndim == 1
    )


def resized(model: MixtureSameFamily, size: int) -> MixtureSameFamily:
    """The first `size` components of a mixture, or room for so many: new ones at probability 0."""
    old = model.mixing.size
    if size == old:
        return model
    index = np.minimum(np.arange(size), old - 1)
    logits = np.asarray(model.mixing.logits)[index]
    if size > old:
        logits[old:] = -np.inf
    parts = (logits, pick(model.components, index))
    return eqx.tree_at(lambda m: (m.mixing.logits, m.components), model, parts)


def padded_rows(
    data: PyTree, weights: Any, dtype: Any, least: int = 32
) -> tuple[PyTree, np.ndarray]:
    """Rows up to a bucket, the last one repeated at weight 0; many rows as they are."""
    rows = num_rows(data)
    extra = bucket(rows, least) - rows if rows < MANY_ROWS else 0
    pad = lambda a: np.concatenate([a, np.broadcast_to(a[-1:], (extra, *a.shape[1:]))])
    case = np.zeros(rows + extra, dtype)
    case[:rows] = 1 if weights is None else np.asarray(weights)
    return jax.tree.map(lambda a: pad(np.asarray(a)) if extra else np.asarray(a), data), case


def with_room(data: PyTree, axis: int = 1) -> PyTree:
    """Rows whose sequences have room for a bucket of items, the last place repeated."""
    is_sequence = lambda node: isinstance(node, SequenceEvent)

    def one(node):
        if not is_sequence(node):
            return node
        items = in_numpy(with_room(node.items, axis + 1))
        size = jax.tree.leaves(items)[0].shape[axis]
        wide = [(0, 0)] * axis + [(0, bucket_of_items(size) - size)]
        pad = lambda a: np.pad(a, [*wide, *[(0, 0)] * (a.ndim - len(wide))], mode="edge")
        return SequenceEvent(jax.tree.map(pad, items), node.length)

    return jax.tree.map(one, data, is_leaf=is_sequence)


def alike(templates: list[PyTree]) -> list[list[int]]:
    """Positions of the models that one launch can fit: those that differ in components alone."""
    found: dict[Any, list[int]] = {}
    for i, template in enumerate(templates):
        kind: Any = i
        if can_widen(template):
            one = resized(in_numpy(template), 1)
            leaves, structure = jax.tree.flatten(one)
            kind = (structure, *(getattr(a, "shape", a) for a in leaves))
        found.setdefault(kind, []).append(i)
    return list(found.values())


def rows_under(
    model: PyTree, data: PyTree, method: str = "log_prob", least: int = 32
) -> np.ndarray:
    """What a method says of each row: numbers, or one for each component; by bucketed shapes."""
    model, rows, size = in_numpy(model), num_rows(data), getattr(model, "num_components", 1)
    if can_widen(model):
        model = resized(model, bucket_of_components(model.mixing.size))
    padded, _ = padded_rows(with_room(in_numpy(data)), None, float_of(model), least)
    found = np.asarray(_each_row(model, padded, method))[:rows]
    return found if found.ndim == 1 else found[:, :size]


_each_row = Quick(
    lambda model, data, method: jax.lax.map(getattr(model, method), data, batch_size=4096),
    lambda model, data, method: is_brief(model, data),
)
