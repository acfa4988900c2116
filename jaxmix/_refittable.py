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
from jaxtyping import Array, PyTree, Scalar

from ._density import LogDensity, is_density, one_event
from ._numerics import tree_vdot
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
    `ascends` says that an M-step never lowers the likelihood: False where it is a Newton step,
    which a fit shortens where it overshoots.
    """

    about: ClassVar[str | None] = None
    zero_is_valid: ClassVar[bool] = False
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

    def limits(self, stats: Any = None) -> dict[str, Array]:
        """Fields that may run to infinity, where the family is a simpler one: which numbers have.

        Some 1e6 events could not tell the density from that limit, their divergence being below
        1e-6 nats; or, by the statistics of a last pass, steps go on while nothing is gained.
        """
        del stats
        return {}


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
