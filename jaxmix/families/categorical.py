"""The categorical family: one of a finite number of outcomes; also the weights of a mixture."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Scalar

from .._numerics import log_shares
from ._family import Refittable, one_event, softmax_of, store, times


class Counts(NamedTuple):
    """Statistics of outcomes: how many events, and how many of each outcome."""

    count: Array
    outcomes: Array


def labels_of(density: Any, labels: Sequence[Hashable] | None) -> tuple[Hashable, ...] | None:
    """The labels of as many probabilities, or a sentence."""
    if labels is not None and len(labels) != density.size:
        kind = type(density).__name__
        raise ValueError(f"{kind} was given {density.size} probabilities for {tuple(labels)}.")
    return None if labels is None else tuple(labels)


def size_of(kind: type, size: int | None, labels: Sequence[Hashable] | None) -> int:
    """How many outcomes a template has, or a sentence."""
    if labels is None and size is None:
        raise ValueError(f"{kind.__name__}.template takes `labels`, or their number.")
    return len(labels) if labels is not None else size  # pyright: ignore[reportReturnType]


def even(stats: Counts, share: Any, trials: int = 1) -> Counts:
    """Pseudo-counts: a share of an event whose trials fall on all outcomes alike."""
    each = jnp.full_like(stats.outcomes, trials / stats.outcomes.shape[-1])
    return Counts(share * jnp.ones_like(stats.count), share * each)


class Shares(Refittable):
    """Families whose parameters are probabilities of outcomes, stored as logits."""

    zero_is_valid: ClassVar[bool] = True

    logits: eqx.AbstractVar[Array]
    size = property(lambda self: self.logits.shape[-1])
    probs = softmax_of("logits")
    num_parameters = property(lambda self: self.size - 1)

    @property
    def log_probs(self) -> Float[Array, "*stack k"]:
        """Normalised log-probabilities."""
        return jax.nn.log_softmax(self.logits)

    def from_stats(self, stats: Counts, origin=None) -> Self:
        return self._replace(logits=log_shares(stats.outcomes))


class OfOutcomes(Refittable):
    """Families of one outcome an event, with a log-probability each."""

    log_probs: eqx.AbstractVar[Array]

    def expected_log_prob(self, stats: Counts, origin=None) -> Scalar:
        return jnp.sum(times(stats.outcomes, self.log_probs))

    def zero_stats(self) -> Counts:
        zeros = jnp.zeros_like(self.log_probs)
        return Counts(zeros[..., 0], zeros)


class Categorical(Shares, OfOutcomes):
    """Distribution of an integer in 0, ..., k - 1: log p(x) = log probs[x], in nats.

    Args:
        probs: probabilities (k,), non-negative; they are normalised. A zero is a valid
            probability: its gradient is 0; or `logits`, their logarithms up to a constant (k,).
        labels: what the outcomes are called (static); None for 0, ..., k - 1.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Categorical(jnp.array([0.25, 0.75])).log_prob(jnp.array(1)).round(4)
        Array(-0.2877, dtype=float32)
    """

    logits: Float[Array, "*stack k"]
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)

    def __init__(self, probs=None, *, logits=None, labels: Sequence[Hashable] | None = None):
        store(self, probs=probs, logits=logits)
        self.labels = labels_of(self, labels)

    @classmethod
    def template(cls, size: int | None = None, *, labels: Sequence[Hashable] | None = None) -> Self:
        """A placeholder for a fit, by its labels or its number of outcomes."""
        size = size_of(cls, size, labels)
        return cls(np.full(size, 1 / size), labels=labels)

    def outcome_log_probs(self, size: int) -> Float[Array, " k"]:
        """The log-probability of each outcome (what a mixture adds to its components)."""
        assert size == self.size, (size, self.size)
        return self.log_probs

    def pair_outcomes(self, t: Counts, size: int) -> Float[Array, " k"]:
        return t.count + t.outcomes

    def log_prob(self, x: Int[Array, ""]) -> Scalar:
        x = one_event(x, (), self)
        index = x.astype(int)  # 8 bits hold no size of 128
        # One outcome more, of no probability, for what is none: nothing to select for each event.
        inside = (index >= 0) & (index < self.size) & (index.astype(x.dtype) == x)
        index = jnp.where(inside, index, self.size)
        table = jnp.pad(self.log_probs, (0, 1), constant_values=-jnp.inf)
        value = table.at[index].get(mode="promise_in_bounds")
        real = jnp.issubdtype(x.dtype, jnp.inexact)
        return jnp.where(jnp.isnan(x), x.astype(value.dtype), value) if real else value

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.categorical(key, self.logits)

    def stats(self, x, origin=None) -> Counts:
        hot = one_event(x, (), self) == jnp.arange(self.size)
        return Counts(jnp.ones((), self.logits.dtype), hot.astype(self.logits.dtype))
