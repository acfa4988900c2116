"""The Kumaraswamy family of one number between 0 and 1, whose parameters EM moves by gradient."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._family import UNIT, Domain, LogDensity, exp_of, logs, one_event, outside


class Kumaraswamy(LogDensity):
    """Kumaraswamy density: log p(x) = log(a b) + (a - 1) log x + (b - 1) log(1 - x^a), 0 < x < 1.

    In nats; P(X <= x) = 1 - (1 - x^a)^b (Kumaraswamy 1980, doi 10.1016/0022-1694(80)90036-0). It is
    no exponential family: it has no statistics, and EM moves it by gradient.

    Example:
        >>> import jaxmix as jm
        >>> jm.Kumaraswamy(2, 3).log_prob(0.5).round(4), jm.Kumaraswamy(2, 3).cdf(0.5).round(4)
        (Array(0.5232, dtype=float32), Array(0.5781, dtype=float32))
    """

    reparametrised: ClassVar[bool] = True
    ranks: ClassVar[dict[str, int]] = {"log_a": 0, "log_b": 0}
    domain: ClassVar[Domain] = UNIT
    log_a: Float[Array, "*stack"]
    log_b: Float[Array, "*stack"]
    a, b = exp_of("log_a"), exp_of("log_b")
    mean = property(lambda self: self._moment(1))
    variance = property(lambda self: self._moment(2) - self._moment(1) ** 2)

    def __init__(self, a=None, b=None, *, log_a=None, log_b=None):
        self.log_a, self.log_b = logs("Kumaraswamy", a=(a, log_a), b=(b, log_b))

    def _moment(self, n):
        lgamma, order = jax.lax.lgamma, 1 + n / self.a
        return jnp.exp(self.log_b + lgamma(order) + lgamma(self.b) - lgamma(order + self.b))

    def _logs(self, x):
        """log x and log(1 - x^a), safe off the support, and 0, -inf or NaN by it."""
        value = one_event(x, (), self).astype(self.log_a.dtype)
        inside = (value > 0) & (value < 1)
        log = jnp.log(jnp.where(inside, value, jnp.full_like(value, 0.5)))
        return log, _log_less(self.a * log), outside(inside, value)

    def log_prob(self, x):
        log, log_less, base = self._logs(x)
        return self.log_a + self.log_b + (self.a - 1) * log + (self.b - 1) * log_less + base

    def cdf(self, x):
        below = -jnp.expm1(self.b * self._logs(x)[1])
        return jnp.where(x <= 0, 0 * below, jnp.where(x >= 1, jnp.ones_like(below), below))

    def sample(self, key):
        log_u = -jax.random.exponential(key, (), self.log_a.dtype)
        return jnp.exp(_log_less(log_u / self.b) / self.a)


def _log_less(log):
    """log(1 - exp(log)) for log < 0, to its own digits at both ends (Maechler 2012)."""
    steep = log < -0.6931472
    far, near = (
        jnp.where(steep, log, -jnp.ones_like(log)),
        jnp.where(steep, -jnp.ones_like(log), log),
    )
    return jnp.where(steep, jnp.log1p(-jnp.exp(far)), jnp.log(-jnp.expm1(near)))
