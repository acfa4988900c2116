"""The Weibull family of one positive number: lifetimes."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._family import POSITIVE, Domain, exp_of, made, stated, store
from ._powers import ByPowers, Powers, best_shape, log_if_held
from ._special import log_gamma_bend, log_one_less_exp


class Weibull(ByPowers):
    """Weibull density of one positive number, in nats.

    log p(x) = log(shape / scale) + (shape - 1) log(x / scale) - (x / scale)^shape.
    It is no exponential family: an M-step is a Newton step of the profile likelihood of the shape,
    and the scale is that of maximum likelihood at it (Farnum and Booth 1997, doi 10.1109/24.693786).

    Args:
        shape: a positive scalar.
        scale: a positive scalar.
        log_shape, log_scale: their logarithms, any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Weibull(1, 2).log_prob(jnp.array(2.0)).round(4)
        Array(-1.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    domain: ClassVar[Domain] = POSITIVE
    log_shape: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    shape, scale = exp_of("log_shape"), exp_of("log_scale")
    origin = property(lambda self: self.log_scale)  # pyright: ignore[reportAssignmentType]

    def __init__(self, shape=None, scale=None, *, log_shape=None, log_scale=None):
        store(self, shape=shape, log_shape=log_shape, scale=scale, log_scale=log_scale)

    mean = stated(lambda self: self.scale * jnp.exp(jax.lax.lgamma(1 + 1 / self.shape)))
    _bend = property(lambda self: log_gamma_bend(jnp.ones_like(self.shape), 1 / self.shape))
    variance = stated(lambda self: self.mean**2 * jnp.expm1(self._bend))

    @property
    def bare(self) -> Self:
        """Of so small a shape all powers are 1, and the statistics those of log x in any unit."""
        return made(type(self), log_shape=self.log_shape - 60, log_scale=self.log_scale)

    def log_prob(self, x):
        value, base = self.on_support(x)
        power = self.shape * (jnp.log(value) - self.log_scale)
        return self.log_shape - jnp.log(value) + power - jnp.exp(power) + base

    def log_cdf(self, x):
        return log_one_less_exp(self.shape * (jnp.log(x) - self.log_scale))

    def sample(self, key):
        draw = jax.random.exponential(key, (), self.log_shape.dtype)
        return self.scale * draw ** (1 / self.shape)

    def stats(self, x, origin=None) -> Powers:
        log = jnp.log(self.on_support(x)[0])
        v = log - origin
        w, one = jnp.exp(self.shape * v), jnp.ones_like(v)
        return Powers(one, self.shape * one, v, w, w * v, w * v * v)

    def from_stats(self, stats: Powers, origin=None) -> Self:
        _, mean, spread = stats.cumulants()
        shape = best_shape(stats.own_shape(), mean - stats.log / stats.count, spread)
        level = stats.log_power_at(shape) - jnp.log(stats.count)
        log_scale = origin + level / shape
        log_shape = log_if_held(shape, log_scale)
        return made(type(self), log_shape=log_shape, log_scale=log_scale)

    def expected_log_prob(self, stats: Powers, origin=None):
        moved = self.shape * (self.log_scale - origin)
        power = jnp.exp(stats.log_power_at(self.shape) - moved)
        power = jnp.where(stats.count > 0, power, jnp.zeros_like(power))
        return jnp.sum(stats.count * (self.log_shape - moved) + self.shape * stats.log - power)
