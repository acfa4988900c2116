"""The product form of a pass: a stack's log-densities of a chunk as one matrix product.

About one origin a stack of normal densities is affine in a feature vector f(x - origin). With F
the features of a chunk (features, rows), its log-densities are `head + W F`. Their derivative in
the log-likelihood is the responsibilities R (rows, densities), and `F R` the statistics.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._density import LogDensity
from .._exponential import ProductForm, Refittable
from .._numerics import unanimous
from .._product_form import (
    by_density,
    common_origin,
    far_log_probs,
    far_stats,
    feature_sums,
    features,
    in_one_axis,
    is_far,
    log_probs,
    sorted_by,
    zero_sums,
)
from .._stack import Held
from .._stand_ins import Known, StandIn, Tilted, TiltedProduct


class Asked(StandIn):
    """A leaf that notes the events it is asked about."""

    leaf: Any
    events: Any

    def log_prob(self, x):
        self.events.value.append(x)
        return self.leaf.log_prob(x)


def fields_asked(
    leaves: list[Refittable], rebuild: Callable[[list[Any]], PyTree], row: PyTree
) -> list[int | None]:
    """For each leaf the place, among a row's arrays, of the one event it is asked about.

    None for a leaf that is asked about several, or about what the model makes of a row (an item
    of a sequence, say): its log-densities cannot be had before the model is evaluated.
    """
    found: list[int | None] = []

    def trace(row):
        asked = [Asked(leaf, Held([])) for leaf in leaves]
        value = rebuild(asked).log_prob(row)
        arrays = jax.tree.leaves(row)
        for events in (leaf.events.value for leaf in asked):
            places = [i for i, a in enumerate(arrays) if events and all(e is a for e in events)]
            found.append(places[0] if places else None)
        return value

    jax.eval_shape(trace, row)
    return found


class OwnOrigin:
    """A leaf evaluated within the model about its own origin: right whatever the spread.

    The three ways to evaluate a leaf in a pass share this interface. `features` and `log_probs`
    are of a whole chunk, before the model is evaluated; `part` is what stands for the leaf in
    the model, and `sums` what one chunk adds to its statistics, from the derivatives of the
    log-likelihood in the tilt and in the log-densities.
    """

    def __init__(self, leaf: Any):
        self.leaf = leaf

    def zero_tilt(self) -> Any:
        return self.leaf.zero_stats()

    def zero_sums(self) -> Any:
        return self.zero_tilt()

    def features(self, chunk: PyTree) -> Any:
        del chunk
        return ()

    def log_probs(self, features: Any) -> Any:
        return features

    def part(self, tilt: Any, log_probs: Any) -> LogDensity:
        del log_probs
        return Tilted(self.leaf, tilt, self.leaf.origin)

    def sums(self, tilt_slope: Any, responsibilities: Any, features: Any) -> Any:
        del responsibilities, features
        return tilt_slope

    def stats(self, sums: Any) -> Any:
        """The leaf's statistics about its own origin."""
        return sums


class CommonOrigin(OwnOrigin):
    """A stack in product form, all of it near one origin, evaluated within the model."""

    def __init__(self, leaf: ProductForm):
        super().__init__(leaf)
        self.origin = common_origin(leaf)
        self.natural = leaf.product_natural(self._wide_origin)
        self.far = is_far(leaf, self.origin)

    @property
    def _wide_origin(self):
        return jnp.broadcast_to(self.origin, self.leaf.origin.shape)

    def zero_tilt(self):
        return jax.tree.map(jnp.zeros_like, self.natural)

    def part(self, tilt, log_probs):
        return TiltedProduct(self.leaf, self.natural, tilt, Held(self.origin))

    def stats(self, sums):
        stats = self.leaf.from_features(*sums)
        return self.leaf.recentre(stats, self._wide_origin, self.leaf.origin)


class Beforehand(CommonOrigin):
    """A stack in product form whose event is one array of a row: a chunk is a matrix product."""

    def __init__(self, leaf: ProductForm, field: int):
        super().__init__(leaf)
        self.field = field

    def zero_tilt(self):
        return ()

    def zero_sums(self):
        head, weights = self.natural
        return jnp.zeros_like(head), zero_sums(self.leaf, weights)

    def features(self, chunk):
        return features(self.leaf, jax.tree.leaves(chunk)[self.field], self.origin)

    def log_probs(self, features):
        return log_probs(self.leaf, self.natural, features)

    def part(self, tilt, log_probs):
        return Known(self.leaf, log_probs)

    def sums(self, tilt_slope, responsibilities, features):
        return jnp.sum(responsibilities, 0), feature_sums(self.leaf, features, responsibilities)

    def stats(self, sums):
        count, sums = sums
        return super().stats((count, by_density(self.leaf, sums)))


class FarApart(Beforehand):
    """The same of a stack some of which are far from its origin: these about their own."""

    def __init__(self, leaf: ProductForm, field: int):
        super().__init__(leaf, field)
        self.stack, self.blocks = in_one_axis(leaf), sorted_by(self.far)

    def zero_sums(self):
        return super().zero_sums(), self.stack.zero_stats()

    def features(self, chunk):
        return super().features(chunk), jax.tree.leaves(chunk)[self.field]

    def log_probs(self, features):
        features, events = features
        near = super().log_probs(features)
        flat = near.reshape(near.shape[0], -1).T
        return far_log_probs(self.blocks, flat, self.stack, events).T.reshape(near.shape)

    def sums(self, tilt_slope, responsibilities, features):
        features, events = features
        flat = responsibilities.reshape(responsibilities.shape[0], -1).T
        own = far_stats(self.blocks, flat, self.stack, events)
        return super().sums(tilt_slope, responsibilities, features), own

    def stats(self, sums):
        near, own = sums

        def chosen(own, near):
            far = self.far.reshape(self.far.shape + (1,) * (near.ndim - self.far.ndim))
            return jnp.where(far, own.reshape(near.shape), near)

        return jax.tree.map(chosen, own, super().stats(near))


def near_one_origin(leaves: list[Refittable], fields: list[int | None]) -> list[OwnOrigin]:
    """The fastest ways: stacks of product form about one origin each, beforehand where it can be."""
    return _ways(leaves, fields, CommonOrigin, Beforehand)


def far_apart(leaves: list[Refittable], fields: list[int | None]) -> list[OwnOrigin]:
    """Ways that are right whatever the spread, and slower by the number of the far."""
    return _ways(leaves, fields, OwnOrigin, FarApart)


def _ways(leaves, fields, within, beforehand):
    return [
        OwnOrigin(leaf)
        if not (isinstance(leaf, ProductForm) and leaf.stack_shape)
        else within(leaf)
        if field is None
        else beforehand(leaf, field)
        for leaf, field in zip(leaves, fields, strict=True)
    ]


def all_near(ways: list[OwnOrigin]) -> Array:
    """Whether every stack is near its one origin, and in every lane."""
    far = [jnp.any(way.far) for way in ways if isinstance(way, CommonOrigin)]
    return unanimous(~jnp.any(jnp.stack(far)))
