"""The inverse Gaussian family of one positive number: first times at which a Brownian motion passes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._family import LOG_2_PI, POSITIVE, ExponentialFamily, Moments, exp_of, stated, store, within
from ._moments import FAR
from ._tails import log_sides


class InverseGaussian(ExponentialFamily):
    """Inverse Gaussian (Wald) density: log p(x) = log(l / (2 pi x^3)) / 2 - l (x - m)^2 / (2 m^2 x).

    Mean m, shape l, variance m^3 / l, in nats (Tweedie 1957, doi 10.1214/aoms/1177706964). The
    statistics are of u = x / exp(origin): counts, u - 1, and (u - 1)^2 / u, right in float32 too.

    Example:
        >>> import jaxmix as jm
        >>> jm.InverseGaussian(mean=1, shape=2).log_prob(1.0).round(4)  # log(1 / pi) / 2
        Array(-0.5724, dtype=float32)
    """

    domain = POSITIVE
    candidate = "skewed"
    log_mean: Float[Array, "*stack"]
    log_shape: Float[Array, "*stack"]
    mean, shape = exp_of("log_mean"), exp_of("log_shape")
    variance = stated(lambda self: self.width * jnp.exp(2 * self.log_mean))
    about, width_in = "log_mean", "second"
    width = property(lambda self: jnp.exp(self.log_mean - self.log_shape))

    def __init__(self, mean=None, shape=None, *, log_mean=None, log_shape=None):
        store(self, mean=mean, log_mean=log_mean, shape=shape, log_shape=log_shape)

    def log_base(self, x):
        value, base = self.on_support(x)
        return base - 1.5 * jnp.log(value)

    def stats(self, x, origin=None):
        shift = jnp.log(self.on_support(x)[0]) - origin
        return Moments(jnp.ones_like(shift), jnp.expm1(shift), 4 * jnp.sinh(0.5 * shift) ** 2)

    def natural(self, origin=None):
        shift = self.log_mean - origin
        half, turn = 0.5 * jnp.exp(self.log_shape - self.log_mean), 2 * jnp.sinh(shift)
        head = 0.5 * (self.log_shape - LOG_2_PI) - half * 4 * jnp.sinh(0.5 * shift) ** 2
        return Moments(head, half * turn, -half * jnp.exp(shift))

    def log_normaliser(self, natural, origin=None):
        ratio = natural.first / natural.second

        def value(ratio, slope):
            gap = ratio / (1 + jnp.sqrt(1 + ratio))  # of exp(origin) / mean above 1
            return slope * gap * gap - 0.5 * (jnp.log(2 * slope) + origin - LOG_2_PI)

        return within((natural.second < 0) & (ratio > -1), value, ratio, -natural.second)

    def from_stats(self, stats, origin=None):
        rise = jnp.log1p(stats.first / stats.count)
        far = jnp.abs(rise) > FAR
        # There neither has digits: as of a width of 1, until statistics are of here.
        rise = jnp.where(rise < -FAR, -jnp.log(stats.second / stats.count), rise)
        log_shape = origin + jnp.where(far, rise, -jnp.log(self.width_of(stats)))
        return self._replace(log_mean=origin + rise, log_shape=log_shape)

    def width_of(self, stats):
        excess = stats.first / stats.count
        return stats.second / stats.count - excess * excess / (1 + excess)

    def recentre(self, stats, old, new):
        move = old - new
        first = stats.first * jnp.exp(move) + stats.count * jnp.expm1(move)
        second = stats.second * jnp.exp(-move) + 2 * stats.first * jnp.sinh(move)
        return Moments(stats.count, first, second + 4 * stats.count * jnp.sinh(0.5 * move) ** 2)

    def log_cdf(self, x):
        shift, wide = jnp.log(x) - self.log_mean, 2 / self.width
        low = wide * jnp.sinh(shift) <= -1  # of log x, below its highest density
        side = jnp.where(low, -jnp.ones_like(x), jnp.ones_like(x))
        half = lambda s: wide * jnp.sinh(0.5 * s) * jnp.sinh(0.5 * s + side * shift)
        return log_sides(self.log_prob(x) + jnp.log(x), low, lambda s: half(s) + 0.5 * side * s)[0]

    def sample(self, key):
        """Michael, Schucany and Haas (1976, doi 10.2307/2683801): one of two roots."""
        k_normal, k_root = jax.random.split(key)
        w = 0.5 * self.width * jax.random.normal(k_normal, (), self.log_mean.dtype) ** 2
        low = 1 / (1 + w + jnp.sqrt(w * (w + 2)))
        first = jax.random.uniform(k_root, (), w.dtype) <= 1 / (1 + low)
        return self.mean * jnp.where(first, low, 1 / low)
