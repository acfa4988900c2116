"""The uniform density of an interval, which no fit moves."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._family import Refittable, Total, one_event, outside, stated, store


class Uniform(Refittable):
    """Uniform density of an interval: log p(x) = -log(high - low) for low <= x <= high, in nats.

    A fit leaves it as it is: its maximum-likelihood interval would be the data's own ends.
    As a component it takes what no other explains.

    Args:
        low: lower end, a scalar.
        high: upper end, above `low`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Uniform(0, 2).log_prob(jnp.array(1.0)).round(4)
        Array(-0.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True

    low: Float[Array, "*stack"]
    high: Float[Array, "*stack"]

    def __init__(self, low, high):
        store(self, low=low, high=high)

    @classmethod
    def template(cls, low=0.0, high=1.0) -> Self:
        """The density itself: there is nothing to fit."""
        return cls(low, high)

    mean = stated(lambda self: 0.5 * (self.low + self.high))
    variance = stated(lambda self: (self.high - self.low) ** 2 / 12)
    num_parameters = property(lambda self: 0)

    def log_prob(self, x) -> Scalar:
        value = one_event(x, (), self).astype(self.low.dtype)
        inside = (value >= self.low) & (value <= self.high)
        return outside(inside, value) - jnp.log(self.high - self.low)

    def cdf(self, x) -> Scalar:
        return jnp.clip((x - self.low) / (self.high - self.low), 0, 1)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        share = jax.random.uniform(key, (), self.low.dtype)
        return self.low + share * (self.high - self.low)

    def stats(self, x, origin=None) -> Total:
        value = one_event(x, (), self).astype(self.low.dtype)
        return Total(jnp.ones_like(value), jnp.zeros_like(value))

    def from_stats(self, stats: Total, origin=None) -> Self:
        return self

    def expected_log_prob(self, stats: Total, origin=None) -> Scalar:
        return jnp.sum(-stats.count * jnp.log(self.high - self.low))
