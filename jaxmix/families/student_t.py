"""Student's t family of one real number: a normal whose precision is gamma distributed."""

from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from ._family import LOG_2_PI, Refittable, exp_of, one_event, store
from ._moments import at_floor, shifted, weighed_variance
from ._special import farther, log_minus_digamma, shape_of, stirling
from ._tails import log_sides

LIMIT = 1e5  # degrees of freedom beyond which a fit doesn't go: a normal, to 1e-10 nats


class LatentScales(NamedTuple):
    """Counts, and sums of E u, E u r, E u r^2 and E[u - 1 - log u], u the latent precision."""

    count: Array
    precision: Array
    first: Array
    second: Array
    gap: Array


class StudentT(Refittable):
    """Student's t density of one real number, in nats.

    log p(x) = log Gamma((df + 1) / 2) - log Gamma(df / 2) - log(df pi) / 2 - log(scale)
    - (df + 1) / 2 log(1 + z^2 / df), z = (x - loc) / scale. EM treats it as a normal of precision
    u / scale^2, u ~ Gamma(df / 2, df / 2) (Liu and Rubin 1995, "ML estimation of the t
    distribution using EM and its extensions").

    Args:
        df: degrees of freedom, a positive scalar.
        loc: location, a scalar.
        scale: a positive scalar.
        log_df, log_scale: their logarithms, any numbers, instead.
        fixed_df: whether a fit leaves `df` as it is.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.StudentT(1, 0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-1.1447, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "loc"

    log_df: Float[Array, "*stack"]
    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    fixed_df: bool = eqx.field(static=True)
    df = exp_of("log_df")
    scale = exp_of("log_scale")

    def __init__(
        self, df=None, loc=None, scale=None, *, log_df=None, log_scale=None, fixed_df: bool = False
    ):
        store(self, df=df, log_df=log_df, loc=loc, scale=scale, log_scale=log_scale)
        self.fixed_df = fixed_df

    @classmethod
    def template(cls, df=4.0, *, fixed_df: bool = False) -> Self:
        """A placeholder for a fit, which begins at these degrees of freedom."""
        return cls(df, 0.0, 1.0, fixed_df=fixed_df)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        """The location where df > 1; NaN below, where there is no mean."""
        return jnp.where(self.df > 1, self.loc, jnp.nan)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        """Infinite where 1 < df <= 2; NaN below."""
        heavy = self.df <= 2
        ratio = self.df / jnp.where(heavy, jnp.ones_like(self.df), self.df - 2)
        finite = jnp.exp(2 * self.log_scale) * ratio
        return jnp.where(heavy, jnp.where(self.df > 1, jnp.inf, jnp.nan), finite)

    num_parameters = property(lambda self: 2 if self.fixed_df else 3)

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        x = one_event(x, (), self)
        k = 0.5 * self.df
        a = k + 0.5
        # The difference of the two log Gammas, without the digits they share at large df.
        head = a * jnp.log1p(0.5 / k) - 0.5 - stirling(a) + stirling(k) - 0.5 * LOG_2_PI
        return head - self.log_scale - a * self._log1p_square(x - self.loc)

    def _log1p_square(self, residual):
        """The logarithm of 1 + z^2 / df: of |z| alone where its square might overflow."""
        log_unit = self.log_scale + 0.5 * self.log_df
        unit, size = jnp.exp(-log_unit), jnp.abs(residual)
        far = size * unit > float(jnp.finfo(residual.dtype).max) ** 0.25
        near = jnp.where(far, jnp.zeros_like(size), residual) * unit
        square = near * near
        # One logarithm for both; of a small square, whose digits the sum loses, by its series. (A
        # compiler takes what the sum was rounded by for 0.)
        log = jnp.log(jnp.where(far, size, 1 + square))
        small = square < (5 * float(jnp.finfo(square.dtype).eps)) ** 0.25
        tiny = jnp.where(small, square, jnp.zeros_like(square))
        series = tiny * (1 - tiny * (1 / 2 - tiny * (1 / 3 - tiny / 4)))
        return jnp.where(far, 2 * (log - log_unit), jnp.where(small, series, log))

    def log_cdf(self, x) -> Scalar:
        residual = x - self.loc
        # With sqrt(df) sinh(u) = |z| the density of u is cosh(u)^-df.
        size = jnp.where(residual < 0, -residual, residual) * jnp.exp(-self.log_scale)
        size = size * jnp.exp(-0.5 * self.log_df)
        size = jnp.minimum(size, 1 / float(jnp.finfo(size.dtype).eps))
        slope = size / jnp.hypot(size, jnp.ones_like(size))  # tanh(u)

        def fall(s):
            short = jnp.minimum(s, jnp.ones_like(s))
            near = jnp.log1p(2 * jnp.sinh(0.5 * short) ** 2 + slope * jnp.sinh(short))
            far = s + jnp.log(0.5 * (1 + slope + (1 - slope) * jnp.exp(-2 * s)))
            return self.df * jnp.where(s < 1, near, far)

        unit = self.log_scale + 0.5 * (self.log_df + self._log1p_square(residual))
        return log_sides(self.log_prob(x) + unit, residual < 0, fall)[0]

    def sample(self, key: Key[Array, ""]) -> Scalar:
        draw = jax.random.t(key, self.df, (), self.loc.dtype)
        return self.loc + self.scale * draw

    def stats(self, x, origin=None) -> LatentScales:
        x = one_event(x, (), self)
        # Beyond this the weight of an event has no digits left, and its square would overflow.
        limit = 0.01 * float(jnp.finfo(self.loc.dtype).max) ** 0.5
        z = jnp.clip((x - self.loc) * jnp.exp(-self.log_scale), -limit, limit)
        r = z * self.scale + (self.loc - origin)
        a = 0.5 * (self.df + 1)
        u = (self.df + 1) / (self.df + z * z)
        excess = (1 - z * z) / (self.df + z * z)  # u - 1, keeping the digits of its logarithm
        # By the logarithm that the log-density is made of: a compiler takes it once for both.
        log_u = jnp.log1p(1 / self.df) - self._log1p_square(x - self.loc)
        gap = excess - log_u + log_minus_digamma(a)
        return LatentScales(jnp.ones_like(r), u, u * r, u * r * r, gap)

    def from_stats(self, stats: LatentScales, origin=None) -> Self:
        shift = stats.first / stats.precision
        own = stats.first * shift
        # Of more than rounding, as of moments: about an origin far away no digit is left.
        scatter = jnp.maximum(stats.second - own, jnp.finfo(own.dtype).eps * own)
        variance = scatter / stats.count
        loc = origin + shift
        log_df = self.log_df
        if not self.fixed_df:
            log_df = self._next_log_df(stats.gap / stats.count)
        return self._replace(log_df=log_df, loc=loc, log_scale=0.5 * jnp.log(variance))

    def begun(self, stats: LatentScales, origin=None) -> Self:
        """Degrees of freedom as they are; far from the data the scale of their mean logarithm.

        There all weights are small, and the steps to the unit of the data many.
        """
        moved = self.from_stats(stats, origin)
        a = 0.5 * (self.df + 1)
        log_square = stats.gap / stats.count + 1 + jnp.log(2 * a) - log_minus_digamma(a)
        far = log_square > 8
        log_scale = jnp.where(far, self.log_scale + 0.5 * log_square, moved.log_scale)
        return moved._replace(log_df=self.log_df, log_scale=log_scale)

    def _next_log_df(self, gap):
        """The step of EM in df, which crawls where df is large, or one of scoring if that is longer.

        In 1 / df, in which the log-likelihood is all but a parabola there; its expected information
        (Lange, Little and Taylor 1989) is 3.5 (df / (df + 1.8))^2 to 1 %.
        """
        plain = jnp.log(2 * shape_of(gap)) - self.log_df
        score = 0.5 * self.df**2 * (gap - log_minus_digamma(0.5 * self.df))
        share = 1 + score * self.df * (1 + 1.8 / self.df) ** 2 / 3.5
        return farther(self.log_df, plain, share, float(np.log(LIMIT)))

    def limits(self, stats=None):
        return {} if self.fixed_df else {"log_df": self.log_df > float(np.log(1e3))}

    def expected_log_prob(self, stats: LatentScales, origin=None) -> Scalar:
        shift = self.loc - origin
        square = shifted(stats.precision, stats.first, stats.second, -shift)[1]
        k = 0.5 * self.df
        normal = -0.5 * jnp.exp(-2 * self.log_scale) * square - self.log_scale * stats.count
        return jnp.sum(normal + stirling(k) * stats.count - k * stats.gap)

    def floor(self, stats: LatentScales, share) -> LatentScales:
        variance = weighed_variance(stats.precision, stats.first, stats.second)
        return LatentScales(*map(jnp.zeros_like, stats))._replace(second=share * variance)

    def recentre(self, stats: LatentScales, old, new) -> LatentScales:
        first, second = shifted(stats.precision, stats.first, stats.second, old - new)
        return stats._replace(first=first, second=second)

    def on_boundary(self, floor: LatentScales):
        return at_floor(jnp.exp(2 * self.log_scale), floor.second, self.loc)
