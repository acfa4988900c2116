"""The Laplace family of one real number: a normal whose variance is exponential."""

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from ._family import Refittable, as_float, exp_of, logs, one_event

NEAR = 1e-6  # in scales: a residual below this weighs no more


class Weighed(NamedTuple):
    """Counts; sums of a weight u = 1 / |x - old loc|, of u r, of u r^2, and of 1 / u."""

    count: Array
    weight: Array
    first: Array
    second: Array
    size: Array


class Laplace(Refittable):
    """Laplace density of one real number: log p(x) = -|x - loc| / scale - log(2 scale), in nats.

    EM treats it as a normal of random variance (Andrews and Mallows 1974): residuals are weighed
    by the inverse of their old size, which at 1e-6 scales is taken as that.

    Args:
        loc: location (mean and median), a scalar.
        scale: mean absolute deviation, a positive scalar.
        log_scale: its logarithm, any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Laplace(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-0.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "loc"

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    scale = exp_of("log_scale")

    def __init__(self, loc, scale=None, *, log_scale=None):
        (log_scale,) = logs("Laplace", scale=(scale, log_scale))
        self.loc, self.log_scale = as_float(loc, log_scale)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.loc

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return 2 * jnp.exp(2 * self.log_scale)

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        x = one_event(x, (), self)
        z = jnp.abs(x - self.loc) * jnp.exp(-self.log_scale)
        return -z - self.log_scale - jnp.log(jnp.full_like(z, 2))

    def cdf(self, x) -> Scalar:
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        tail = 0.5 * jnp.exp(-jnp.abs(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def log_cdf(self, x) -> Scalar:
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        above = jnp.log1p(-0.5 * jnp.exp(-jnp.maximum(z, 0)))
        return jnp.where(z < 0, z - float(np.log(2)), above)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.loc + self.scale * jax.random.laplace(key, (), self.loc.dtype)

    def stats(self, x, origin=None) -> Weighed:
        x = one_event(x, (), self)
        r = x - (self.loc if origin is None else origin)
        size = jnp.maximum(jnp.abs(x - self.loc), NEAR * self.scale)
        return Weighed(jnp.ones_like(r), 1 / size, r / size, r * (r / size), size)

    def from_stats(self, stats: Weighed, origin=None) -> Self:
        shift = stats.first / stats.weight
        square = stats.second - stats.first * shift
        scale = (square + stats.size) / (2 * stats.count)
        loc = (self.loc if origin is None else origin) + shift
        return self._replace(loc=loc, log_scale=jnp.log(scale))

    def expected_log_prob(self, stats: Weighed, origin=None) -> Scalar:
        shift = self.loc - (self.loc if origin is None else origin)
        square = stats.second - 2 * shift * stats.first + shift * shift * stats.weight
        log_height = -self.log_scale - float(np.log(2))
        return jnp.sum(stats.count * log_height - 0.5 * (square + stats.size) / self.scale)

    def floor(self, stats: Weighed, share) -> Weighed:
        zero = jnp.zeros_like(stats.count)
        # By the weights and not the counts: far from a template's location both are small alike.
        variance = (stats.second - stats.first**2 / stats.weight) / stats.weight
        floor = share * variance
        none = floor <= 0  # the derivative of the root of 0 is infinite
        root = jnp.where(none, zero, jnp.sqrt(jnp.where(none, jnp.ones_like(floor), floor)))
        return Weighed(zero, zero, zero, zero, root)

    def recentre(self, stats: Weighed, old, new) -> Weighed:
        shift = old - new
        first = stats.first + shift * stats.weight
        second = stats.second + 2 * shift * stats.first + shift * shift * stats.weight
        return Weighed(stats.count, stats.weight, first, second, stats.size)

    def on_boundary(self, floor: Weighed):
        return self.scale <= floor.size
