"""The normal density cut off outside an interval."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from .._density import one_event
from .._exponential import ExponentialFamily, Moments
from .._newton import newton_maximum
from .._numerics import as_float
from ._domain import Domain
from ._entrances import entrance
from ._moments import mean_and_scatter, recentred
from ._special import LOG_2_PI
from ._support import outside
from .normal import normal_log_normaliser


def log_mass(low, high, finite: tuple[bool, bool]) -> Scalar:
    """Logarithm of the standard normal's mass between two ends, of which some are infinite."""
    below, above = finite
    if not above:
        return jax.scipy.stats.norm.logcdf(-low) if below else jnp.zeros_like(low)
    if not below:
        return jax.scipy.stats.norm.logcdf(high)
    # In the upper tail by its mirror image, where the distribution function keeps its digits.
    swap = low > 0
    a, b = jnp.where(swap, -high, low), jnp.where(swap, -low, high)
    log_b, log_a = jax.scipy.stats.norm.logcdf(b), jax.scipy.stats.norm.logcdf(a)
    return log_b + jnp.log1p(-jnp.exp(log_a - log_b))


class TruncatedNormal(ExponentialFamily):
    """Normal density given that low <= x <= high, in nats; its M-step is a Newton ascent.

    log p(x) = log N(x; loc, scale) - log(Phi((high - loc) / scale) - Phi((low - loc) / scale)).

    Args:
        loc: location of the normal before truncation, a scalar.
        scale: its standard deviation, a positive scalar.
        log_scale: its logarithm, any number, instead.
        low: lower end (static), may be -inf.
        high: upper end (static), may be inf.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.TruncatedNormal(0, 1, low=0.0).log_prob(jnp.array(0.0)).round(4)
        Array(-0.2258, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"loc": 0, "log_scale": 0}

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(
        self, loc, scale=None, *, log_scale=None, low: float = -np.inf, high: float = np.inf
    ):
        log, scale = entrance("TruncatedNormal", scale=scale, log_scale=log_scale)
        self.loc, scale = as_float(loc, scale)
        self.log_scale, self.low, self.high = log(scale), float(low), float(high)

    @classmethod
    def template(cls, *, low: float = -np.inf, high: float = np.inf) -> Self:
        """A placeholder for a fit, at the middle (or the one end) of the interval."""
        ends = [end for end in (low, high) if np.isfinite(end)]
        return cls(sum(ends) / max(len(ends), 1), 1.0, low=low, high=high)

    @property
    def domain(self) -> Domain:
        words = f"a number from {self.low} to {self.high}"
        return Domain(words, low=self.low, high=self.high)

    @property
    def scale(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_scale)

    @property
    def _finite(self):
        return bool(np.isfinite(self.low)), bool(np.isfinite(self.high))

    def _ends(self, loc, scale):
        """The ends in units of the scale; an infinite one as 0, which nothing reads."""
        ends = [end if np.isfinite(end) else 0.0 for end in (self.low, self.high)]
        return (ends[0] - loc) / scale, (ends[1] - loc) / scale

    def log_mass(self) -> Float[Array, "*stack"]:
        """Logarithm of the mass of the interval under the whole normal."""
        return log_mass(*self._ends(self.loc, self.scale), self._finite)

    def _hazards(self):
        """Each end in units of the scale, and the density there; 0 at an infinite one."""
        mass = self.log_mass()
        for end, finite in zip(self._ends(self.loc, self.scale), self._finite, strict=True):
            height = jnp.exp(jax.scipy.stats.norm.logpdf(end) - mass)
            yield end, height if finite else jnp.zeros_like(height)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        (_, low), (_, high) = self._hazards()
        return self.loc + self.scale * (low - high)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        (a, low), (b, high) = self._hazards()
        return self.scale**2 * (1 + a * low - b * high - (low - high) ** 2)

    @property
    def origin(self):
        return self.loc

    def _safe(self, x):
        value = jnp.asarray(x).astype(self.loc.dtype)
        inside = (value >= self.low) & (value <= self.high)
        inner = [end for end in (self.low, self.high) if np.isfinite(end)]
        return jnp.where(inside, value, inner[0] if inner else 0.0), outside(inside, value)

    def log_base(self, x) -> Scalar:
        return self._safe(x)[1]

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        value, base = self._safe(x)
        z = (value - self.loc) * jnp.exp(-self.log_scale)
        return -0.5 * z * z - self.log_scale - 0.5 * LOG_2_PI - self.log_mass() + base

    def cdf(self, x) -> Scalar:
        x = one_event(x, (), self)
        z = (jnp.clip(x, self.low, self.high) - self.loc) * jnp.exp(-self.log_scale)
        (low, _), finite = self._ends(self.loc, self.scale), (self._finite[0], True)
        below = jnp.exp(log_mass(low, z, finite) - self.log_mass())
        return jnp.where(x <= self.low, jnp.zeros_like(below), below)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        low, high = ((end - self.loc) / self.scale for end in (self.low, self.high))
        draw = jax.random.truncated_normal(key, low, high, (), self.loc.dtype)
        return self.loc + self.scale * draw

    def stats(self, x, origin=None) -> Moments:
        r = self._safe(x)[0] - (self.loc if origin is None else origin)
        return Moments(jnp.ones_like(r), r, r * r)

    def natural(self, origin=None) -> Moments:
        shift = self.loc - (self.loc if origin is None else origin)
        precision = jnp.exp(-2 * self.log_scale)
        head = -0.5 * precision * shift * shift - self.log_scale - 0.5 * LOG_2_PI
        return Moments(head - self.log_mass(), precision * shift, -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        """As of every family; inf, too, where no normal density is there to be cut off."""
        inside = natural.second < 0
        second = jnp.where(inside, natural.second, -jnp.ones_like(natural.second))
        scale = jnp.sqrt(-0.5 / second)
        loc = (self.loc if origin is None else origin) - 0.5 * natural.first / second
        value = normal_log_normaliser(natural.first, second)
        value = value + log_mass(*self._ends(loc, scale), self._finite)
        return jnp.where(inside, value, jnp.full_like(value, jnp.inf))

    def from_stats(self, stats: Moments, origin=None) -> Self:
        _, mean, variance = mean_and_scatter(stats, 0)
        centre = (self.loc if origin is None else origin) + mean
        spread = jnp.sqrt(variance)

        def value(theta, given):
            # In units of the data's own mean and spread: theta is 0 without truncation.
            centre, spread = given
            loc, scale = centre + theta[0] * spread, spread * jnp.exp(theta[1])
            square = jnp.exp(-2 * theta[1]) * (1 + theta[0] ** 2)
            return -0.5 * square - theta[1] - log_mass(*self._ends(loc, scale), self._finite)

        best = lambda *given: newton_maximum(value, jnp.zeros((2,), spread.dtype), given)
        theta = jnp.vectorize(best, signature="(),()->(2)")(centre, spread)
        fields = lambda m: (m.loc, m.log_scale)
        loc, log_scale = centre + theta[..., 0] * spread, jnp.log(spread) + theta[..., 1]
        return eqx.tree_at(fields, self, (loc, log_scale))

    def floor(self, stats: Moments, share) -> Moments:
        zero = jnp.zeros_like(stats.count)
        return Moments(zero, zero, share * mean_and_scatter(stats, 0)[2])

    def recentre(self, stats: Moments, old, new) -> Moments:
        return recentred(stats, old, new, 0)

    def on_boundary(self, floor: Moments):
        return jnp.exp(2 * self.log_scale) <= 2 * floor.second
