"""The product form of a pass: a stack's log-densities of a chunk as one matrix product.

About one origin a stack of normal densities is affine in a feature vector f(x - origin). With F
the features of a chunk (features, rows), its log-densities are `head + W F`. Their derivative in
the log-likelihood is the responsibilities R (rows, densities), and `F R` the statistics.
"""

import dataclasses
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


@dataclasses.dataclass
class Way:
    """How a leaf is evaluated in a pass: within the model under a tilt, or beforehand for a chunk.

    `features` and `log_probs` are of a whole chunk, before the model is evaluated; `part` is what
    stands for the leaf in the model, under its tilt or with the log-densities that are known; and
    `sums` what one chunk adds to its statistics, from the derivatives of the log-likelihood in the
    tilt and in the log-densities, and the features. `stats` are the leaf's own, from all sums.
    `far` are the densities of a stack about one origin that are too far from it to be right.
    """

    part: Callable[[Any, Any], LogDensity]
    tilt: Any = ()
    features: Callable[[PyTree], Any] = lambda _: ()
    log_probs: Callable[[Any], Any] = lambda features: features
    sums: Callable[[Any, Any, Any], Any] = lambda tilt_slope, _, __: tilt_slope
    no_sums: Any = ()
    stats: Callable[[Any], Any] = lambda sums: sums
    far: Array | None = None


def whole_chunk(leaf: ByChunk, events: Callable) -> Way:
    """A chunk at once, about its own origins: right whatever the spread."""
    return Way(
        lambda _, known: Known(leaf, known),
        features=lambda chunk: leaf.under(events(chunk)),
        log_probs=leaf.log_probs,
        sums=lambda _, shares, under: leaf.weighed_sums(under, shares),
        no_sums=leaf.zero_stats(),
    )


def about_own(leaf: Any, events: Callable | None = None) -> Way:
    """A leaf about its own origin: right whatever the spread.

    Within the model; or beforehand, where its event is known and its densities are products.
    """
    if events is None or not leaf.own_products:
        zeros = leaf.zero_stats()
        return Way(lambda t, _: Tilted(leaf, t, leaf.origin), zeros, no_sums=zeros)
    return Way(
        lambda _, known: Known(leaf, known),
        features=events,
        # Densities come before the rows, so that nothing is transposed.
        log_probs=lambda rows: jnp.moveaxis(products.own_log_probs(leaf, rows), -1, 0),
        sums=lambda _, shares, rows: products.own_stats(leaf, rows, jnp.moveaxis(shares, 0, -1)),
        no_sums=leaf.zero_stats(),
    )


def about_one(leaf: ProductForm, events: Callable | None = None) -> Way:
    """A stack in product form, all of it near one origin.

    Within the model; or beforehand, where its event is known: a chunk is a matrix product.
    """
    origin = products.common_origin(leaf)
    wide, far = jnp.broadcast_to(origin, leaf.origin.shape), products.is_far(leaf, origin)
    head, weights = natural = leaf.product_natural(wide)
    stats = lambda sums: leaf.recentre(leaf.from_features(*sums), wide, leaf.origin)
    if events is None:
        part = lambda t, _: TiltedProduct(leaf, natural, t, Held(origin))
        zeros = jax.tree.map(jnp.zeros_like, natural)
        return Way(part, zeros, no_sums=zeros, stats=stats, far=far)

    def sums(_, shares, features):
        return jnp.sum(shares, 0), products.feature_sums(leaf, features, shares)

    return Way(
        lambda _, known: Known(leaf, known),
        features=lambda chunk: leaf.chunk_features(events(chunk), origin),
        log_probs=lambda features: products.log_probs(leaf, natural, features),
        sums=sums,
        no_sums=(jnp.zeros_like(head), products.zero_sums(leaf, weights)),
        stats=lambda sums: stats((sums[0], products.by_density(leaf, sums[1]))),
        far=far,
    )


def about_several(leaf: ProductForm, events: Callable | None = None) -> Way:
    """The same of a stack some of which are far from its origin: these about their own."""
    if events is None:
        return about_own(leaf)
    near: Any = about_one(leaf, events)
    stack, blocks = products.in_one_axis(leaf), products.sorted_by(near.far)
    flat = lambda table: table.reshape(table.shape[0], -1).T

    def log_probs(features):
        known = near.log_probs(features[0])
        return products.far_log_probs(blocks, flat(known), stack, features[1]).T.reshape(
            known.shape
        )

    def sums(_, shares, features):
        own = products.far_stats(blocks, flat(shares), stack, features[1])
        return near.sums((), shares, features[0]), own

    def stats(sums):
        chosen = lambda own, one: jnp.where(spread(near.far, one.ndim), own.reshape(one.shape), one)
        return jax.tree.map(chosen, sums[1], near.stats(sums[0]))

    features = lambda chunk: (near.features(chunk), events(chunk))
    return Way(near.part, (), features, log_probs, sums, (near.no_sums, stack.zero_stats()), stats)


def has_product_form(leaf: Refittable) -> bool:
    return isinstance(leaf, ProductForm) and bool(leaf.stack_shape)


def ways_of(
    leaves: list[Refittable], events: list[Any], of_stack: Callable[..., Way] = about_own
) -> list[Way]:
    """How each leaf is evaluated: about its own origin, as a whole chunk where it can be.

    Stacks in product form by `about_one` fastest, by `about_several` right whatever the spread.
    """

    def one(leaf, event) -> Way:
        if isinstance(leaf, ByChunk) and event is not None:
            return whole_chunk(leaf, event)
        return of_stack(leaf, event) if has_product_form(leaf) else about_own(leaf)

    return [one(*each) for each in zip(leaves, events, strict=True)]


def all_near(ways: list[Way]) -> Array:
    """Whether every stack is near its one origin, and in every lane."""
    far = [jnp.any(way.far) for way in ways if way.far is not None]
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
    ways: list[Way]
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
        tilts = [way.tilt for way in self.ways]
        slope = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
        (_, values), (slopes, gradient, shares) = slope(tilts, self.parts.loose, known)
        each = zip(self.ways, slopes, shares, features, strict=True)
        return values, [way.sums(*rest) for way, *rest in each], gradient
