"""The Poisson family of a count."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._numerics import log_of
from ._family import COUNT, ExponentialFamily, Total, exp_of, store
from ._special import deviance, log_factorial_gap
from ._tails import gamma_sides


class Poisson(ExponentialFamily):
    """Poisson density of a count 0, 1, ...: log p(x) = x log(rate) - rate - log x!, in nats.

    Args:
        rate: the mean, a non-negative scalar; at 0 every count is 0; or `log_rate`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Poisson(2.0).log_prob(jnp.array(0))
        Array(-2., dtype=float32)
    """

    domain = COUNT
    zero_is_valid: ClassVar[bool] = True

    log_rate: Float[Array, "*stack"]
    rate = mean = variance = exp_of("log_rate")

    def __init__(self, rate=None, *, log_rate=None):
        store(self, rate=rate, log_rate=log_rate)

    def log_base(self, x) -> Scalar:
        value, base = self.on_support(x)
        return base - jax.lax.lgamma(value + 1)

    def log_prob(self, x) -> Scalar:
        value, base = self.on_support(x)
        return (log_factorial_gap(value) + base) - deviance(value, self.log_rate)

    def log_cdf(self, x) -> Scalar:
        return gamma_sides(self.log_prob(x) + self.log_rate, x + 1, self.rate)[1]

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.poisson(key, self.rate, ())

    def stats(self, x, origin=None) -> Total:
        value, _ = self.on_support(x)
        return Total(jnp.ones_like(value), value)

    def natural(self, origin=None) -> Total:
        return Total(-self.rate, self.log_rate)

    def log_normaliser(self, natural: Total, origin=None) -> Scalar:
        return jnp.exp(natural.total)

    def from_stats(self, stats: Total, origin=None) -> Self:
        return self._replace(log_rate=log_of(stats.total) - jnp.log(stats.count))

    def floor(self, stats: Total, share) -> Total:
        return Total(jnp.zeros_like(stats.count), share * (1 + stats.total / stats.count))
