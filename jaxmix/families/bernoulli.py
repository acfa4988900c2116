"""The Bernoulli family of a truth value."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Scalar

from .._density import one_event
from .._exponential import ExponentialFamily
from .._numerics import as_float, logit_of, logsumexp
from ._entrances import entrance
from ._support import TRUTH, Domain, outside, times
from .categorical import Counts


class Bernoulli(ExponentialFamily):
    """Distribution of 0 or 1: log p(x) = x log(prob) + (1 - x) log(1 - prob), in nats.

    Args:
        prob: probability of 1, in [0, 1]; 0 and 1 are valid, and their gradient is 0.
        logits: log(prob / (1 - prob)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Bernoulli(0.25).log_prob(jnp.array(True)).round(4)
        Array(-1.3863, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"logit": 0}
    domain: ClassVar[Domain] = TRUTH
    zero_is_valid: ClassVar[bool] = True

    logit: Float[Array, "*stack"]

    def __init__(self, prob=None, *, logits=None):
        logit, prob = entrance("Bernoulli", logit_of, prob=prob, logits=logits)
        (prob,) = as_float(prob)
        self.logit = logit(prob)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(0.5)

    @property
    def prob(self) -> Float[Array, "*stack"]:
        return jax.nn.sigmoid(self.logit)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.prob

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return self.prob * jax.nn.sigmoid(-self.logit)

    def _hot(self, x):
        value = jnp.asarray(x).astype(self.logit.dtype)
        return (value == 0, value == 1), value

    def log_base(self, x) -> Scalar:
        (zero, one), value = self._hot(x)
        return outside(zero | one, value)

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        (_, one), _ = self._hot(x)
        # The sign goes into the argument: a product with a logarithm of zero would be NaN.
        return jax.nn.log_sigmoid(jnp.where(one, self.logit, -self.logit)) + self.log_base(x)

    def cdf(self, x) -> Scalar:
        x = one_event(x, (), self).astype(self.logit.dtype)
        below = jnp.where(x < 1, jax.nn.sigmoid(-self.logit), jnp.ones_like(x))
        return jnp.where(x < 0, jnp.zeros_like(below), below)

    def sample(self, key: Key[Array, ""]) -> Bool[Array, ""]:
        return jax.random.bernoulli(key, self.prob, ())

    def stats(self, x, origin=None) -> Counts:
        hot, value = self._hot(x)
        return Counts(jnp.ones_like(value), jnp.stack(hot).astype(value.dtype))

    def natural(self, origin=None) -> Counts:
        logits = jnp.stack([-self.logit, self.logit], axis=-1)
        return Counts(jnp.zeros_like(self.logit), jax.nn.log_sigmoid(logits))

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return logsumexp(natural.outcomes)

    def from_stats(self, stats: Counts, origin=None) -> Self:
        log = jnp.log(stats.outcomes)
        return eqx.tree_at(lambda m: m.logit, self, log[..., 1] - log[..., 0])

    def expected_log_prob(self, stats: Counts, origin=None) -> Scalar:
        return jnp.sum(times(stats.outcomes, self.natural().outcomes))

    def floor(self, stats: Counts, share) -> Counts:
        half = jnp.full_like(stats.outcomes, 0.5)
        return Counts(share * jnp.ones_like(stats.count), share * half)
