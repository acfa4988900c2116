"""Leaves that EM refits from expected statistics, and the tilt that collects them as a gradient.

Tilt a leaf's density by `exp<t, T(x)>`, T headed by the constant 1. The derivative of the data's
log-likelihood in t, at t = 0, is the leaf's summed expected statistics, its count included, for
any nesting of sums of logs and logsumexps (Eisner 2016, "Inside-Outside and Forward-Backward
Algorithms Are Just Backprop").
"""

import abc
import math
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from ._density import LogDensity, is_density, one_event
from ._newton import newton_maximum
from ._numerics import times, tree_vdot
from ._platform import product_precision
from ._refuse import NO_PYTREE, BrokenContractError, headed, is_opaque, misdeclared


@jax.custom_jvp
def tilt(log_prob: Scalar, pairing: Scalar) -> Scalar:
    """The untilted log-density, whose tangent adds that of the pairing <t, T(x)>.

    The pairing's own value is never computed: a tilt costs nothing forward.
    """
    del pairing
    return log_prob


@tilt.defjvp
def _(primals, tangents):
    # `tilt(*primals)` and not its value: else second derivatives in t would be silently 0.
    return tilt(*primals), tangents[0] + tangents[1]


class Moments(NamedTuple):
    """Statistics of one real quantity: counts, and sums of a residual and of its square.

    The residual is from the family's `origin`.
    """

    count: Array
    first: Array
    second: Array


class Total(NamedTuple):
    """Statistics of one quantity: counts and its sum."""

    count: Array
    total: Array


class Refittable(LogDensity):
    """A leaf refitted from its expected statistics.

    A family states `stats(x, origin)`, `from_stats(stats, origin)`, `expected_log_prob`, and
    `num_parameters`. Every statistics tree is a NamedTuple headed by `count`.
    `origin` is the point about which residual statistics are taken, None where there is none; as a
    rule it is the field that `about` names.
    `zero_is_valid` says that a parameter may be infinite, being the logarithm (or the logit) of a
    probability or a rate of 0.
    `drifts` names the fields that may run to infinity, where the family tends to a simpler one; see
    `at_limit`.
    `ascends` says that an M-step never lowers the likelihood: False where it is a Newton step,
    which a fit shortens where it overshoots.
    """

    about: ClassVar[str | None] = None
    zero_is_valid: ClassVar[bool] = False
    drifts: ClassVar[tuple[str, ...]] = ()
    ascends: ClassVar[bool] = True

    @property
    def origin(self) -> Any:
        """The leaf's own location, about which residuals keep float32 right: its field `about`."""
        return None if self.about is None else getattr(self, self.about)

    def placed_at(self, origin: Any) -> Self:
        """The leaf with another origin, where that is a parameter; else as it is."""
        return self if self.about is None else self._replace(**{self.about: origin})

    @property
    def evaluated(self) -> Any:
        """The leaf by which log-densities and statistics are taken: itself, but for a wrapper."""
        return self

    @property
    def bare(self) -> Any:
        """The leaf under which what is latent adds all but nothing: data in any unit stand alone."""
        return self

    def begun(self, stats: Any, origin: Array | None = None) -> Self | None:
        """The placeholder in the units of all the data; None where `from_stats` is in them."""
        del stats, origin
        return None

    def on_support(self, x: Any) -> tuple[Array, Array]:
        """A number by one inside the `domain` if it is off it; and 0, -inf or NaN as it is on it."""
        domain: Any = self.domain  # pyright: ignore[reportAttributeAccessIssue]
        value = one_event(x, self._event_shape, self)
        return domain.safe(value, getattr(self, next(iter(self.ranks))).dtype)

    @abc.abstractmethod
    def stats(self, x: PyTree, origin: Array | None = None) -> Any:
        """Sufficient statistics T(x) of one event, headed by the constant 1."""

    @abc.abstractmethod
    def from_stats(self, stats: Any, origin: Array | None = None) -> Self:
        """The maximum-likelihood density of the family for summed statistics."""

    @abc.abstractmethod
    def expected_log_prob(self, stats: Any, origin: Array | None = None) -> Scalar:
        """Expected complete-data log-density of summed statistics, up to a constant, in nats."""

    @property
    def num_parameters(self) -> int:
        """Free parameters of ONE density of the family: all numbers in what `ranks` declares.

        A family says otherwise where they are not free, as probabilities that sum to 1.
        """
        own = [(getattr(self, f), rank) for f, rank in self.ranks.items() if f not in self.shared]
        return sum(math.prod(a.shape[a.ndim - rank :]) for a, rank in own)

    @property
    def num_shared_parameters(self) -> int:
        """Free parameters that the densities of a stack's last axis have in common."""
        return 0

    def floor(self, stats: Any, share: Scalar) -> Any:
        """Pseudo-statistics, a share of the data's own, that keep the leaf off its boundary."""
        del share
        return jax.tree.map(jnp.zeros_like, stats)

    def recentre(self, stats: Any, old: Any, new: Any) -> Any:
        """The same statistics about another origin (both None where there is none)."""
        del old, new
        return stats

    @property
    def _event_shape(self) -> tuple[int, ...]:
        """Of a number, or of a vector where `domain` says so."""
        dim = getattr(getattr(self, "domain", None), "dim", None)
        return () if dim is None else (dim,)

    def zero_stats(self) -> Any:
        """A tree of zeros shaped like summed statistics, with the leaf's own stack in front."""
        dtype = jnp.result_type(*(a for a in jax.tree.leaves(self) if eqx.is_inexact_array(a)))
        one: Any = lambda density: density.stats(jnp.zeros(self._event_shape, dtype))
        for _ in self.stack_shape:
            one = jax.vmap(one)
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(one, self))

    def pair(self, t: Any, x: PyTree, origin: Array | None = None) -> Scalar:
        """<t, stats(x, origin)>; overridden where a cheaper order of the products exists."""
        return tree_vdot(t, headed(self, "stats", self.stats(x, origin)))

    def pair_outcomes(self, t: Any, size: int) -> Array:
        """`pair` of each outcome 0, ..., size - 1, for a law of labels."""
        return jax.vmap(lambda x: self.pair(t, x))(jnp.arange(size))

    def on_boundary(self, floor: Any) -> Array:
        """Whether the leaf sits on its floor, one truth value a density of the stack."""
        del floor
        return jnp.zeros(self.stack_shape, bool)

    def curvature_of_kinks(self, stats: Any) -> Self:
        """What each parameter's kinks add to the information, which no second derivative sees."""
        del stats
        return jax.tree.map(jnp.zeros_like, eqx.filter(self, eqx.is_inexact_array))

    def at_limit(self) -> Array:
        """Whether some 1e6 events could not tell the density from a limit that it may tend to.

        One truth value a density of the stack: their divergence is below 1e-6 nats.
        """
        return jnp.zeros(self.stack_shape, bool)


def check_declared(model: PyTree) -> None:
    """Refuse a class of one's own that JAX does not see into, or whose `ranks` are not its fields.

    Raises:
        ValueError: naming the class.
    """
    for node in jax.tree.leaves(model, is_leaf=lambda n: isinstance(n, Refittable)):
        if isinstance(node, Refittable) and (sentence := misdeclared(type(node), node)):
            raise BrokenContractError(sentence)
        if is_density(node) and is_opaque(node):
            raise BrokenContractError(f"{type(node).__name__} is no model yet. {NO_PYTREE}")


class ExponentialFamily(Refittable):
    """log p(x) = <natural(origin), stats(x, origin)> + log_base(x), natural headed by -A, in nats.

    A family of one's own states, with `ranks` (of which parameters, what rank each has):

    - `stats(x, origin)`: T(x) of ONE event, a NamedTuple headed by `count`, which is 1. Where two
      or three sums suffice, `jm.Total` (count, total) and `jm.Moments` (count, first, second) serve.
    - `natural(origin)`: what multiplies each statistic; minus the log-normaliser multiplies `count`.
    - `log_base(x)`: what is left of log p(x), -inf off the support; if it is not stated, 0 in the
      `domain`. `on_support(x)` gives a number to compute with, and 0 or -inf to add.
    - `from_stats(stats, origin)`: the density of maximum likelihood for summed statistics. Newton's
      ascent in the parameters if it is not stated.
    - `sample(key)`: one event, or not at all.

    `natural` and `from_stats` are of a stack, too: write them for any leading axes. All else is
    derived; a family overrides `log_prob` where another order of operations keeps more digits,
    `floor` and `on_boundary` where its likelihood has no bound, `num_parameters` where not all of
    its parameters are free, `origin` and `recentre` where residuals do. `domain = jm.Domain(...)`
    says in words and numbers where events lie, for the check of the data before a fit.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> class Rayleigh(jm.ExponentialFamily):
        ...     log_square: jax.Array  # log p(x) = log x - log s - x^2 / (2 s), s = exp(log_square)
        ...     ranks = {"log_square": 0}
        ...     domain = jm.Domain("a positive number", low=0.0, open=True)
        ...
        ...     def stats(self, x, origin=None):
        ...         value, _ = self.on_support(x)
        ...         return jm.Total(jnp.ones_like(value), value**2)
        ...
        ...     def natural(self, origin=None):
        ...         return jm.Total(-self.log_square, -0.5 * jnp.exp(-self.log_square))
        ...
        ...     def log_base(self, x):
        ...         value, base = self.on_support(x)
        ...         return base + jnp.log(value)
        ...
        ...     def from_stats(self, stats, origin=None):
        ...         return Rayleigh(jnp.log(stats.total / (2 * stats.count)))
        >>> start = jm.mixture_of(Rayleigh(jnp.zeros(())), 2)
        >>> model = jm.em.solve(jm.em.init(jax.random.key(0), start, x := jnp.array([1.0, 2.0])), x)
        >>> model.components.stack_shape, start.components.num_parameters
        ((2,), 1)
    """

    @abc.abstractmethod
    def natural(self, origin: Array | None = None) -> Any:
        """Natural parameters, shaped like `stats`, headed by minus the log-normaliser."""

    def log_normaliser(self, natural: Any, origin: Array | None = None) -> Scalar:
        """Log of the integral of exp <natural, stats(x, origin)> under the base measure.

        The head of `natural` is not read, so that no density of these natural parameters need
        exist yet; inf outside their space. Convex in them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say its log_normaliser.")

    def mean_stats(self, origin: Array | None = None) -> Any:
        """Expected statistics of one event under the density itself, headed by 1.

        The gradient of the log-normaliser, which is right for natural parameters that are more
        than the family needs (log-probabilities) too.
        """
        natural = self.natural(origin)
        total = lambda natural: jnp.sum(self.log_normaliser(natural, origin))
        return jax.grad(total)(natural)._replace(count=jnp.ones_like(natural.count))

    def zero_stats(self) -> Any:
        natural = lambda family: headed(self, "natural", family.natural(family.origin))
        shapes = jax.eval_shape(natural, self)
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

    def log_base(self, x: PyTree) -> Scalar:
        """Logarithm of the base measure: -inf off the support, where `domain` is one of numbers."""
        if (domain := getattr(self, "domain", None)) is not None and domain.dim is None:
            return self.on_support(x)[1]
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(self)))

    def log_prob(self, x: PyTree) -> Scalar:
        if getattr(self, "domain", None) is not None:
            x = one_event(x, self._event_shape, self)
        origin = self.origin
        natural = headed(self, "natural", self.natural(origin))
        return tree_vdot(natural, headed(self, "stats", self.stats(x, origin))) + self.log_base(x)

    def expected_log_prob(self, stats: Any, origin: Array | None = None) -> Scalar:
        natural = self.natural(origin)
        if not self.zero_is_valid:
            return tree_vdot(natural, stats)
        return sum(map(jnp.sum, jax.tree.leaves(jax.tree.map(times, stats, natural))))  # pyright: ignore[reportReturnType]

    def from_stats(self, stats: Any, origin: Array | None = None) -> Self:
        """The maximum-likelihood density for summed statistics, by a damped Newton ascent.

        In the arrays that `ranks` declares, which are free: write it where there is a closed form.
        """
        centre = self.origin if origin is None else origin

        def one(density, stats, origin):
            start, build = ravel_pytree(density)
            mean = jax.tree.map(lambda s: s / stats.count, stats)
            value = lambda theta, given: build(theta).expected_log_prob(*given)
            return build(newton_maximum(value, start, (mean, origin)))

        for _ in self.stack_shape:
            one = jax.vmap(one)
        return one(self, stats, centre)


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
