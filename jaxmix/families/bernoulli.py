"""The Bernoulli family of a truth value."""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Scalar

from .._log_sums import logsumexp
from .._numerics import log_of
from ._family import ExponentialFamily, one_event, sigmoid_of, stated, store
from ._support import TRUTH
from .categorical import Counts, even


class Coins(ExponentialFamily):
    """What families of failures and successes share: counts of both, and the logits of one field."""

    zero_is_valid: ClassVar[bool] = True
    trials: ClassVar[Any] = 1

    def natural(self, origin=None) -> Counts:
        (field,) = self.ranks
        logit = getattr(self, field)
        outcomes = jax.nn.log_sigmoid(jnp.stack([-logit, logit], axis=-1))
        return Counts(jnp.zeros(self.stack_shape, outcomes.dtype), outcomes)

    def from_stats(self, stats: Counts, origin=None) -> Self:
        (field,), log = self.ranks, log_of(stats.outcomes)
        return self._replace(**{field: log[..., 1] - log[..., 0]})

    def floor(self, stats: Counts, share) -> Counts:
        return even(stats, share, self.trials)


class Bernoulli(Coins):
    """Distribution of 0 or 1: log p(x) = x log(prob) + (1 - x) log(1 - prob), in nats.

    Args:
        prob: probability of 1, in [0, 1]; 0 and 1 are valid, and their gradient is 0.
        logits: log(prob / (1 - prob)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Bernoulli(0.25).log_prob(jnp.array(True)).round(4)
        Array(-1.3863, dtype=float32)
    """

    domain = TRUTH

    logit: Float[Array, "*stack"]
    prob = mean = sigmoid_of("logit")

    def __init__(self, prob=None, *, logits=None):
        store(self, prob=prob, logits=logits)

    variance = stated(lambda self: self.prob * jax.nn.sigmoid(-self.logit))

    def _hot(self, x):
        value = one_event(x, (), self).astype(self.logit.dtype)
        return (value == 0, value == 1), value

    def log_prob(self, x) -> Scalar:
        (_, one), _ = self._hot(x)
        # Chosen, and no product with a logarithm of zero, which would be NaN; of many events each
        # logarithm is taken once.
        log = jax.nn.log_sigmoid
        return jnp.where(one, log(self.logit), log(-self.logit)) + self.log_base(x)

    def cdf(self, x) -> Scalar:
        return jnp.where(x < 1, jax.nn.sigmoid(-self.logit), jnp.ones_like(x))

    def sample(self, key: Key[Array, ""]) -> Bool[Array, ""]:
        return jax.random.bernoulli(key, self.prob, ())

    def stats(self, x, origin=None) -> Counts:
        hot, value = self._hot(x)
        return Counts(jnp.ones_like(value), jnp.stack(hot).astype(value.dtype))

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return logsumexp(natural.outcomes)
