"""The exponential family of one non-negative number (a waiting time)."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._family import NON_NEGATIVE, ExponentialFamily, Total, exp_of, store, within
from ._special import log_one_less_exp


class Exponential(ExponentialFamily):
    """Exponential density of one non-negative number: log p(x) = log(rate) - rate x, in nats.

    Args:
        rate: inverse of the mean, a positive scalar; or `log_rate`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Exponential(2).log_prob(jnp.array(1.0)).round(4)
        Array(-1.3069, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    domain = NON_NEGATIVE

    log_rate: Float[Array, "*stack"]
    rate = exp_of("log_rate")
    variance = exp_of("log_rate", -2)
    mean = width = exp_of("log_rate", -1)
    width_in: ClassVar[str] = "total"

    def __init__(self, rate=None, *, log_rate=None):
        store(self, rate=rate, log_rate=log_rate)

    def log_cdf(self, x) -> Scalar:
        none = x == 0
        log = jnp.log(jnp.where(none, jnp.ones_like(x), x))
        return jnp.where(none, -jnp.inf, log_one_less_exp(self.log_rate + log))

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.mean * jax.random.exponential(key, (), self.log_rate.dtype)

    def stats(self, x, origin=None) -> Total:
        value, _ = self.on_support(x)
        return Total(jnp.ones_like(value), value)

    def natural(self, origin=None) -> Total:
        return Total(self.log_rate, -self.rate)

    def log_normaliser(self, natural: Total, origin=None) -> Scalar:
        return within(natural.total < 0, lambda rate: -jnp.log(rate), -natural.total)

    def from_stats(self, stats: Total, origin=None) -> Self:
        return self._replace(log_rate=jnp.log(stats.count) - jnp.log(stats.total))

    def width_of(self, stats: Total):
        return stats.total / stats.count
