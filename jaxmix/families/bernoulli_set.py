"""The family of a set whose elements are in or out independently."""

from collections.abc import Hashable, Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Scalar

from .._log_sums import logsumexp
from ._family import one_event, outside, sigmoid_of, stated, store
from ._support import chosen
from .bernoulli import Coins
from .categorical import Counts, labels_of


class BernoulliSet(Coins):
    """Distribution of a set: log p(x) = sum_i x[i] log probs[i] + (1 - x[i]) log(1 - probs[i]).

    In nats. An event is a vector of truth values, one a label; `jm.encode` makes it of a set.

    Args:
        probs: probabilities (n,) of each element's being in; 0 and 1 are valid.
        logits: log(probs / (1 - probs)) of each (n,), any numbers, instead.
        labels: what the n elements are called; None for 0, ..., n - 1.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> letters = jm.BernoulliSet(jnp.array([0.5, 0.25]), labels=("a", "b"))
        >>> letters.log_prob(jnp.array([True, False])).round(4)
        Array(-0.9808, dtype=float32)
    """

    logits: Float[Array, "*stack n"]
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)
    size = property(lambda self: self.logits.shape[-1])
    probs = mean = sigmoid_of("logits")

    def __init__(self, probs=None, *, logits=None, labels: Sequence[Hashable] | None = None):
        store(self, probs=probs, logits=logits)
        self.labels = labels_of(self, labels)

    @classmethod
    def template(cls, size: int | None = None, *, labels: Sequence[Hashable] | None = None) -> Self:
        """A placeholder for a fit, by its labels or its number of elements."""
        if labels is None and size is None:
            raise ValueError("BernoulliSet.template takes `labels`, or the number of elements.")
        return cls(jnp.full(len(labels) if labels is not None else size, 0.5), labels=labels)

    variance = stated(lambda self: self.probs * jax.nn.sigmoid(-self.logits), "n")

    def _hot(self, x):
        x = one_event(x, (self.size,), self)
        value = x.astype(self.logits.dtype)
        return jnp.stack([value == 0, value == 1], -1).astype(value.dtype), value

    def log_base(self, x) -> Scalar:
        _, value = self._hot(x)
        return jnp.sum(outside((value == 0) | (value == 1), value))

    def log_prob(self, x: Bool[Array, " n"]) -> Scalar:
        return chosen(self.natural().outcomes, self._hot(x)[0]) + self.log_base(x)

    def sample(self, key: Key[Array, ""]) -> Bool[Array, " n"]:
        return jax.random.bernoulli(key, self.probs)

    def stats(self, x, origin=None) -> Counts:
        hot, _ = self._hot(x)
        return Counts(jnp.ones((), hot.dtype), hot)

    def pair(self, t: Counts, x, origin=None) -> Scalar:
        # A dot, so that over data and a stack it is a product of matrices.
        return t.count + jnp.vdot(t.outcomes, self._hot(x)[0])

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return jnp.sum(logsumexp(natural.outcomes), -1)
