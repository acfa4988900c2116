"""The Skellam family of a whole number: the difference of two counts."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import log_of, times
from ._bessel import expected_counts, log_mass_of_difference
from ._family import Domain, Refittable, exp_of, stated, store

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
    mean = stated(lambda self: self.up - self.down)
    variance = stated(lambda self: self.up + self.down)

    def __init__(self, up=None, down=None, *, log_up=None, log_down=None):
        store(self, up=up, log_up=log_up, down=down, log_down=log_down)

    def log_prob(self, x):
        value, base = self.on_support(x)
        return log_mass_of_difference(value, self.log_up, self.log_down) + base

    def sample(self, key):
        k_up, k_down = jax.random.split(key)
        return jax.random.poisson(k_up, self.up) - jax.random.poisson(k_down, self.down)

    def stats(self, x, origin=None):
        value, _ = self.on_support(x)
        return TwoCounts(jnp.ones_like(value), *expected_counts(value, self.log_up, self.log_down))

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
