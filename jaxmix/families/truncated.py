"""The normal density cut off outside an interval."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from .._exponential import ExponentialFamily
from .._newton import newton_maximum
from .._refittable import Moments
from ._between import NormalBetween
from ._entrances import stated
from ._moments import mean_and_scatter
from ._special import LOG_2_PI
from ._support import outside, within
from ._window import Window, fall, log_integral, window


class TruncatedNormal(NormalBetween, ExponentialFamily):
    """Normal density given that low <= x <= high, in nats; its M-step is a Newton ascent.

    log p(x) = log N(x; loc, scale) - log(Phi((high - loc) / scale) - Phi((low - loc) / scale)).

    Args:
        loc: location of the normal before truncation, a scalar.
        scale: its standard deviation, a positive scalar; or `log_scale`, its logarithm.
        low: lower end (static), may be -inf.
        high: upper end (static), may be inf.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.TruncatedNormal(0, 1, low=0.0).log_prob(jnp.array(0.0)).round(4)
        Array(-0.2258, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    _window = property(lambda self: window(self.loc, self.scale, self.low, self.high))

    def log_mass(self) -> Float[Array, "*stack"]:
        """Logarithm of the mass of the interval under the whole normal."""
        return log_integral(self._window) - 0.5 * self._window.slope**2 - 0.5 * LOG_2_PI

    def _slopes(self, seen: Window):
        """What the mean is from the window's place, negative, and how it moves with the slope."""
        level = lambda slope: log_integral(seen._replace(slope=slope))
        once = lambda slope: jax.jvp(level, (slope,), (jnp.ones_like(slope),))[1]
        return jax.jvp(once, (seen.slope,), (jnp.ones_like(seen.slope),))

    @property
    def mean(self) -> Float[Array, "*stack"]:
        seen = self._window
        return seen.place - self.scale * self._slopes(seen)[0]

    variance = stated(lambda self: self.scale**2 * self._slopes(self._window)[1])
    origin = property(lambda self: self._window.place)

    def log_prob(self, x) -> Scalar:
        value, base = self.on_support(x)
        seen = self._window
        height = fall(seen, (value - seen.place) / self.scale) - log_integral(seen)
        return height - self.log_scale + base

    def log_cdf(self, x) -> Scalar:
        inside, whole = x > self.low, self._window
        end = jnp.where(inside, x, self.domain.inner)
        part = window(self.loc, self.scale, self.low, end)
        below = fall(whole, (part.place - whole.place) / self.scale) + log_integral(part)
        below = jnp.minimum(below - log_integral(whole), 0)
        return jnp.where(inside, below, outside(jnp.asarray(False), x))

    def sample(self, key: Key[Array, ""]) -> Scalar:
        least = float(jnp.finfo(self.loc.dtype).tiny)
        return self.quantile(jax.random.uniform(key, (), self.loc.dtype, least))

    def stats(self, x, origin=None) -> Moments:
        r = self.on_support(x)[0] - origin
        return Moments(jnp.ones_like(r), r, r * r)

    def natural(self, origin=None) -> Moments:
        precision = jnp.exp(-2 * self.log_scale)
        seen = self._window
        head = fall(seen, (origin - seen.place) / self.scale) - log_integral(seen)
        return Moments(head - self.log_scale, precision * (self.loc - origin), -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        """As of every family; inf, too, where no normal density is there to be cut off."""
        total = lambda fall: self._log_total(natural.first, jnp.sqrt(0.5 / fall), origin, 1.0)
        return within(natural.second < 0, total, -natural.second)

    def _log_total(self, slope, scale, origin, unit) -> Array:
        """Log of the integral of exp(slope r - (r / scale)^2 / 2), r = (x - origin) / unit."""
        ends = [(a - origin) / unit if np.isfinite(a) else a for a in (self.low, self.high)]
        seen = window(slope * scale * scale, scale, *ends)
        level = slope * seen.place - 0.5 * (seen.place / scale) ** 2
        return level + jnp.log(scale) + log_integral(seen)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        _, mean, variance = mean_and_scatter(stats)
        centre = origin + mean
        spread = jnp.sqrt(variance)

        def value(theta, given):
            # In units of the data's own mean and spread, by the slope of the log-density at the
            # mean and the log-scale: theta is 0 without truncation.
            scale = jnp.exp(theta[1])
            return -0.5 / (scale * scale) - self._log_total(theta[0], scale, *given)

        start = jnp.zeros((*spread.shape, 2), spread.dtype)
        theta = newton_maximum(value, start, (centre, spread))
        loc = centre + theta[..., 0] * jnp.exp(2 * theta[..., 1]) * spread
        return self._replace(loc=loc, log_scale=jnp.log(spread) + theta[..., 1])

    def limits(self, stats=None):
        # Of an exponential density the divergence is (variance / scale^2)^2 / 2, of a uniform a tenth.
        return {"log_scale": self.variance < 1.4e-3 * jnp.exp(2 * self.log_scale)}
