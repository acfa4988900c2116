"""The Bernoulli family of a truth value."""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Scalar

from .._log_sums import logsumexp
from .._numerics import log_of
from ._family import ExponentialFamily, one_event, outside, sigmoid_of, stated, store
from ._support import TRUTH, chosen
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


class Flips(Coins):
    """Families of truth values, one or a vector of them, with logits of the same shape."""

    _logits = property(lambda self: getattr(self, next(iter(self.ranks))))
    _event_shape = property(lambda self: self._logits.shape[len(self.stack_shape) :])

    def _hot(self, x):
        value = one_event(x, self._event_shape, self).astype(self._logits.dtype)
        return jnp.stack([value == 0, value == 1], -1).astype(value.dtype), value

    def log_base(self, x) -> Scalar:
        _, value = self._hot(x)
        return jnp.sum(outside((value == 0) | (value == 1), value))

    def log_prob(self, x) -> Scalar:
        return chosen(self.natural().outcomes, self._hot(x)[0]) + self.log_base(x)

    def sample(self, key: Key[Array, ""]) -> Bool[Array, "..."]:
        return jax.random.bernoulli(key, jax.nn.sigmoid(self._logits))

    def stats(self, x, origin=None) -> Counts:
        hot, _ = self._hot(x)
        return Counts(jnp.ones((), hot.dtype), hot)

    def pair(self, t: Counts, x, origin=None) -> Scalar:
        # A dot, so that over data and a stack it is a product of matrices.
        return t.count + jnp.vdot(t.outcomes, self._hot(x)[0])

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        each = logsumexp(natural.outcomes)
        return jnp.sum(each, -1) if self._event_shape else each


class Bernoulli(Flips):
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

    def cdf(self, x) -> Scalar:
        return jnp.where(x < 1, jax.nn.sigmoid(-self.logit), jnp.ones_like(x))
