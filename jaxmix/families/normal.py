"""The normal family of one real number, and the log-normal."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._family import (
    LOG_2_PI,
    POSITIVE,
    ExponentialFamily,
    Moments,
    ProductForm,
    as_float,
    entrance,
    exp_of,
    logs,
    of_field,
    one_event,
    stated,
    within,
)
from ._moments import OfMoments, at_floor, mean_and_scatter


def normal_log_normaliser(first: Array, second: Array) -> Array:
    """Log of the integral of exp(first r + second r^2) over the reals; inf for second >= 0."""
    value = lambda precision: 0.5 * (first * first / precision - jnp.log(precision) + LOG_2_PI)
    return within(second < 0, value, -2 * second)


class Normal(ProductForm, OfMoments):
    """Normal density of one real number.

    log p(x) = -((x - mean) / scale)^2 / 2 - log(scale) - log(2 pi) / 2, in nats.

    Args:
        mean: location, a scalar.
        scale: standard deviation, a positive scalar.
        log_scale: its logarithm, any number, instead.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> jm.Normal(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-0.9189, dtype=float32)
        >>> jax.vmap(jm.Normal)(jnp.zeros(3), jnp.ones(3)).stack_shape
        (3,)
    """

    reparametrised: ClassVar[bool] = True
    rows_last: ClassVar[bool] = True
    about: ClassVar[str] = "mean"

    mean: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    scale = exp_of("log_scale")
    variance = exp_of("log_scale", 2)

    def __init__(self, mean, scale=None, *, log_scale=None):
        (log_scale,) = logs("Normal", scale=(scale, log_scale))
        self.mean, self.log_scale = as_float(mean, log_scale)

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return -0.5 * z * z - self.log_scale - 0.5 * LOG_2_PI

    def cdf(self, x) -> Scalar:
        return jax.scipy.special.ndtr((x - self.mean) * jnp.exp(-self.log_scale))

    def log_cdf(self, x) -> Scalar:
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        # Above the mean by what is missing from 1.
        low, one = z < 0, jnp.ones_like(z)
        above = jnp.log1p(-jax.scipy.special.ndtr(jnp.where(low, -one, -z)))
        return jnp.where(low, jax.scipy.special.log_ndtr(jnp.where(low, z, -one)), above)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.mean + self.scale * jax.random.normal(key, (), self.mean.dtype)

    def stats(self, x, origin=None) -> Moments:
        r = one_event(x, (), self) - origin
        return Moments(jnp.ones_like(r), r, r * r)

    def natural(self, origin=None) -> Moments:
        shift = self.mean - origin
        precision = jnp.exp(-2 * self.log_scale)
        head = -0.5 * precision * shift * shift - self.log_scale - 0.5 * LOG_2_PI
        return Moments(head, precision * shift, -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        return normal_log_normaliser(natural.first, natural.second)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        _, shift, variance = mean_and_scatter(stats)
        mean = origin + shift
        return self._replace(mean=mean, log_scale=0.5 * jnp.log(variance))

    def features(self, residual):
        return jnp.stack([residual, residual * residual])

    def product_natural(self, origin):
        natural = self.natural(origin)
        return natural.count, jnp.stack([natural.first, natural.second], axis=-1)

    def from_features(self, count, sums) -> Moments:
        return Moments(count, sums[..., 0], sums[..., 1])

    def spread(self, origin):
        return ((self.mean - origin) * jnp.exp(-self.log_scale)) ** 2

    def on_boundary(self, floor: Moments):
        return at_floor(self.variance, floor.second, self.mean)


class LogNormal(ExponentialFamily, OfMoments):
    """Density of exp(y), y normal: log p(x) = log N(log x; mean, scale) - log x for x > 0, in nats.

    Args:
        log_mean: mean of log x.
        log_sd: standard deviation of log x, positive.
        log_scale: its logarithm, any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.LogNormal(0, 1).log_prob(jnp.array(-1.0))
        Array(-inf, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    domain = POSITIVE

    log: Normal
    log_mean = origin = of_field("log", "mean")
    log_sd = of_field("log", "scale")
    natural, log_normaliser = of_field("log", "natural"), of_field("log", "log_normaliser")
    on_boundary = of_field("log", "on_boundary")

    def __init__(self, log_mean, log_sd=None, *, log_scale=None):
        _, _ = entrance("LogNormal", log_sd=log_sd, log_scale=log_scale)
        self.log = Normal(log_mean, log_sd, log_scale=log_scale)

    @classmethod
    def template(cls) -> Self:
        return cls(0.0, 1.0)

    mean = stated(lambda self: jnp.exp(self.log.mean + 0.5 * self.log.variance))
    variance = stated(lambda self: jnp.expm1(self.log.variance) * self.mean**2)
    num_parameters = property(lambda self: 2)

    def _log(self, x):
        """Logarithm of a number made positive, and 0, -inf or NaN as it is."""
        value, base = POSITIVE.safe(one_event(x, (), self), self.log.mean.dtype)
        return jnp.log(value), base

    def log_base(self, x) -> Scalar:
        log, base = self._log(x)
        return base - log

    def log_prob(self, x) -> Scalar:
        log, base = self._log(x)
        return self.log.log_prob(log) - log + base

    def log_cdf(self, x) -> Scalar:
        log, base = self._log(x)
        return self.log.log_cdf(log) + base

    def sample(self, key):
        return jnp.exp(self.log.sample(key))

    def stats(self, x, origin=None) -> Moments:
        return self.log.stats(self._log(x)[0], origin)

    def from_stats(self, stats, origin=None) -> Self:
        return self._replace(log=self.log.from_stats(stats, origin))
