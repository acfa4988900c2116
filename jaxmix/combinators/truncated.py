"""Densities cut off outside an interval."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, one_event
from ..families._entrances import of_field
from ..families._support import Domain
from ._mass import as_numbers, log_mass, number_domain


class Truncated(LogDensity):
    """Density of a number given that it lies between two ends, which a whole number may equal.

    log p(x) = log q(x) - log Q(low <= X <= high) for low <= x <= high, in nats. The mass is a
    quadrature of q. EM completes the events that were not seen, Q(outside) / Q(inside) an event
    in the mean (Dempster, Laird and Rubin 1977, section 4.2), so that any density is refitted;
    where little is inside it is slow (`accelerate=`; for a normal see `jm.TruncatedNormal`).

    Args:
        value: density of a number before it is cut off, with a `cdf`.
        low, high: the ends (static), of which one may be infinite.

    Example:
        >>> import jaxmix as jm
        >>> jm.Truncated(jm.Poisson(1.0), low=1).log_prob(1).round(4)  # -log(e - 1)
        Array(-0.5413, dtype=float32)
        >>> jm.Truncated(jm.Exponential(2.0), low=3.0).log_prob(4.0).round(4)  # log 2 - 2
        Array(-1.3069, dtype=float32)
    """

    value: PyTree
    domain: Domain = eqx.field(static=True)
    whole: Domain = eqx.field(static=True)  # that of the value, which a fit's stand-ins don't know
    low, high = of_field("domain", "low"), of_field("domain", "high")

    def __init__(self, value, low: float = -np.inf, high: float = np.inf):
        self.whole = whole = number_domain("Truncated", value)
        if not all(isinstance(end, int | float | np.number) for end in (low, high)):
            raise TypeError(f"Truncated takes numbers for its ends; got {low!r:.40}, {high!r:.40}.")
        low, high = max(float(low), whole.low), min(float(high), whole.high)
        if not low < high:
            raise ValueError(f"Truncated takes ends low < high of the support; got {low}, {high}.")
        words = f"a number from {low:g} to {high:g}"
        self.value, self.domain = value, whole._replace(low=low, high=high, words=words)

    def _log_masses(self) -> tuple[Array, list[Array]]:
        """Of the inside, and of what there is beyond either end."""
        whole, (low, high), step = self.whole, self.domain[2:4], int(self.whole.whole)
        mass = lambda a, b: log_mass([self.value], whole, a, b)
        below = [mass(whole.low, low - step)] if low > whole.low else []
        return mass(low, high), below + (
            [mass(high + step, whole.high)] if high < whole.high else []
        )

    def log_prob(self, x) -> Scalar:
        (x,) = as_numbers(self.value, one_event(x, (), self))
        low, high = self.domain.low, self.domain.high
        inside = (x >= low) & (x <= high)
        log_mass, outside = self._log_masses()
        # The derivative of log Q(inside), by that of Q(outside): in a fit, events that were not seen.
        still = jax.lax.stop_gradient(log_mass)
        odds = sum((jnp.exp(beyond - still) for beyond in outside), jnp.zeros_like(x))
        log_mass = still + jnp.log1p(jax.lax.stop_gradient(odds) - odds)
        safe = next((end for end in (low, high) if np.isfinite(end)), 0.0)
        value = self.value.log_prob(jnp.where(inside, x, safe)) - log_mass
        return jnp.where(inside, value, jnp.where(jnp.isnan(x), x, -jnp.inf))

    def _ends(self, like: Array) -> list[Array]:
        """The distribution function of the value below the interval, and at its upper end."""
        ends = (self.domain.low - int(self.domain.whole), self.domain.high)
        known = [self.value.cdf(end) if np.isfinite(end) else None for end in ends]
        return [jnp.full_like(like, i) if p is None else p for i, p in enumerate(known)]

    def cdf(self, x) -> Scalar:
        (x,) = as_numbers(self.value, x)
        below, above = self._ends(x)
        at = self.value.cdf(jnp.clip(x, self.domain.low, self.domain.high))
        return jnp.where(x < self.domain.low, 0 * x, (at - below) / (above - below))

    def sample(self, key: Key[Array, ""]) -> Scalar:
        (zero,) = as_numbers(self.value, 0.0)
        below, above = self._ends(zero)
        x = self.value.quantile(jax.random.uniform(key, (), zero.dtype, below, above))
        return jnp.clip(x, self.domain.low, self.domain.high).astype(
            int if self.domain.whole else x.dtype
        )
