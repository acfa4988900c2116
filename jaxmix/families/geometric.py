"""The geometric family of the number of trials up to the first success."""

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._numerics import log_of
from ._family import TRIALS, ExponentialFamily, sigmoid_of, stated, store, times, within


class Trials(NamedTuple):
    """Statistics of trials: how many events, and their failures (trials less the success)."""

    count: Array
    failures: Array


class Geometric(ExponentialFamily):
    """Geometric density of 1, 2, ...: log p(x) = (x - 1) log(1 - prob) + log(prob), in nats.

    Args:
        prob: probability of success, in (0, 1]; at 1 every event is 1.
        logits: log(prob / (1 - prob)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Geometric(0.5).log_prob(jnp.array(1)).round(4)
        Array(-0.6931, dtype=float32)
        >>> jm.Geometric(0.5).log_prob(jnp.array(0))
        Array(-inf, dtype=float32)
    """

    domain = TRIALS
    zero_is_valid: ClassVar[bool] = True

    logit: Float[Array, "*stack"]
    prob = sigmoid_of("logit")

    def __init__(self, prob=None, *, logits=None):
        store(self, prob=prob, logits=logits)

    mean = stated(lambda self: 1 + jnp.exp(-self.logit))
    variance = stated(lambda self: jnp.exp(-self.logit) * self.mean)

    def log_prob(self, x) -> Scalar:
        value, base = self.on_support(x)
        natural = self.natural()
        return natural.count + times(value - 1, natural.failures) + base

    def cdf(self, x) -> Scalar:
        return -jnp.expm1(x * jax.nn.log_sigmoid(-self.logit))

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.geometric(key, self.prob, ())

    def stats(self, x, origin=None) -> Trials:
        value, _ = self.on_support(x)
        return Trials(jnp.ones_like(value), value - 1)

    def natural(self, origin=None) -> Trials:
        return Trials(jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit))

    def log_normaliser(self, natural: Trials, origin=None) -> Scalar:
        value = lambda fall: -jnp.log(-jnp.expm1(-fall))
        return within(natural.failures < 0, value, -natural.failures)

    def from_stats(self, stats: Trials, origin=None) -> Self:
        return self._replace(logit=jnp.log(stats.count) - log_of(stats.failures))

    def floor(self, stats: Trials, share) -> Trials:
        return Trials(jnp.zeros_like(stats.count), share * (1 + stats.failures / stats.count))
