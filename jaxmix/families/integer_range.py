"""Families over a range of integers: any probabilities, and one spike over an even slab."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._numerics import log_of
from ._family import exp_of, sigmoid_of, stated, store, times
from ._support import whole
from .categorical import Counts, OfOutcomes, Shares, even


class _IntegerRange(OfOutcomes):
    """What families over low, ..., low + size - 1 share: counts of each value."""

    low: eqx.AbstractVar[int]
    size: eqx.AbstractVar[int]
    probs = exp_of("log_probs")
    domain = property(lambda self: whole(self.low, self.low + self.size - 1))
    mean = stated(lambda self: self.low + self._from_low[0])
    variance = stated(lambda self: self._from_low[1])

    @property
    def _from_low(self) -> tuple[Array, Array]:
        """Mean less the lowest value, and variance."""
        probs, steps = self.probs, jnp.arange(self.size, dtype=self.log_probs.dtype)
        mean = probs @ steps
        spread = lambda p, m: jnp.dot(p, (steps - m) ** 2)
        return mean, jnp.vectorize(spread, signature="(n),()->()")(probs, mean)

    def _index(self, x):
        value, base = self.on_support(x)
        return (value - self.low).astype(int), base

    def log_prob(self, x) -> Scalar:
        index, base = self._index(x)
        return self.log_probs[index] + base

    def cdf(self, x) -> Scalar:
        probs = self.probs
        there = self.low + jnp.arange(self.size, dtype=probs.dtype) <= x.astype(probs.dtype)
        return jnp.sum(jnp.where(there, probs, jnp.zeros_like(probs)))

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return self.low + jax.random.categorical(key, self.log_probs)

    def stats(self, x, origin=None) -> Counts:
        dtype = self.log_probs.dtype
        index, _ = self._index(x)
        return Counts(jnp.ones((), dtype), (index == jnp.arange(self.size)).astype(dtype))


class IntegerCategorical(Shares, _IntegerRange):
    """Distribution over low, ..., low + n - 1: log p(x) = log probs[x - low], in nats.

    Args:
        probs: probabilities (n,), non-negative; they are normalised.
        logits: their logarithms up to a constant (n,), any numbers, instead.
        low: the least value (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.IntegerCategorical(jnp.array([0.25, 0.75]), low=-1).log_prob(jnp.array(0)).round(4)
        Array(-0.2877, dtype=float32)
    """

    logits: Float[Array, "*stack n"]
    low: int = eqx.field(static=True)

    def __init__(self, probs=None, *, logits=None, low: int = 0):
        store(self, probs=probs, logits=logits)
        self.low = low

    @classmethod
    def template(cls, low: int, high: int) -> Self:
        """A placeholder for a fit over low, ..., high."""
        return cls(jnp.full(high - low + 1, 1 / (high - low + 1)), low=low)


class SpikeAndSlab(_IntegerRange):
    """One integer with probability `prob`, each other of a range with an even share of the rest.

    log p(spike) = log prob; log p(x) = log((1 - prob) / (n - 1)) for the others, in nats. A fit
    finds the spike by profile likelihood over all n places; it is a spike (no rarer than the
    others) wherever one of the values is.

    Args:
        spike: the integer that stands out, within the range.
        prob: its probability, in (0, 1); or `logits`, log(prob / (1 - prob)).
        low: the least value of the range (static).
        size: how many values the range has (static), at least 2.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.SpikeAndSlab(7, 0.91, low=0, size=10).log_prob(jnp.array(3)).round(4)
        Array(-4.6052, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"logit": 0, "spike": 0}

    spike: Int[Array, "*stack"]
    logit: Float[Array, "*stack"]
    low: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    prob = sigmoid_of("logit")

    def __init__(self, spike, prob=None, *, logits=None, low: int = 0, size: int):
        if size < 2:
            raise ValueError(f"SpikeAndSlab needs a range of two values or more; it got {size}.")
        self.spike = jnp.asarray(spike).astype(int)
        store(self, prob=prob, logits=logits)
        self.low, self.size = low, size

    @classmethod
    def template(cls, low: int, high: int) -> Self:
        """A placeholder for a fit over low, ..., high."""
        return cls(low, 0.5, low=low, size=high - low + 1)

    @property
    def log_probs(self) -> Float[Array, "*stack n"]:
        hot = (self.spike[..., None] - self.low) == jnp.arange(self.size)
        slab = jax.nn.log_sigmoid(-self.logit) - jnp.log(
            jnp.asarray(self.size - 1, self.logit.dtype)
        )
        return jnp.where(hot, jax.nn.log_sigmoid(self.logit)[..., None], slab[..., None])

    def from_stats(self, stats: Counts, origin=None) -> Self:
        total = jnp.sum(stats.outcomes, -1, keepdims=True)
        share = stats.outcomes / total
        rest = 1 - share
        # The likelihood of a spike at each value, at that value's best probability. A value
        # rarer than the slab's would be a dip, and is no candidate.
        slab = jnp.asarray(self.size - 1, share.dtype)
        profile = times(share, jnp.log(share)) + times(rest, jnp.log(rest / slab))
        profile = jnp.where(share * (slab + 1) >= 1, profile, jnp.full_like(profile, -jnp.inf))
        best = jnp.argmax(profile, -1)
        hot = best[..., None] == jnp.arange(self.size)
        at_spike = jnp.sum(jnp.where(hot, stats.outcomes, jnp.zeros_like(share)), -1)
        others = jnp.sum(jnp.where(hot, jnp.zeros_like(share), stats.outcomes), -1)
        spike = (self.low + best).astype(self.spike.dtype)
        return self._replace(spike=spike, logit=log_of(at_spike) - log_of(others))

    def floor(self, stats: Counts, share) -> Counts:
        return even(stats, share)
