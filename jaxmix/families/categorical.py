"""The categorical family: one of a finite number of outcomes; also the weights of a mixture."""

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Scalar

from .._numerics import constant, log_of, log_shares
from ._family import Refittable, as_float, entrance, one_event, stated


class Counts(NamedTuple):
    """Statistics of outcomes: how many events, and how many of each outcome."""

    count: Array
    outcomes: Array


class Categorical(Refittable):
    """Distribution of an integer in 0, ..., k - 1: log p(x) = log probs[x], in nats.

    Args:
        probs: probabilities (k,), non-negative; they are normalised. A zero is a valid
            probability: its gradient is 0.
        logits: their logarithms up to a constant (k,), any numbers, instead.
        labels: what the outcomes are called (static); None for 0, ..., k - 1.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Categorical(jnp.array([0.25, 0.75])).log_prob(jnp.array(1)).round(4)
        Array(-0.2877, dtype=float32)
    """

    zero_is_valid: ClassVar[bool] = True

    logits: Float[Array, "*stack k"]
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)
    size = property(lambda self: self.logits.shape[-1])

    def __init__(self, probs=None, *, logits=None, labels: Sequence[Hashable] | None = None):
        log, probs = entrance("Categorical", log_of, probs=probs, logits=logits)
        host = probs if isinstance(probs, np.ndarray) and log is log_of else None
        (probs,) = as_float(probs)
        self.labels = None if labels is None else tuple(labels)
        if probs.ndim != 1:
            raise ValueError(
                f"Categorical takes a vector of probabilities; it was given shape {probs.shape}. "
                "For a stack, jax.vmap the class."
            )
        if self.labels is not None and len(self.labels) != probs.shape[0]:
            raise ValueError(f"{probs.shape[0]} probabilities were given for {self.labels}.")
        if host is not None:  # the weights of a template: another size compiles nothing
            with np.errstate(divide="ignore", invalid="ignore"):
                self.logits = constant(np.log(host.astype(float)), probs.dtype)
        else:
            self.logits = log(probs)

    @classmethod
    def template(cls, size: int | None = None, *, labels: Sequence[Hashable] | None = None) -> Self:
        """A placeholder for a fit, by its labels or its number of outcomes."""
        size = size if labels is None else len(labels)
        if size is None:
            raise ValueError("Categorical.template takes `labels`, or the number of outcomes.")
        return cls(np.full(size, 1 / size), labels=labels)

    @property
    def log_probs(self) -> Float[Array, "*stack k"]:
        """Normalised log-probabilities."""
        return jax.nn.log_softmax(self.logits)

    probs = stated(lambda self: jax.nn.softmax(self.logits), "k")
    num_parameters = property(lambda self: self.size - 1)

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
        return table.at[index].get(mode="promise_in_bounds")

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.categorical(key, self.logits)

    def stats(self, x, origin=None) -> Counts:
        hot = one_event(x, (), self) == jnp.arange(self.size)
        return Counts(jnp.ones((), self.logits.dtype), hot.astype(self.logits.dtype))

    def from_stats(self, stats: Counts, origin=None) -> Self:
        return self._replace(logits=log_shares(stats.outcomes))

    def expected_log_prob(self, stats: Counts, origin=None) -> Scalar:
        none = stats.outcomes == 0  # 0 log 0 is 0
        log_probs = jnp.where(none, jnp.zeros_like(self.logits), self.log_probs)
        return jnp.sum(stats.outcomes * log_probs)

    def zero_stats(self) -> Counts:
        return Counts(jnp.zeros_like(self.logits[..., 0]), jnp.zeros_like(self.logits))
