"""The Skellam family of a whole number: the difference of two counts."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import log_of, times
from ._bessel import _expansion, log_mass, mean_length
from ._family import LOG_2_PI, Domain, Refittable, exp_of, logs
from ._special import deviance

LONE = 9.2  # log 1e4


class TwoCounts(NamedTuple):
    """Counts of events, and sums of the expected counts of which each is the difference."""

    count: Array
    up: Array
    down: Array


class Skellam(Refittable):
    """Skellam density of x = u - v, u ~ Poisson(up) and v ~ Poisson(down), in nats.

    log p(x) = -up - down + x log(up / down) / 2 + log I_|x|(2 sqrt(up down)) (Skellam 1946, doi
    10.2307/2981372). EM completes u and v, E v = sqrt(up down) I_(x + 1) / I_x for x >= 0.

    Example:
        >>> import jaxmix as jm
        >>> jm.Skellam(2, 1).log_prob(1).round(4), jm.Skellam(2, 1).mean
        (Array(-1.4335, dtype=float32), Array(1., dtype=float32))
    """

    domain = Domain("a whole number", whole=True)
    log_up: Float[Array, "*stack"]
    log_down: Float[Array, "*stack"]
    up, down = exp_of("log_up"), exp_of("log_down")
    mean = property(lambda self: self.up - self.down)
    variance = property(lambda self: self.up + self.down)

    def __init__(self, up=None, down=None, *, log_up=None, log_down=None):
        self.log_up, self.log_down = logs("Skellam", up=(up, log_up), down=(down, log_down))

    def log_prob(self, x):
        value, base = self.on_support(x)
        return _log_prob(value, self.log_up, self.log_down) + base

    def sample(self, key):
        k_up, k_down = jax.random.split(key)
        return jax.random.poisson(k_up, self.up) - jax.random.poisson(k_down, self.down)

    def stats(self, x, origin=None):
        value, _ = self.on_support(x)
        return TwoCounts(jnp.ones_like(value), *_expected(value, self.log_up, self.log_down))

    def from_stats(self, stats, origin=None) -> Self:
        log = lambda total: log_of(total) - jnp.log(stats.count)
        return self._replace(log_up=log(stats.up), log_down=log(stats.down))

    def limits(self, stats=None):
        # Beside 1e4 of the one count, the other is a Poisson's of none.
        gap = self.log_up - self.log_down
        return {"log_up": gap < -LONE, "log_down": gap > LONE}

    def expected_log_prob(self, stats, origin=None):
        given = times(stats.up, self.log_up) + times(stats.down, self.log_down)
        return jnp.sum(given - stats.count * (self.up + self.down))


def _parts(x, log_up, log_down):
    """|x|, the argument of the Bessel function, and the root of the sum of their squares."""
    size, kappa = jnp.abs(x), 2 * jnp.exp(0.5 * (log_up + log_down))
    return size, kappa, jnp.hypot(size, kappa)


def _expected(x, log_up, log_down):
    size, kappa, _ = _parts(x, log_up, log_down)
    least = 0.5 * kappa * mean_length(2 * size + 2, kappa)[0]
    return jnp.maximum(x, 0) + least, jnp.maximum(-x, 0) + least


@jax.custom_jvp
def _log_prob(x, log_up, log_down):
    size, kappa, s = _parts(x, log_up, log_down)
    log_more, log_less = jnp.where(x < 0, log_down, log_up), jnp.where(x < 0, log_up, log_down)
    # Far out by Debye's expansion, whose exponent is two Poisson deviances; near by the recurrence.
    less = 0.5 * kappa * (kappa / (s + size))
    far = -deviance(less + size, log_more) - deviance(less, log_less)
    far = far - 0.5 * (LOG_2_PI + jnp.log(s)) + jnp.log1p(_expansion(size, s)[0])
    is_far = s > (30 if x.dtype == jnp.float32 else 100)
    n, kappa = jnp.where(is_far, 0 * size, size), jnp.where(is_far, jnp.ones_like(s), kappa)
    rise = jnp.exp(0.5 * log_up) - jnp.exp(0.5 * log_down)
    near = log_mass(2 * n + 2, kappa) + n * log_more - jax.lax.lgamma(n + 1) - rise * rise
    return jnp.where(is_far, far, near)


@_log_prob.defjvp
def _(primals, tangents):
    x, log_up, log_down = primals
    up, down = _expected(*primals)
    slope = (up - jnp.exp(log_up)) * tangents[1] + (down - jnp.exp(log_down)) * tangents[2]
    return _log_prob(x, log_up, log_down), slope
