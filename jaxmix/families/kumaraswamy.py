"""The Kumaraswamy family of one number between 0 and 1."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float

from ._family import UNIT, exp_of, made, stated, store
from ._powers import ByPowers, Powers, best_shape, log_if_held
from ._special import log_gamma_bend, log_hazard, log_rest


class Kumaraswamy(ByPowers):
    """Kumaraswamy density: log p(x) = log(a b) + (a - 1) log x + (b - 1) log(1 - x^a), 0 < x < 1.

    In nats; P(X <= x) = 1 - (1 - x^a)^b (Kumaraswamy 1980, doi 10.1016/0022-1694(80)90036-0). It is
    no exponential family: an M-step is a Newton step of the profile likelihood of a, and its b.
    With w = -log(1 - x^a), b w is exponentially distributed, and statistics are sums of b w and of
    its derivatives in a.

    Example:
        >>> import jaxmix as jm
        >>> jm.Kumaraswamy(2, 3).log_prob(0.5).round(4), jm.Kumaraswamy(2, 3).cdf(0.5).round(4)
        (Array(0.5232, dtype=float32), Array(0.5781, dtype=float32))
    """

    reparametrised: ClassVar[bool] = True
    domain = UNIT
    log_a: Float[Array, "*stack"]
    log_b: Float[Array, "*stack"]
    a, b = exp_of("log_a"), exp_of("log_b")
    mean = stated(lambda self: self.b * jnp.exp(betaln(1 + 1 / self.a, self.b)))
    variance = stated(lambda self: self.mean**2 * jnp.expm1(self._bend(0) - self._bend(self.b)))

    def __init__(self, a=None, b=None, *, log_a=None, log_b=None):
        store(self, a=a, log_a=log_a, b=b, log_b=log_b)

    origin = property(lambda self: -self.log_b / self.a)  # where b x^a is 1, as a logarithm

    def _bend(self, b):
        return log_gamma_bend(jnp.ones_like(self.a) + b, 1 / self.a)

    def _logs(self, x):
        """log x and log(1 - x^a), safe off the support, and 0, -inf or NaN by it."""
        value, base = self.on_support(x)
        log = jnp.log(value)
        return log, log_rest(self.a * log), base

    def log_prob(self, x):
        log, log_less, base = self._logs(x)
        power = jnp.exp(self.log_b + log_hazard(self.a * log, log_less))
        return self.log_a + self.log_b + (self.a - 1) * log - power - log_less + base

    def cdf(self, x):
        return -jnp.expm1(self.b * self._logs(x)[1])

    def sample(self, key):
        log_u = -jax.random.exponential(key, (), self.log_a.dtype)
        return jnp.exp(log_rest(log_u / self.b) / self.a)

    def stats(self, x, origin=None) -> Powers:
        log, log_less, _ = self._logs(x)
        log_w, one = log_hazard(self.a * log, log_less), jnp.ones_like(log)
        power = jnp.exp(log_w - self.a * origin)
        slope = log * jnp.exp(self.a * log - log_less - log_w)  # of log w in a, and its own
        bend = slope * (log * jnp.exp(-log_less) - slope)
        fall = slope - origin
        first, second = power * fall, power * (fall * fall + bend)
        return Powers(one, self.a * one, log - origin, power, first, second)

    def from_stats(self, stats: Powers, origin=None) -> Self:
        _, mean, spread = stats.cumulants()
        old = stats.own_shape()
        # Beside b w stands w, that about 0, convex in a: by its parabola, or its tangent below.
        _, tangent, curve = (s / stats.count for s in self.recentre(stats, origin, 0.0)[3:])
        slope, bend = mean - stats.log / stats.count - tangent, spread - curve
        fall = slope - old * bend
        bend = jnp.where((fall > 0) & (fall * fall + 4 * bend > 0), bend, spread)
        a = best_shape(old, slope, bend)
        level = stats.log_power_at(a) - jnp.log(stats.count)
        return made(type(self), log_a=log_if_held(a, origin), log_b=-level - a * origin)

    def expected_log_prob(self, stats: Powers, origin=None):
        shift = self.a - stats.own_shape()
        power = stats.log_power_at(self.a) + self.a * origin + self.log_b
        power = jnp.where(stats.count > 0, jnp.exp(power), jnp.zeros_like(power))
        w, tangent, curve = self.recentre(stats, origin, 0.0)[3:]
        head = stats.count * (self.log_a + self.log_b) + self.a * (stats.log + stats.count * origin)
        return jnp.sum(head - power + w + shift * (tangent + 0.5 * shift * curve))
