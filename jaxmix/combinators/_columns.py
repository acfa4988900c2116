"""A table's like columns as one stack, so that a program does not grow with the columns.

A record of a hundred normal columns is a hundred leaves: each is traced, compiled and refitted by
itself. Columns of one family and one kind of event are the same computation on other numbers, so
a fit evaluates them as one density stacked over them, and gives back the record it was given.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Scalar

from .._density import LogDensity
from .._refittable import Refittable
from .._stack import has_shared, over_stack
from .._trees import is_traced, take
from .composite import Composite
from .mixture import MixtureSameFamily
from .optional import Optional

MANY = 8  # like columns from which a stack of them is worth its own path


class ColumnsEvent(eqx.Module):
    """Events of a `Columns`: those of each group stacked, and those of the other fields.

    `names` are the fields' own, by group; `is_dict` is whether the record was a dict.
    """

    groups: tuple[PyTree, ...]
    others: PyTree
    names: tuple = eqx.field(static=True)
    is_dict: bool = eqx.field(static=True)

    def record(self) -> PyTree:
        """The rows of the record that these are."""
        found = dict(self.others)
        for names, group in zip(self.names, self.groups, strict=True):
            for i, name in enumerate(names):
                found[name] = take(group, (slice(None), i))
        return found if self.is_dict else tuple(found[i] for i in range(len(found)))


class Columns(LogDensity):
    """Density of a record whose like fields are stacks, in nats."""

    groups: tuple[PyTree, ...]
    others: dict[Any, PyTree]
    stack_shape = property(lambda self: self.groups[0].stack_shape[:-1])

    def log_prob(self, x: ColumnsEvent) -> Scalar:
        of_one = lambda part, event: part.log_prob(event)
        terms = [
            jnp.sum(over_stack(of_one, group, events))
            for group, events in zip(self.groups, x.groups, strict=True)
        ]
        terms += [part.log_prob(x.others[name]) for name, part in self.others.items()]
        return sum(terms[1:], terms[0])


class Fold(NamedTuple):
    """Which fields of a record are alike: their names, group by group; every one else's name.

    Without groups all is as it was.
    """

    groups: tuple[tuple, ...] = ()
    others: tuple = ()
    is_dict: bool = False

    def _stacked(self, fields: Any, axis: int) -> tuple[tuple, dict]:
        """What each group's fields hold, stacked by way of the host, and the other fields."""
        stack = lambda *arrays: jax.device_put(np.stack([np.asarray(a) for a in arrays], axis))
        groups = tuple(jax.tree.map(stack, *(fields[n] for n in names)) for names in self.groups)
        return groups, {name: fields[name] for name in self.others}

    def data(self, data: PyTree) -> PyTree:
        """Rows of the record, with each group stacked."""
        if not self.groups:
            return data
        return ColumnsEvent(*self._stacked(data, 1), self.groups, self.is_dict)

    def model(self, model: PyTree, other: PyTree = None) -> PyTree:
        """The model, or another of its structure, with like columns stacked as the innermost axis."""
        other = model if other is None else other
        if not self.groups:
            return other
        depth, fields = len(_inner(model).stack_shape), dict(_inner(other).items())
        return _with(other, Columns(*self._stacked(fields, depth)))

    def unfolded(self, model: PyTree, template: PyTree) -> PyTree:
        """The record of a folded model, in the template's own order."""
        if not self.groups:
            return model
        columns, record = _inner(model), _inner(template)
        depth, parts = len(record.stack_shape), dict(columns.others)
        xp: Any = jnp if is_traced(columns) else np  # on the host nothing is compiled
        for names, group in zip(self.groups, columns.groups, strict=True):
            whole = jax.tree.map(lambda a: xp.moveaxis(xp.asarray(a), depth, 0), group)
            for i, name in enumerate(names):
                parts[name] = take(whole, i)
        names = [name for name, _ in record.items()]
        inner = jax.device_put([parts[name] for name in names])
        found = Composite(dict(zip(names, inner, strict=True)) if self.is_dict else inner)
        return _with(model, found)

    def undone(self, found: Any, template: PyTree) -> Any:
        """An outcome whose model is folded, as that of the template's record."""
        return dataclasses.replace(found, model=self.unfolded(found.model, template))


def fold_of(model: PyTree, data: PyTree) -> Fold:
    """The like columns of a record, or of a mixture of records: on the host, of concrete arrays."""
    record = _inner(model)
    arrays = [a for a in jax.tree.leaves((model, data)) if isinstance(a, jax.Array)]
    spread = is_traced(arrays) or any(len(a.devices()) > 1 for a in arrays)
    if spread or not isinstance(record, Composite):
        return Fold()
    alike: dict[Any, list] = {}
    others = []
    for name, part in record.items():
        if not _folds(part):
            others.append(name)
            continue
        leaves, structure = jax.tree.flatten((part, data[name]))
        kind = (structure, *((a.shape, a.dtype) for a in leaves))
        alike.setdefault(kind, []).append(name)
    groups = tuple(tuple(names) for names in alike.values() if len(names) >= MANY)
    others += [name for names in alike.values() if len(names) < MANY for name in names]
    return Fold(groups, tuple(others), isinstance(record.parts, dict))


def _folds(part: Any) -> bool:
    """Whether a stack of such columns is evaluated and refitted as each of them would be."""
    if isinstance(part, Optional):
        return _folds(part.value) and (part.missing is None or _folds(part.missing))
    arrays = jax.tree.leaves(part)
    plain = isinstance(part, Refittable) and not has_shared(part) and bool(part.ranks)
    return plain and all(eqx.is_array(a) for a in arrays)


def _inner(model: PyTree) -> Any:
    return model.components if isinstance(model, MixtureSameFamily) else model


def _with(model: PyTree, record: PyTree) -> PyTree:
    if not isinstance(model, MixtureSameFamily):
        return record
    return eqx.tree_at(
        lambda m: m.components, model, record, is_leaf=lambda n: n is model.components
    )
