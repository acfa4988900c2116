"""Numbers of which it may only be known between which ends they lie."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, check_kind, one_event
from ..families._support import Domain
from ._mass import as_numbers, log_mass, number_domain


class IntervalEvent(NamedTuple):
    """A number known to lie between two ends, which may be infinite; known where they are equal."""

    low: Array
    high: Array


class Censored(LogDensity):
    """Log-density of a number seen, log-probability of an interval where it is not, in nats.

    log p(low, high) = log q(low) where low = high, else log Q(low <= X <= high): censored from the
    right (high = inf), from the left or between (Klein and Moeschberger 2003, "Survival analysis",
    3.5). The mass is a quadrature of q, of a relative error of 1e-5 for smooth densities, and of
    0.01 to 0.2 in tails 30 scales away; of whole numbers, their sum. EM completes the number,
    whatever the density.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> lifetime = jm.Censored(jm.Exponential(0.5))
        >>> lifetime.log_prob(jm.IntervalEvent(jnp.array(3.0), jnp.array(jnp.inf))).round(4)
        Array(-1.5, dtype=float32)
        >>> jm.encode(lifetime, [2.0, (3.0, float("inf"))]).high
        Array([ 2., inf], dtype=float32)
    """

    value: PyTree
    domain: Domain = eqx.field(static=True)  # in a fit the value's place is taken by what has none

    def __init__(self, value):
        self.value, self.domain = value, number_domain("Censored", value)

    def log_prob(self, x: IntervalEvent) -> Scalar:
        check_kind(self, isinstance(x, IntervalEvent), "a jm.IntervalEvent(low, high)", x)
        low, high = as_numbers(self.value, *(one_event(end, (), self) for end in x))
        seen, wrong = low == high, ~(low <= high)  # NaN among what is wrong
        # Ends that are safe to differentiate at, where what they are of is not asked for.
        ends = (jnp.where(seen | wrong, end, a) for end, a in zip(_ENDS, (low, high), strict=True))
        mass = log_mass([self.value], self.domain, *ends)
        exact = self.value.log_prob(jnp.where(seen, low, jnp.ones_like(low)))
        return jnp.where(wrong, jnp.nan * low, jnp.where(seen, exact, mass))

    def sample(self, key: Key[Array, ""]) -> IntervalEvent:
        x = self.value.sample(key)
        return IntervalEvent(x, x)


_ENDS = (0.0, 1.0)
