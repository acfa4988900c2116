"""The product form of a pass: a stack's log-densities of a chunk as one matrix product.

About one origin a stack of normal densities is affine in a feature vector f(x - origin). With F
the features of a chunk (features, rows), its log-densities are `head + W F`. Their derivative in
the log-likelihood is the responsibilities R (rows, densities), and `F R` the statistics.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _product_form as products
from .._chunkwise import ByChunk, ProductForm
from .._density import LogDensity
from .._hooks import Labelled
from .._numerics import unanimous
from .._refittable import Refittable
from .._stack import Held, rows_log_prob
from .._stand_ins import Known, Tilted, TiltedProduct
from .._trees import spread
from .parts import Parts


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


class WholeChunk(OwnOrigin):
    """A leaf that evaluates a chunk at once, about its own origins: right whatever the spread."""

    def __init__(self, leaf: Any, event: Any):
        super().__init__(leaf)
        self.events = event

    def zero_tilt(self):
        return ()

    def zero_sums(self):
        return self.leaf.zero_stats()

    def features(self, chunk):
        return self.leaf.under(self.events(chunk))

    def log_probs(self, features):
        return self.leaf.log_probs(features)

    def part(self, tilt, log_probs):
        return Known(self.leaf, log_probs)

    def sums(self, tilt_slope, responsibilities, features):
        return self.leaf.weighed_sums(features, responsibilities)


class OwnBeforehand(WholeChunk):
    """The same of a stack in product form, whose event is one array of a row, by its place."""

    def features(self, chunk):
        return self.events(chunk)

    def log_probs(self, features):
        # Densities come before the rows, so that nothing is transposed.
        return jnp.moveaxis(products.own_log_probs(self.leaf, features), -1, 0)

    def sums(self, tilt_slope, responsibilities, features):
        return products.own_stats(self.leaf, features, jnp.moveaxis(responsibilities, 0, -1))


class CommonOrigin(OwnOrigin):
    """A stack in product form, all of it near one origin, evaluated within the model."""

    def __init__(self, leaf: ProductForm):
        super().__init__(leaf)
        self.origin = products.common_origin(leaf)
        self.natural = leaf.product_natural(self._wide_origin)
        self.far = products.is_far(leaf, self.origin)

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

    def __init__(self, leaf: ProductForm, events: Callable):
        super().__init__(leaf)
        self.events = events

    def zero_tilt(self):
        return ()

    def zero_sums(self):
        head, weights = self.natural
        return jnp.zeros_like(head), products.zero_sums(self.leaf, weights)

    def features(self, chunk):
        return self.leaf.chunk_features(self.events(chunk), self.origin)

    def log_probs(self, features):
        return products.log_probs(self.leaf, self.natural, features)

    def part(self, tilt, log_probs):
        return Known(self.leaf, log_probs)

    def sums(self, tilt_slope, responsibilities, features):
        return jnp.sum(responsibilities, 0), products.feature_sums(
            self.leaf, features, responsibilities
        )

    def stats(self, sums):
        count, sums = sums
        return super().stats((count, products.by_density(self.leaf, sums)))


class FarApart(Beforehand):
    """The same of a stack some of which are far from its origin: these about their own."""

    def __init__(self, leaf: ProductForm, events: Callable):
        super().__init__(leaf, events)
        self.stack, self.blocks = products.in_one_axis(leaf), products.sorted_by(self.far)

    def zero_sums(self):
        return super().zero_sums(), self.stack.zero_stats()

    def features(self, chunk):
        return super().features(chunk), self.events(chunk)

    def log_probs(self, features):
        features, events = features
        near = super().log_probs(features)
        flat = near.reshape(near.shape[0], -1).T
        return products.far_log_probs(self.blocks, flat, self.stack, events).T.reshape(near.shape)

    def sums(self, tilt_slope, responsibilities, features):
        features, events = features
        flat = responsibilities.reshape(responsibilities.shape[0], -1).T
        own = products.far_stats(self.blocks, flat, self.stack, events)
        return super().sums(tilt_slope, responsibilities, features), own

    def stats(self, sums):
        near, own = sums

        def chosen(own, near):
            far = spread(self.far, near.ndim)
            return jnp.where(far, own.reshape(near.shape), near)

        return jax.tree.map(chosen, own, super().stats(near))


def has_product_form(leaf: Refittable) -> bool:
    return isinstance(leaf, ProductForm) and bool(leaf.stack_shape)


def about_own(leaf: ProductForm, events: Callable) -> OwnOrigin:
    return OwnBeforehand(leaf, events) if leaf.own_products else OwnOrigin(leaf)


def ways_of(
    leaves: list[Refittable],
    events: list[Any],
    within: Callable = OwnOrigin,
    beforehand: Callable = about_own,
) -> list[OwnOrigin]:
    """How each leaf is evaluated: about its own origin, as a whole chunk where it can be.

    Stacks in product form `beforehand` where their event is known, else `within` the model: by
    `CommonOrigin` and `Beforehand` fastest, by `FarApart` right whatever the spread.
    """

    def one(leaf, event) -> OwnOrigin:
        if isinstance(leaf, ByChunk) and event is not None:
            return WholeChunk(leaf, event)
        if not has_product_form(leaf):
            return OwnOrigin(leaf)
        return within(leaf) if event is None else beforehand(leaf, event)

    return [one(*each) for each in zip(leaves, events, strict=True)]


def all_near(ways: list[OwnOrigin]) -> Array:
    """Whether every stack is near its one origin, and in every lane."""
    far = [jnp.any(way.far) for way in ways if isinstance(way, CommonOrigin)]
    return unanimous(~jnp.any(jnp.stack(far)))


class HardAssigned(LogDensity):
    """A mixture that gives each event wholly to its best component."""

    mixture: Any

    def log_prob(self, x):
        joint = self.mixture.joint_log_probs(x)
        return joint[jnp.argmax(jax.lax.stop_gradient(joint))]


def harden(model: PyTree) -> PyTree:
    """Replace the outermost mixtures by hard assignments."""
    is_mixture = lambda n: isinstance(n, Labelled)
    return jax.tree.map(
        lambda n: HardAssigned(n) if is_mixture(n) else n, model, is_leaf=is_mixture
    )


class Look(NamedTuple):
    """How a chunk is evaluated: a model in parts, each leaf in its own way."""

    parts: Parts
    ways: list[OwnOrigin]
    hard: bool
    by_rows: bool  # the model lays out the rows of a chunk by itself

    def log_probs(self, tilts, loose, known, rows) -> tuple[Array, ...]:
        """Log-densities of a chunk's rows, as they are assigned and as the model has them.

        Each leaf is replaced by what stands for it: under a tilt, or as the log-densities that are
        known of it, an array with a leading axis of rows.
        """

        def tilted(known):
            each = zip(self.ways, tilts, known, strict=True)
            return self.parts.model([way.part(t, log_probs) for way, t, log_probs in each], loose)

        if self.by_rows:
            return (rows_log_prob(tilted([()] * len(self.ways)), rows),)

        def row(known, x):
            model = tilted(known)
            soft = model.log_prob(x)
            return (harden(model).log_prob(x), soft) if self.hard else (soft,)

        return jax.vmap(row)(known, rows)

    def sums(
        self, rows: PyTree, weights: Array
    ) -> tuple[tuple[Array, ...], list[Any], list[Array]]:
        """What a chunk adds: weighed log-densities, sums of each leaf, the loose arrays' gradient.

        All from one gradient of the weighed log-likelihood: in the tilts and in the log-densities
        known beforehand it is the statistics (of the latter the responsibilities, by which features
        are summed), in the loose arrays their own.
        """
        features = [way.features(rows) for way in self.ways]
        known = [way.log_probs(f) for way, f in zip(self.ways, features, strict=True)]

        def loss(tilts, loose, known):
            values = self.log_probs(tilts, loose, known, rows)
            # Selection before the product: 0 times -inf is NaN.
            weighed = tuple(jnp.where(weights > 0, v, jnp.zeros_like(v)) * weights for v in values)
            return jnp.sum(weighed[0]), weighed

        # A pass is taken at tilts of 0, and differentiated there.
        tilts = [way.zero_tilt() for way in self.ways]
        slope = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
        (_, values), (slopes, gradient, shares) = slope(tilts, self.parts.loose, known)
        each = zip(self.ways, slopes, shares, features, strict=True)
        return values, [way.sums(*rest) for way, *rest in each], gradient

    def no_sums(self) -> list[Any]:
        """What no chunk adds to the sums of each leaf."""
        return [way.zero_sums() for way in self.ways]

    def stats(self, sums: list[Any]) -> list[Any]:
        """Each leaf's statistics from its sums."""
        return [way.stats(own) for way, own in zip(self.ways, sums, strict=True)]
