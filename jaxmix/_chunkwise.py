"""Families that evaluate a chunk of events at once, by matrix products."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from ._exponential import ExponentialFamily
from ._platform import product_precision
from ._refittable import Refittable


class ProductForm(ExponentialFamily):
    """A family whose log-density about a common origin is affine in a short feature vector.

    log p(x) = head(origin) + <weights(origin), features(x - origin)>. For a stack about ONE
    origin this is a plain matrix product, and so is its gradient; it is right in float32 only
    while the spread of the means is moderate against the scales (`spread`).
    `rows_last` says that `features` takes residuals with a trailing axis of rows, and that a
    chunk is laid out so: right where there are many features to a coordinate, or only one
    coordinate. Else a chunk's features keep the data's own layout, and nothing is transposed.
    `own_products` says that a density about its own origin is a matrix product over a chunk too.
    """

    rows_last: ClassVar[bool] = False
    own_products: ClassVar[bool] = False

    @abc.abstractmethod
    def features(self, residual: Array) -> Array:
        """The feature vector of one event's residual."""

    def chunk_features(self, events: Array, origin: Array) -> Array:
        """Features of events (rows, ...): laid out (features, rows), or (rows, features)."""
        residuals = events - origin[None]
        if self.rows_last:
            return self.features(jnp.moveaxis(residuals, 0, -1))
        return jax.vmap(self.features)(residuals)

    @abc.abstractmethod
    def product_natural(self, origin: Array) -> tuple[Scalar, Array]:
        """Head and weights of the affine form."""

    @abc.abstractmethod
    def from_features(self, count: Array, sums: Array) -> Any:
        """The family's statistics about the origin from summed features."""

    def own_log_probs(self, events: Array) -> Array:
        """Log-densities of many events (rows, ...), as a product about the density's own origin."""
        head, weights = self.product_natural(self.origin)
        features = self.chunk_features(events, self.origin)
        both = (weights, features) if self.rows_last else (features, weights)
        return head + jnp.dot(*both, precision=product_precision(weights))

    def weighed_stats(self, events: Array, weights: Array) -> Any:
        """Summed statistics of many events (rows, ...) about the density's own origin."""
        features = self.chunk_features(events, self.origin)
        both = (features, weights) if self.rows_last else (weights, features)
        sums = jnp.dot(*both, precision=product_precision(weights))
        return self.from_features(jnp.sum(weights), sums)

    @abc.abstractmethod
    def spread(self, origin: Array) -> Array:
        """Squared distance of the mean from the origin, in units of the scale."""


class ByChunk(Refittable):
    """A family that evaluates a chunk of events at once under a whole stack, by matrix products.

    Residuals are each density's own, so that it is right whatever their spread; what all densities
    share of the events (products of their covariates) is made once.
    """

    @abc.abstractmethod
    def under(self, events: PyTree) -> Any:
        """What a chunk of events (rows, ...) is under each density; read by the other two."""

    @abc.abstractmethod
    def log_probs(self, chunk: Any) -> Float[Array, " rows *stack"]:
        """Log-densities of the events of a chunk."""

    @abc.abstractmethod
    def weighed_sums(self, chunk: Any, weights: Float[Array, " rows *stack"]) -> Any:
        """Statistics about the own origins, each event's weighed, summed over the chunk."""
