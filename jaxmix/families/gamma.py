"""The gamma family of one positive number."""

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._family import POSITIVE, ExponentialFamily, exp_of, one_event, stated, store, within
from ._moments import FAR
from ._special import shape_of, stirling
from ._tails import gamma_sides


class GammaMoments(NamedTuple):
    """Statistics of u = x / exp(origin): counts, sums of u - 1, sums of log u."""

    count: Array
    excess: Array
    log: Array


class Gamma(ExponentialFamily):
    """Gamma density of one positive number, in nats.

    log p(x) = shape log(rate) - log Gamma(shape) + (shape - 1) log x - rate x. The logarithms of
    mean and shape are stored, and statistics are of x over the mean, so that float32 serves large
    shapes too.

    Args:
        shape: a positive scalar.
        rate: inverse scale, a positive scalar; the mean is shape / rate.
        log_shape, log_rate: their logarithms, any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Gamma(2, 1).log_prob(jnp.array(1.0)).round(4)
        Array(-1., dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "log_mean"
    width_in: ClassVar[str] = "log"
    domain = POSITIVE

    log_mean: Float[Array, "*stack"]
    log_shape: Float[Array, "*stack"]
    shape = exp_of("log_shape")
    mean = exp_of("log_mean")
    log_rate = stated(lambda self: self.log_shape - self.log_mean)
    rate = exp_of("log_rate")
    width = property(lambda self: 0.5 / self.shape)

    def __init__(self, shape=None, rate=None, *, log_shape=None, log_rate=None):
        given = store(self, shape=shape, log_shape=log_shape, rate=rate, log_rate=log_rate)
        self.log_mean = self.log_shape - given["log_rate"]

    variance = stated(lambda self: jnp.exp(2 * self.log_mean - self.log_shape))

    def log_base(self, x) -> Scalar:
        value, base = self.on_support(x)
        return base - jnp.log(value)

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        s = self.stats(x)
        return stirling(self.shape) + self.shape * (s.log - s.excess) + self.log_base(x)

    def log_cdf(self, x) -> Scalar:
        head = self.log_prob(x) + jnp.log(x)
        return gamma_sides(head, self.shape, jnp.exp(jnp.log(x) + self.log_rate))[0]

    def sample(self, key: Key[Array, ""]) -> Scalar:
        # On the log scale: at small shapes the draw itself underflows.
        log_draw = jax.random.loggamma(key, self.shape, (), self.log_mean.dtype)
        return jnp.exp(log_draw + self.log_mean - self.log_shape)

    def stats(self, x, origin=None) -> GammaMoments:
        value, _ = self.on_support(x)
        log = jnp.log(value) - origin
        return GammaMoments(jnp.ones_like(log), jnp.expm1(log), log)

    def natural(self, origin=None) -> GammaMoments:
        shift = origin - self.log_mean
        head = stirling(self.shape) + self.shape * (shift - jnp.expm1(shift))
        return GammaMoments(head, -self.shape * jnp.exp(shift), self.shape * jnp.ones_like(shift))

    def log_normaliser(self, natural: GammaMoments, origin=None) -> Scalar:
        def value(shape, slope):
            return slope - shape * (1 + jnp.log(slope / shape)) - stirling(shape)

        inside = (natural.excess < 0) & (natural.log > 0)
        return within(inside, value, natural.log, -natural.excess)

    def from_stats(self, stats: GammaMoments, origin=None) -> Self:
        log, log_excess = stats.log / stats.count, jnp.log1p(stats.excess / stats.count)
        # Far below the origin the mean has no digits: as of a spread of 1, about that of logarithms.
        below = ~(log_excess > -FAR)
        shape = shape_of(jnp.where(below, jnp.ones_like(log), log_excess - log))
        log_excess = jnp.where(below, log, log_excess)
        log_mean = origin + log_excess
        return self._replace(log_mean=log_mean, log_shape=jnp.log(shape))

    def width_of(self, stats: GammaMoments):
        # What the logarithm of a mean has above the mean of a logarithm: the spread on that scale.
        return stats.log / stats.count - jnp.log1p(stats.excess / stats.count)

    def recentre(self, stats: GammaMoments, old, new) -> GammaMoments:
        shift = old - new
        excess = stats.excess * jnp.exp(shift) + stats.count * jnp.expm1(shift)
        return GammaMoments(stats.count, excess, stats.log + stats.count * shift)
