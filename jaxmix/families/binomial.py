"""The binomial family of a number of successes."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from ._family import sigmoid_of, stated, store
from ._support import whole
from ._tails import beta_sides
from .bernoulli import Coins
from .multinomial import COINS, OfTrials, in_parts


class Binomial(Coins, OfTrials):
    """Distribution of the successes in n trials, shifted by `low`, in nats.

    log p(x) = log C(n, s) + s log(prob) + (n - s) log(1 - prob), s = x - low.

    Args:
        trials: the number n of trials (static).
        prob: probability of success, in [0, 1]; or `logits`, log(prob / (1 - prob)).
        low: the least value (static): the support is low, ..., low + n.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Binomial(2, 0.5).log_prob(jnp.array(1)).round(4)
        Array(-0.6931, dtype=float32)
    """

    logit: Float[Array, "*stack"]
    trials: int = eqx.field(static=True)
    low: int = eqx.field(static=True)
    prob = sigmoid_of("logit")

    def __init__(self, trials: int, prob=None, *, logits=None, low: int = 0):
        store(self, prob=prob, logits=logits)
        self.trials, self.low = trials, low

    @classmethod
    def template(cls, trials: int, *, low: int = 0) -> Self:
        """A placeholder for a fit."""
        return cls(trials, 0.5, low=low)

    domain = property(lambda self: whole(self.low, self.low + self.trials))
    mean = stated(lambda self: self.low + self.trials * self.prob)
    variance = stated(lambda self: self.trials * self.prob * jax.nn.sigmoid(-self.logit))

    def _outcomes(self, x):
        """Failures and successes, safe off the support, and 0 or -inf by it."""
        value, base = self.on_support(x)
        wins = value - self.low
        return jnp.stack([self.trials - wins, wins]), base

    def log_cdf(self, x) -> Scalar:
        more = self.low + self.trials - x  # wins that are still possible
        last, more = more == 0, jnp.maximum(more, jnp.ones_like(more))
        head = self.log_prob(x) + jax.nn.log_sigmoid(self.logit) + jnp.log(more)
        shares = jax.nn.sigmoid(-self.logit), self.prob
        below = beta_sides(head, more, self.trials - more + 1, *shares)[0]
        return jnp.where(last, jnp.zeros_like(x), below)

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        if self.trials > COINS:
            sizes = jnp.asarray(in_parts(self.trials), self.logit.dtype)
            draws = jax.random.binomial(key, sizes, self.prob, sizes.shape)
            return self.low + jnp.sum(draws.astype(int))
        return self.low + jnp.sum(jax.random.bernoulli(key, self.prob, (self.trials,)))
