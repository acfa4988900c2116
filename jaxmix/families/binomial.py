"""The binomial family of a number of successes."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._density import one_event
from .._exponential import ExponentialFamily
from .._numerics import as_float, logit_of, logsumexp
from ._entrances import entrance
from ._special import deviance, log_factorial_gap
from ._support import Domain, counted, outside, times, whole
from .categorical import Counts


class Binomial(ExponentialFamily):
    """Distribution of the successes in n trials, shifted by `low`, in nats.

    log p(x) = log C(n, s) + s log(prob) + (n - s) log(1 - prob), s = x - low.

    Args:
        trials: the number n of trials (static).
        prob: probability of success, in [0, 1].
        logits: log(prob / (1 - prob)), any number, instead.
        low: the least value (static): the support is low, ..., low + n.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Binomial(2, 0.5).log_prob(jnp.array(1)).round(4)
        Array(-0.6931, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"logit": 0}
    zero_is_valid: ClassVar[bool] = True

    logit: Float[Array, "*stack"]
    trials: int = eqx.field(static=True)
    low: int = eqx.field(static=True)

    def __init__(self, trials: int, prob=None, *, logits=None, low: int = 0):
        logit, prob = entrance("Binomial", logit_of, prob=prob, logits=logits)
        (prob,) = as_float(prob)
        self.logit, self.trials, self.low = logit(prob), trials, low

    @classmethod
    def template(cls, trials: int, *, low: int = 0) -> Self:
        """A placeholder for a fit."""
        return cls(trials, 0.5, low=low)

    @property
    def domain(self) -> Domain:
        return whole(self.low, self.low + self.trials)

    @property
    def prob(self) -> Float[Array, "*stack"]:
        return jax.nn.sigmoid(self.logit)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.low + self.trials * self.prob

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return self.trials * self.prob * jax.nn.sigmoid(-self.logit)

    def _outcomes(self, x):
        """Failures and successes, safe off the support, and 0 or -inf by it."""
        value, base = counted(x, self.logit.dtype, self.low)
        wins = value - self.low
        inside = wins <= self.trials
        wins = jnp.where(inside, wins, jnp.zeros_like(wins))
        return jnp.stack([self.trials - wins, wins]), base + outside(inside, value)

    def log_base(self, x) -> Scalar:
        outcomes, base = self._outcomes(x)
        n = jnp.asarray(self.trials + 1, outcomes.dtype)
        return base + jax.lax.lgamma(n) - jnp.sum(jax.lax.lgamma(outcomes + 1))

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        outcomes, base = self._outcomes(x)
        n = jnp.asarray(self.trials, outcomes.dtype)
        expected = jnp.log(n) + self.natural().outcomes
        each = log_factorial_gap(outcomes) - deviance(outcomes, expected)
        return jnp.sum(each) - log_factorial_gap(n) + base

    def cdf(self, x) -> Scalar:
        x = one_event(x, (), self).astype(self.logit.dtype)
        wins = jnp.floor(x) - self.low
        inside = (wins >= 0) & (wins < self.trials)
        k = jnp.where(inside, wins, jnp.zeros_like(wins))
        below = jax.lax.betainc(self.trials - k, k + 1, jax.nn.sigmoid(-self.logit))
        return jnp.where(inside, below, jnp.where(wins < 0, jnp.zeros_like(k), jnp.ones_like(k)))

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        # As many coins: exact at every size, with an integer that no float has rounded.
        return self.low + jnp.sum(jax.random.bernoulli(key, self.prob, (self.trials,)))

    def stats(self, x, origin=None) -> Counts:
        outcomes, _ = self._outcomes(x)
        return Counts(jnp.ones_like(outcomes[0]), outcomes)

    def natural(self, origin=None) -> Counts:
        logits = jnp.stack([-self.logit, self.logit], axis=-1)
        return Counts(jnp.zeros_like(self.logit), jax.nn.log_sigmoid(logits))

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return self.trials * logsumexp(natural.outcomes)

    def from_stats(self, stats: Counts, origin=None) -> Self:
        log = jnp.log(stats.outcomes)
        return eqx.tree_at(lambda m: m.logit, self, log[..., 1] - log[..., 0])

    def expected_log_prob(self, stats: Counts, origin=None) -> Scalar:
        return jnp.sum(times(stats.outcomes, self.natural().outcomes))

    def floor(self, stats: Counts, share) -> Counts:
        half = jnp.full_like(stats.outcomes, 0.5 * self.trials)
        return Counts(share * jnp.ones_like(stats.count), share * half)
