"""The Poisson family of a count."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._density import one_event
from .._exponential import ExponentialFamily, Total
from .._numerics import as_float, log_of
from ._entrances import entrance
from ._special import deviance, log_factorial_gap
from ._support import COUNT, Domain, counted, times


class Poisson(ExponentialFamily):
    """Poisson density of a count 0, 1, ...: log p(x) = x log(rate) - rate - log x!, in nats.

    Args:
        rate: the mean, a non-negative scalar; at 0 every count is 0.
        log_rate: its logarithm, any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Poisson(2.0).log_prob(jnp.array(0))
        Array(-2., dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"log_rate": 0}
    domain: ClassVar[Domain] = COUNT
    zero_is_valid: ClassVar[bool] = True

    log_rate: Float[Array, "*stack"]

    def __init__(self, rate=None, *, log_rate=None):
        log, rate = entrance("Poisson", log_of, rate=rate, log_rate=log_rate)
        (rate,) = as_float(rate)
        self.log_rate = log(rate)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(1.0)

    @property
    def rate(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_rate)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.rate

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return self.rate

    def log_base(self, x) -> Scalar:
        value, base = counted(x, self.log_rate.dtype)
        return base - jax.lax.lgamma(value + 1)

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        value, base = counted(x, self.log_rate.dtype)
        return log_factorial_gap(value) - deviance(value, self.log_rate) + base

    def cdf(self, x) -> Scalar:
        x = one_event(x, (), self).astype(self.log_rate.dtype)
        below = jax.lax.igammac(jnp.maximum(jnp.floor(x), 0) + 1, self.rate)
        return jnp.where(x < 0, jnp.zeros_like(below), below)

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.poisson(key, self.rate, ())

    def stats(self, x, origin=None) -> Total:
        value, _ = counted(x, self.log_rate.dtype)
        return Total(jnp.ones_like(value), value)

    def natural(self, origin=None) -> Total:
        return Total(-self.rate, self.log_rate)

    def log_normaliser(self, natural: Total, origin=None) -> Scalar:
        return jnp.exp(natural.total)

    def from_stats(self, stats: Total, origin=None) -> Self:
        log_rate = jnp.log(stats.total) - jnp.log(stats.count)
        return eqx.tree_at(lambda m: m.log_rate, self, log_rate)

    def expected_log_prob(self, stats: Total, origin=None) -> Scalar:
        return jnp.sum(times(stats.total, self.log_rate) - stats.count * self.rate)

    def floor(self, stats: Total, share) -> Total:
        return Total(jnp.zeros_like(stats.count), share * (1 + stats.total / stats.count))
