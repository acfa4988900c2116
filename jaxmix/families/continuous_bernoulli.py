"""The continuous Bernoulli family of one number from 0 to 1."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._bessel import concentration_of, log_mass
from ._family import Domain, ExponentialFamily, Total, made, sigmoid_of, stated, store


class ContinuousBernoulli(ExponentialFamily):
    """Continuous Bernoulli density: log p(x) = h (x - 1/2) - log(sinh(h / 2) / (h / 2)), 0 <= x <= 1.

    It is proportional to prob^x (1 - prob)^(1 - x), h = logit(prob), in nats (Loaiza-Ganem and
    Cunningham 2019, arXiv 1907.06845). Its normaliser is that of a direction in three dimensions.

    Example:
        >>> import jaxmix as jm
        >>> jm.ContinuousBernoulli(0.5).log_prob(0.3), jm.ContinuousBernoulli(0.9).mean.round(4)
        (Array(0., dtype=float32), Array(0.6699, dtype=float32))
    """

    reparametrised: ClassVar[bool] = True
    domain = Domain("a number from 0 to 1", low=0, high=1)
    logit: Float[Array, "*stack"]
    prob = sigmoid_of("logit")
    mean = stated(lambda self: 0.5 + self.mean_stats().total)

    @property
    def variance(self):
        log_mass = lambda t: self.log_normaliser(Total(jnp.zeros_like(t), t))
        return jnp.vectorize(jax.grad(jax.grad(log_mass)))(self.logit)

    def __init__(self, prob=None, *, logits=None):
        store(self, prob=prob, logits=logits)

    def stats(self, x, origin=None):
        value = self.on_support(x)[0]
        return Total(jnp.ones_like(value), value - 0.5)

    def natural(self, origin=None):
        free = Total(jnp.zeros_like(self.logit), self.logit)
        return free._replace(count=-self.log_normaliser(free))

    def log_normaliser(self, natural, origin=None):
        half = 0.5 * jnp.abs(natural.total)
        near = half < 1e-3  # where the recurrence would divide by 0: its series
        safe = jnp.where(near, jnp.ones_like(half), half)
        series = natural.total**2 / 24
        return jnp.where(near, series, safe + log_mass(3, safe))

    def from_stats(self, stats, origin=None) -> Self:
        length = 2 * jnp.abs(stats.total / stats.count)
        half = concentration_of(3, length, 1 - length * length)
        near = jnp.where(length == 0, jnp.zeros_like(half), half)
        return made(type(self), logit=2 * jnp.sign(stats.total) * near)

    def _steep(self):
        slope = jnp.abs(self.logit)  # of a density that falls; one that rises is its mirror image
        near = slope < 1e-4
        return slope, near, jnp.where(near, jnp.ones_like(slope), slope)

    def cdf(self, x):
        slope, near, safe = self._steep()
        below = jnp.expm1(-safe * x) / jnp.expm1(-safe)
        below = jnp.where(near, x * (1 + 0.5 * slope * (1 - x)), below)
        return below * jnp.where(self.logit > 0, jnp.exp(-slope * (1 - x)), jnp.ones_like(x))

    def sample(self, key):
        u = jax.random.uniform(key, (), self.logit.dtype)
        slope, near, safe = self._steep()
        x = -jnp.log1p(u * jnp.expm1(-safe)) / safe
        x = jnp.where(near, u * (1 - 0.5 * slope * (1 - u)), x)
        return jnp.where(self.logit > 0, 1 - x, x)
