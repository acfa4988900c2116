"""The family of a set whose elements are in or out independently."""

from collections.abc import Hashable, Sequence
from typing import Self

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from ._family import sigmoid_of, stated, store
from .bernoulli import Flips
from .categorical import labels_of, size_of


class BernoulliSet(Flips):
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
        return cls(np.full(size_of(cls, size, labels), 0.5), labels=labels)

    variance = stated(lambda self: self.probs * jax.nn.sigmoid(-self.logits), "n")
