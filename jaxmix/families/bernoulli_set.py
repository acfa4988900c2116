"""The family of a set whose elements are in or out independently."""

from collections.abc import Hashable, Sequence
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Scalar

from .._density import one_event
from .._exponential import ExponentialFamily
from .._numerics import as_float, logit_of, logsumexp
from ._entrances import entrance
from ._support import chosen, outside, times
from .categorical import Counts


class BernoulliSet(ExponentialFamily):
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

    ranks: ClassVar[dict[str, int]] = {"logits": 1}
    zero_is_valid: ClassVar[bool] = True

    logits: Float[Array, "*stack n"]
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)

    def __init__(self, probs=None, *, logits=None, labels: Sequence[Hashable] | None = None):
        logit, probs = entrance("BernoulliSet", logit_of, probs=probs, logits=logits)
        (probs,) = as_float(probs)
        self.labels = None if labels is None else tuple(labels)
        if probs.ndim != 1 or (self.labels is not None and len(self.labels) != probs.shape[0]):
            raise ValueError(
                "BernoulliSet takes a vector of probabilities and as many labels; it was given "
                f"shape {probs.shape} and the labels {self.labels}."
            )
        self.logits = logit(probs)

    @classmethod
    def template(cls, size: int | None = None, *, labels: Sequence[Hashable] | None = None) -> Self:
        """A placeholder for a fit, by its labels or its number of elements."""
        if labels is None and size is None:
            raise ValueError("BernoulliSet.template takes `labels`, or the number of elements.")
        return cls(jnp.full(len(labels) if labels is not None else size, 0.5), labels=labels)

    @property
    def size(self) -> int:
        return self.logits.shape[-1]

    @property
    def probs(self) -> Float[Array, "*stack n"]:
        return jax.nn.sigmoid(self.logits)

    @property
    def mean(self) -> Float[Array, "*stack n"]:
        return self.probs

    @property
    def variance(self) -> Float[Array, "*stack n"]:
        return self.probs * jax.nn.sigmoid(-self.logits)

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

    def natural(self, origin=None) -> Counts:
        both = jax.nn.log_sigmoid(jnp.stack([-self.logits, self.logits], axis=-1))
        return Counts(jnp.zeros_like(self.logits[..., 0]), both)

    def log_normaliser(self, natural: Counts, origin=None) -> Scalar:
        return jnp.sum(logsumexp(natural.outcomes), -1)

    def from_stats(self, stats: Counts, origin=None) -> Self:
        log = jnp.log(stats.outcomes)
        return eqx.tree_at(lambda m: m.logits, self, log[..., 1] - log[..., 0])

    def expected_log_prob(self, stats: Counts, origin=None) -> Scalar:
        return jnp.sum(times(stats.outcomes, self.natural().outcomes))

    def floor(self, stats: Counts, share) -> Counts:
        half = jnp.full_like(stats.outcomes, 0.5)
        return Counts(share * jnp.ones_like(stats.count), share * half)
