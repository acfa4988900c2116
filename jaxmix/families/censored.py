"""The normal density of a number of which only its being beyond an end is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float, Key, Scalar

from .._numerics import tree_vdot
from .._refittable import Moments
from ._between import NormalBetween
from ._entrances import stated
from ._special import LOG_2_PI
from .normal import Normal


class CensoredNormal(NormalBetween):
    """A normal number, recorded as `low` where it is below it and as `high` where above, in nats.

    log p(x) = log N(x; loc, scale) between the ends, log Phi((low - loc) / scale) at the lower end
    and log Phi((loc - high) / scale) at the upper one: a density with respect to length plus a unit
    mass at each end (Tobin 1958, doi:10.2307/1907382). EM treats what was censored as missing: its
    statistics are the moments of the tail.

    Args:
        loc: location of the normal, a scalar.
        scale: its standard deviation, a positive scalar; or `log_scale`, its logarithm.
        low: lower end (static), may be -inf.
        high: upper end (static), may be inf.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.CensoredNormal(0, 1, low=0.0).log_prob(jnp.array(0.0)).round(4)
        Array(-0.6931, dtype=float32)
    """

    about = "loc"
    bare = property(lambda self: self._replace(log_scale=self.log_scale - 30))

    def _tails(self):
        """For each finite end: its sign, itself, its distance from loc outwards in scales."""
        for side, end in ((-1.0, self.low), (1.0, self.high)):
            if np.isfinite(end):
                yield side, end, side * (end - self.loc) * jnp.exp(-self.log_scale)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        """Of what is recorded."""
        return self._moments()[0]

    variance = stated(lambda self: self._moments()[1])

    def _moments(self):
        # Moments about loc: of the whole normal, less those of each tail, plus the ends' own.
        first, second = jnp.zeros_like(self.loc), jnp.exp(2 * self.log_scale)
        for side, _, z in self._tails():
            tail, height = ndtr(-z), jnp.exp(-0.5 * z * z - 0.5 * LOG_2_PI)
            first = first + side * self.scale * (z * tail - height)
            second = second + self.scale**2 * ((z * z - 1) * tail - z * height)
        return self.loc + first, second - first * first

    def log_prob(self, x) -> Scalar:
        x, base = self.on_support(x)
        value = Normal(self.loc, log_scale=self.log_scale).log_prob(x)
        for _, end, z in self._tails():
            value = jnp.where(x == end, log_ndtr(-z), value)
        return value + base

    def cdf(self, x) -> Scalar:
        below = ndtr((x - self.loc) * jnp.exp(-self.log_scale))
        return jnp.where(x >= self.high, jnp.ones_like(below), below)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        draw = self.loc + self.scale * jax.random.normal(key, (), self.loc.dtype)
        return jnp.clip(draw, self.low, self.high)

    def stats(self, x, origin=None) -> Moments:
        shift = self.loc - origin
        x, _ = self.on_support(x)
        first = x - self.loc
        second = first * first
        for side, end, z in self._tails():
            # E[y | y beyond the end] by the tail's hazard, which keeps its digits far out.
            hazard = jnp.exp(-0.5 * z * z - 0.5 * LOG_2_PI - log_ndtr(-z))
            hit = x == end
            first = jnp.where(hit, side * self.scale * hazard, first)
            second = jnp.where(hit, jnp.exp(2 * self.log_scale) * (1 + z * hazard), second)
        second = second + 2 * first * shift + shift * shift
        return Moments(jnp.ones_like(first), first + shift, second)

    def expected_log_prob(self, stats: Moments, origin=None) -> Scalar:
        normal = Normal(self.loc, log_scale=self.log_scale)
        return tree_vdot(normal.natural(origin), stats)
