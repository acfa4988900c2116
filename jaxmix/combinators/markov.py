"""Markov chains over a finite set of states."""

from collections.abc import Hashable
from collections.abc import Sequence as Many
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import LogDensity, is_density
from .._stack import over_stack, repeat
from ..families._support import chosen
from ..families.categorical import Categorical
from ._lengths import SequenceEvent, checked_length, draw_length, length_log_prob, longest, walk


def as_rows(transition) -> PyTree:
    """A stack of categorical rows from a matrix; a stack of densities is left as it is."""
    return transition if is_density(transition) else jax.vmap(Categorical)(jnp.asarray(transition))


class MarkovChain(LogDensity):
    """Density of a chain of states: an initial law, a matrix of transitions, a length, in nats.

    log p(x) = log p(length) + log initial[x_0] + sum_t log transition[x_t, x_t+1].

    Args:
        initial: probabilities (s,) of the first state, or a `Categorical`.
        transition: matrix (s, s) whose rows are probabilities, or a stack of s `Categorical`.
        length: density of the length; None says nothing of it.
        labels: what the states are called; None for 0, ..., s - 1.
        max_length: capacity of the events that `sample` and `jm.encode` make.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> chain = jm.MarkovChain(jnp.array([0.5, 0.5]), jnp.eye(2), labels=("a", "b"))
        >>> event = jm.SequenceEvent(jnp.array([1, 1, 1, 0]), jnp.array(3))
        >>> chain.log_prob(event).round(4)
        Array(-0.6931, dtype=float32)
    """

    initial: PyTree
    transition: PyTree
    length: PyTree
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)
    max_length: int | None = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, initial, transition, *, length=None, labels=None, max_length=None):
        self.initial = initial if is_density(initial) else Categorical(initial)
        self.transition = as_rows(transition)
        self.length = checked_length(length, "MarkovChain")
        self.labels = None if labels is None else tuple(labels)
        self.max_length, self.size = max_length, self.initial.size
        rows = self.transition.stack_shape[-1:]
        named = self.size if self.labels is None else len(self.labels)
        if rows != (self.size,) or self.transition.size != self.size or named != self.size:
            raise ValueError(
                f"A MarkovChain of {self.size} states takes a square matrix of transitions and as "
                f"many labels; it was given {rows[0] if rows else 'no'} rows of "
                f"{self.transition.size} and the labels {self.labels}."
            )

    @classmethod
    def template(
        cls, size=None, *, labels: Many[Hashable] | None = None, length=None, max_length=None
    ) -> Self:
        """A placeholder for a fit, by its labels or its number of states."""
        if labels is None and size is None:
            raise ValueError("MarkovChain.template takes `labels`, or the number of states.")
        one = Categorical.template(len(labels) if labels is not None else size)
        rows = repeat(one, one.size)
        return cls(one, rows, length=length, labels=labels, max_length=max_length)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        stack = lambda part: getattr(part, "stack_shape", ())
        return longest(stack(self.initial), stack(self.transition)[:-1], stack(self.length))

    def initial_log_probs(self) -> Float[Array, " s"]:
        """Log-probability of each first state."""
        return jax.vmap(self.initial.log_prob)(jnp.arange(self.size))

    def transition_log_probs(self) -> Float[Array, "s s"]:
        """Log-probability of each transition, from row to column."""
        states = jnp.arange(self.size)
        return over_stack(lambda row: jax.vmap(row.log_prob)(states), self.transition)

    def log_prob(self, x: SequenceEvent) -> Scalar:
        items, n = x
        capacity = items.shape[0]
        # The model enters as one vector and one matrix, the chain as its counts: over rows and
        # components this is a product of matrices.
        log_first, log_next = self.initial_log_probs(), self.transition_log_probs()
        hot = (items[:, None] == jnp.arange(self.size)[None]) & (jnp.arange(capacity) < n)[:, None]
        known = jnp.sum(hot) == n
        hot = hot.astype(log_first.dtype)
        counts = jnp.matmul(hot[:-1].T, hot[1:])
        total = chosen(log_first, hot[0]) + chosen(log_next, counts)
        total = jnp.where(known, total, jnp.full_like(total, -jnp.inf))
        return total + length_log_prob(self.length, n, capacity).astype(total.dtype)

    def sample(self, key: Key[Array, ""]) -> SequenceEvent:
        k_length, k_first, k_rest = jax.random.split(key, 3)
        n = draw_length(self.length, k_length, self.max_length, "a MarkovChain")
        items = walk(self.transition, self.initial.sample(k_first), k_rest, self.max_length)  # pyright: ignore[reportArgumentType]
        used = jnp.arange(self.max_length) < n
        return SequenceEvent(jnp.where(used, items, jnp.zeros_like(items)), n)
