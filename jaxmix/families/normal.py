"""The normal family of one real number, and the log-normal."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ._family import (
    POSITIVE,
    ExponentialFamily,
    Moments,
    entrance,
    of_field,
    one_event,
    stated,
    store,
)
from ._independent import Independent
from ._moments import OfMoments


class Normal(Independent):
    """Normal density of one real number.

    log p(x) = -((x - mean) / scale)^2 / 2 - log(scale) - log(2 pi) / 2, in nats.

    Args:
        mean: location, a scalar.
        scale: standard deviation, a positive scalar; or `log_scale`, its logarithm.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> jm.Normal(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-0.9189, dtype=float32)
        >>> jax.vmap(jm.Normal)(jnp.zeros(3), jnp.ones(3)).stack_shape
        (3,)
    """

    rows_last: ClassVar[bool] = True

    mean: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, mean, scale=None, *, log_scale=None):
        store(self, mean=mean, scale=scale, log_scale=log_scale)

    def cdf(self, x) -> Scalar:
        return jax.scipy.special.ndtr((x - self.mean) * jnp.exp(-self.log_scale))

    def log_cdf(self, x) -> Scalar:
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        # Above the mean by what is missing from 1.
        low, one = z < 0, jnp.ones_like(z)
        above = jnp.log1p(-jax.scipy.special.ndtr(jnp.where(low, -one, -z)))
        return jnp.where(low, jax.scipy.special.log_ndtr(jnp.where(low, z, -one)), above)

    def features(self, residual):
        return jnp.stack([residual, residual * residual])


class LogNormal(ExponentialFamily, OfMoments):
    """Density of exp(y), y normal: log p(x) = log N(log x; mean, scale) - log x for x > 0, in nats.

    Args:
        log_mean: mean of log x.
        log_sd: standard deviation of log x, positive; or `log_scale`, its logarithm.

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
        entrance("LogNormal", log_sd=log_sd, log_scale=log_scale)
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
