"""Leaves that EM refits from expected statistics, and the tilt that collects them as a gradient.

Tilt a leaf's density by `exp<t, T(x)>`, T headed by the constant 1. The derivative of the data's
log-likelihood in t, at t = 0, is the leaf's summed expected statistics, its count included, for
any nesting of sums of logs and logsumexps (Eisner 2016, "Inside-Outside and Forward-Backward
Algorithms Are Just Backprop").
"""

import abc
import functools
import inspect
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


_ABOUT = (
    "stats", "natural", "pair", "from_stats", "begun", "expected_log_prob", "log_normaliser",
)  # fmt: skip


def _about_own(method: Any) -> Any:
    """The same method, about the leaf's own origin where none is given."""
    place = list(inspect.signature(method).parameters).index("origin")

    @functools.wraps(method)
    def about(self, *given, origin=None, **named):
        if len(given) == place:
            *given, origin = given
        return method(self, *given, **named, origin=self.origin if origin is None else origin)

    return about


class Refittable(LogDensity):
    """A leaf refitted from its expected statistics.

    A family states `stats(x, origin)`, `from_stats(stats, origin)`, `expected_log_prob`, and
    `num_parameters`. Every statistics tree is a NamedTuple headed by `count`.
    `origin` is the point about which residual statistics are taken, None where there is none; as a
    rule it is the field that `about` names. A method that is given none is given the leaf's own.
    `width_in` names the statistic that tells how wide the density is, where its likelihood has no
    bound as it narrows: a floor adds a share of what `width_of(stats)` says of all data, and a
    density whose own `width` is no more sits on it.
    `triangular` names matrices of which the upper triangles are parameters.
    `zero_is_valid` says that a parameter may be infinite, being the logarithm (or the logit) of a
    probability or a rate of 0.
    `ascends` says that an M-step never lowers the likelihood: False where it is a Newton step,
    which a fit shortens where it overshoots.
    """

    about: ClassVar[str | None] = None
    zero_is_valid: ClassVar[bool] = False
    ascends: ClassVar[bool] = True
    triangular: ClassVar[tuple[str, ...]] = ()
    width_in: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, own in list(vars(cls).items()):
            if name in _ABOUT and inspect.isfunction(own):
                setattr(cls, name, _about_own(own))

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

    def begun(self, stats: Any, origin: Any = None) -> Self | None:
        """The placeholder in the units of all the data; None where `from_stats` is in them."""
        del stats, origin
        return None

    def on_support(self, x: Any) -> tuple[Array, Array]:
        """A number by one inside the `domain` if it is off it; and 0, -inf or NaN as it is on it."""
        domain: Any = self.domain  # pyright: ignore[reportAttributeAccessIssue]
        value = one_event(x, self._event_shape, self)
        return domain.safe(value, getattr(self, next(iter(self.ranks))).dtype)

    @abc.abstractmethod
    def stats(self, x: PyTree, origin: Any = None) -> Any:
        """Sufficient statistics T(x) of one event, headed by the constant 1."""

    @abc.abstractmethod
    def from_stats(self, stats: Any, origin: Any = None) -> Self:
        """The maximum-likelihood density of the family for summed statistics."""

    @abc.abstractmethod
    def expected_log_prob(self, stats: Any, origin: Any = None) -> Scalar:
        """Expected complete-data log-density of summed statistics, up to a constant, in nats."""

    @property
    def num_parameters(self) -> int:
        """Free parameters of ONE density of the family: all numbers in what `ranks` declares.

        A family says otherwise where they are not free, as probabilities that sum to 1; of what it
        calls `triangular` the upper triangles count.
        """
        return sum(free_numbers(self, field) for field in self.ranks if field not in self.shared)

    @property
    def num_shared_parameters(self) -> int:
        """Free parameters that the densities of a stack's last axis have in common."""
        return sum(free_numbers(self, field) for field in self.shared)

    @property
    def width(self) -> Any:
        """The same of the density itself, 0 where it is a point."""
        raise NotImplementedError(f"{type(self).__name__} has `width_in`, and no `width`.")

    def width_of(self, stats: Any) -> Array:
        """What the statistic of the width is, of summed statistics, in the mean."""
        raise NotImplementedError(f"{type(self).__name__} has `width_in`, and no `width_of`.")

    def floor(self, stats: Any, share: Scalar) -> Any:
        """Pseudo-statistics, a share of the data's own, that keep the leaf off its boundary."""
        none = jax.tree.map(jnp.zeros_like, stats)
        if self.width_in is None:
            return none
        return none._replace(**{self.width_in: share * self.width_of(stats)})

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

    def pair(self, t: Any, x: PyTree, origin: Any = None) -> Scalar:
        """<t, stats(x, origin)>; overridden where a cheaper order of the products exists."""
        return tree_vdot(t, headed(self, "stats", self.stats(x, origin)))

    def pair_outcomes(self, t: Any, size: int) -> Array:
        """`pair` of each outcome 0, ..., size - 1, for a law of labels."""
        return jax.vmap(lambda x: self.pair(t, x))(jnp.arange(size))

    def on_boundary(self, floor: Any) -> Array:
        """Whether the leaf sits on its floor, one truth value a density of the stack."""
        if self.width_in is None:
            return jnp.zeros(self.stack_shape, bool)
        return self.width <= 2 * jnp.abs(getattr(floor, self.width_in))

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


def free_numbers(leaf: Any, field: str) -> int:
    """Free numbers of one density's field: of what is `triangular`, the triangle."""
    array = getattr(leaf, field)
    shape = array.shape[array.ndim - leaf.ranks[field] :]
    return shape[0] * (shape[0] + 1) // 2 if field in leaf.triangular else math.prod(shape)


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
