"""The multinomial family of counts of several outcomes."""

import abc
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Scalar

from .._log_sums import logsumexp
from ._family import Domain, ExponentialFamily, one_event, outside, stated, store
from ._special import deviance, log_factorial_gap
from .categorical import Counts, Shares, even

COINS, PART = 4096, 2**23  # trials that are drawn one by one; as many as a float32 counts


def in_parts(trials: int) -> np.ndarray:
    """So many trials as parts that can be counted in float32."""
    return np.array([*[PART] * (trials // PART), trials % PART], float)


class OfTrials(ExponentialFamily):
    """What families of counts of several outcomes in so many trials share: all but their logits."""

    trials: eqx.AbstractVar[int]

    @abc.abstractmethod
    def _outcomes(self, x: Any) -> tuple[Array, Array]:
        """How often each outcome came, safe off the support, and 0, -inf or NaN by it."""

    def log_base(self, x) -> Scalar:
        counts, base = self._outcomes(x)
        n = jnp.asarray(self.trials + 1, counts.dtype)
        return base + jax.lax.lgamma(n) - jnp.sum(jax.lax.lgamma(counts + 1))

    def log_prob(self, x) -> Scalar:
        counts, base = self._outcomes(x)
        n = jnp.asarray(self.trials, counts.dtype)
        expected = jnp.log(n) + self.natural().outcomes
        each = log_factorial_gap(counts) - deviance(counts, expected)
        return jnp.sum(each) - log_factorial_gap(n) + base

    def stats(self, x, origin=None) -> Counts:
        counts, _ = self._outcomes(x)
        return Counts(jnp.ones((), counts.dtype), counts)

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return self.trials * logsumexp(natural.outcomes)


class Multinomial(Shares, OfTrials):
    """Distribution of the counts of k outcomes in n trials, in nats.

    log p(x) = log(n! / prod x_i!) + sum x_i log probs[i], with the coefficient, so that it adds
    up to 1 over all counts of the total n.

    Args:
        trials: the total n (static).
        probs: probabilities (k,), non-negative; they are normalised.
        logits: their logarithms up to a constant (k,), any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Multinomial(2, jnp.array([0.5, 0.5])).log_prob(jnp.array([1, 1])).round(4)
        Array(-0.6931, dtype=float32)
    """

    logits: Float[Array, "*stack k"]
    trials: int = eqx.field(static=True)

    def __init__(self, trials: int, probs=None, *, logits=None):
        store(self, probs=probs, logits=logits)
        self.trials = trials

    @classmethod
    def template(cls, trials: int, size: int) -> Self:
        """A placeholder for a fit."""
        return cls(trials, jnp.full(size, 1 / size))

    @property
    def domain(self) -> Domain:
        words = f"{self.size} counts that add up to {self.trials}"
        return Domain(words, whole=True, low=0, dim=self.size, total=self.trials)

    mean = stated(lambda self: self.trials * self.probs, "k")
    variance = stated(lambda self: self.mean * (1 - self.probs), "k")

    def _outcomes(self, x):
        value = one_event(x, (self.size,), self).astype(self.logits.dtype)
        whole = jnp.all((value >= 0) & (value == jnp.floor(value)))
        inside = whole & (jnp.sum(value) == self.trials)
        return jnp.where(inside, value, jnp.zeros_like(value)), outside(inside, jnp.sum(value))

    def sample(self, key: Key[Array, ""]) -> Int[Array, " k"]:
        if self.trials > COINS:
            sizes, probs = jnp.asarray(in_parts(self.trials), self.logits.dtype), self.probs
            draw = lambda key, size: jax.random.multinomial(key, size, probs).astype(int)
            return jnp.sum(jax.vmap(draw)(jax.random.split(key, len(sizes)), sizes), 0)
        outcomes = jax.random.categorical(key, self.logits, shape=(self.trials,))
        return jnp.sum(outcomes[:, None] == jnp.arange(self.size)[None], axis=0)

    def natural(self, origin=None) -> Counts:
        return Counts(jnp.zeros_like(self.logits[..., 0]), self.log_probs)

    def floor(self, stats: Counts, share) -> Counts:
        return even(stats, share, self.trials)
