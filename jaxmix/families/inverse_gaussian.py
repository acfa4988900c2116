"""The inverse Gaussian family of one positive number: first times at which a Brownian motion passes."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float

from ._family import LOG_2_PI, POSITIVE, ExponentialFamily, Moments, exp_of, logs, made, within

FAR = 8.0  # in logarithms: there, and beyond, float32 has no digit of the spread left


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
    candidate: ClassVar[str] = "skewed"
    log_mean: Float[Array, "*stack"]
    log_shape: Float[Array, "*stack"]
    mean, shape = exp_of("log_mean"), exp_of("log_shape")
    variance = property(lambda self: jnp.exp(3 * self.log_mean - self.log_shape))
    about: ClassVar[str] = "log_mean"

    def __init__(self, mean=None, shape=None, *, log_mean=None, log_shape=None):
        pairs = {"mean": (mean, log_mean), "shape": (shape, log_shape)}
        self.log_mean, self.log_shape = logs("InverseGaussian", **pairs)

    def log_base(self, x):
        value, base = self.on_support(x)
        return base - 1.5 * jnp.log(value)

    def stats(self, x, origin=None):
        log = jnp.log(self.on_support(x)[0])
        shift = log - (self.log_mean if origin is None else origin)
        return Moments(jnp.ones_like(log), jnp.expm1(shift), 4 * jnp.sinh(0.5 * shift) ** 2)

    def natural(self, origin=None):
        shift = self.log_mean - (self.log_mean if origin is None else origin)
        half, turn = 0.5 * jnp.exp(self.log_shape - self.log_mean), 2 * jnp.sinh(shift)
        head = 0.5 * (self.log_shape - LOG_2_PI) - half * 4 * jnp.sinh(0.5 * shift) ** 2
        return Moments(head, half * turn, -half * jnp.exp(shift))

    def log_normaliser(self, natural, origin=None):
        ratio = natural.first / natural.second
        centre = self.log_mean if origin is None else origin

        def value(ratio, slope):
            gap = ratio / (1 + jnp.sqrt(1 + ratio))  # of exp(origin) / mean above 1
            return slope * gap * gap - 0.5 * (jnp.log(2 * slope) + centre - LOG_2_PI)

        return within((natural.second < 0) & (ratio > -1), value, ratio, -natural.second)

    def from_stats(self, stats, origin=None) -> Self:
        centre, excess = self.log_mean if origin is None else origin, stats.first / stats.count
        log_mean, log_shape = centre + jnp.log1p(excess), centre - jnp.log(_spread(stats))
        # Far from the origin neither has digits: as of a spread of 1, until statistics are of here.
        above, below = log_mean > centre + FAR, log_mean < centre - FAR
        log_mean = jnp.where(below, centre - jnp.log(stats.second / stats.count), log_mean)
        log_shape = jnp.where(above | below, log_mean, log_shape)
        return made(type(self), log_mean=log_mean, log_shape=log_shape)

    def floor(self, stats, share):
        zero = jnp.zeros_like(stats.count)
        return Moments(zero, zero, share * _spread(stats))

    def on_boundary(self, floor):
        return jnp.exp(self.log_mean - self.log_shape) <= 2 * floor.second

    def recentre(self, stats, old, new):
        ratio, turn = jnp.exp(old - new), 2 * jnp.sinh(old - new)
        first = stats.first * ratio + stats.count * jnp.expm1(old - new)
        square = stats.second / ratio + stats.first * turn
        rise = 4 * jnp.sinh(0.5 * (old - new)) ** 2
        return Moments(stats.count, first, square + stats.count * rise)

    def cdf(self, x):
        root, ratio = jnp.exp(0.5 * (self.log_shape - jnp.log(x))), x * jnp.exp(-self.log_mean)
        far = 2 * jnp.exp(self.log_shape - self.log_mean) + log_ndtr(-root * (ratio + 1))
        return ndtr(root * (ratio - 1)) + jnp.exp(far)

    def sample(self, key):
        """Michael, Schucany and Haas (1976, doi 10.2307/2683801): one of two roots."""
        k_normal, k_root = jax.random.split(key)
        square = jax.random.normal(k_normal, (), self.log_mean.dtype) ** 2
        w = 0.5 * square * jnp.exp(self.log_mean - self.log_shape)
        low = 1 / (1 + w + jnp.sqrt(w * (w + 2)))
        first = jax.random.uniform(k_root, (), w.dtype) <= 1 / (1 + low)
        return self.mean * jnp.where(first, low, 1 / low)


def _spread(stats):
    excess = stats.first / stats.count
    return stats.second / stats.count - excess * excess / (1 + excess)  # exp(origin) / shape
