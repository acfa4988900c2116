"""Families some of whose parameters are held or shared: evaluated as they are, refitted otherwise."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._density import LogDensity
from .._newton import newton_maximum
from .._refittable import Refittable
from .._trees import spread
from ..families._entrances import of_field


class Forwarding(LogDensity):
    """The base of what evaluates as another density does, and offers all that it offers."""

    log_prob, sample, cdf, log_cdf = (
        of_field("forwarded", name) for name in ("log_prob", "sample", "cdf", "log_cdf")
    )

    @property
    @abc.abstractmethod
    def forwarded(self) -> Any:
        """The density that is asked."""

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.forwarded, "reparametrised", False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        return getattr(self.forwarded, name)


SCALES = ("log_scale", "factor")
STORED = {"variance": "log_scale", "covariance": "factor", "precision": "factor"}


class Constrained(Forwarding, Refittable):
    """The base of what wraps a family to constrain its M-step; all else is the family's own."""

    part: eqx.AbstractVar[Any]
    ascends, zero_is_valid = of_field("part", "ascends"), of_field("part", "zero_is_valid")
    reparametrised = of_field("part", "reparametrised")
    stack_shape = of_field("part", "stack_shape")
    num_shared_parameters = of_field("part", "num_shared_parameters")
    origin, stats, pair, zero_stats, floor, recentre, on_boundary, expected_log_prob = (
        of_field("evaluated", name)
        for name in (
            "origin", "stats", "pair", "zero_stats", "floor", "recentre", "on_boundary",
            "expected_log_prob",
        )
    )  # fmt: skip

    @property
    @abc.abstractmethod
    def evaluated(self) -> Any:
        """The family's density (or stack) of these parameters."""

    forwarded = property(lambda self: self.evaluated)

    def limits(self, stats=None):
        found = self.evaluated.limits(stats)
        return {name: ran for name, ran in found.items() if name not in self.frozen_fields}

    @property
    @abc.abstractmethod
    def frozen_fields(self) -> tuple[str, ...]:
        """Fields that no fit moves."""

    def __getattr__(self, name: str) -> Any:
        if name == "check_rows" and "coefficients" in self.frozen_fields:
            raise AttributeError(name)  # no rows need determine them
        return super().__getattr__(name)


def fields_of(part: Any, names: Sequence[str]) -> list[Array]:
    return [getattr(part, name) for name in names]


def with_fields(part: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """A density with these arrays as its fields of these names."""
    if not names:
        return part
    none = lambda node: node is None
    return eqx.tree_at(lambda m: fields_of(m, names), part, list(values), is_leaf=none)


def still(part: Any, names: Sequence[str]) -> list[Any]:
    """These fields, without a gradient; shapes of arrays stay what they are."""
    stop = lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a
    return list(map(stop, fields_of(part, names)))


def climbed(value: Callable[[Any, Any], Array], free: Any, given: Any) -> Any:
    """The maximum over arrays `free` of `value(free, given)`, by Newton steps from these."""
    start, unravel = ravel_pytree(free)
    return unravel(newton_maximum(lambda flat, g: value(unravel(flat), g), start, given))


def per_event(stats: Any, count: Array) -> Any:
    return jax.tree.map(lambda a: a / count, stats)


def stored_names(part: Any, asked: Sequence[str], verb: str) -> tuple[str, ...]:
    """The stored fields of a family for names of its parameters, or a sentence."""
    kind, ranks = type(part).__name__, getattr(part, "ranks", {})
    stored = tuple(
        name if name in ranks else f"log_{name}" if f"log_{name}" in ranks else STORED.get(name, "")
        for name in asked
    )
    for name, field in zip(asked, stored, strict=True):
        if field not in ranks:
            known = ", ".join(name.removeprefix("log_") for name in ranks)
            raise ValueError(f"{kind} has no parameter {name!r} to {verb}; it has {known}.")
    return stored


def where_counted(count: Array, tree: Any) -> Any:
    """Statistics of the densities that have any data, 0 of the others."""

    def one(a):
        used = spread(count > 0, a.ndim)
        return jnp.where(used, a, jnp.zeros_like(a))

    return jax.tree.map(one, tree)
