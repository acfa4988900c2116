"""Markov chains, of any order, over a finite set of states."""

from collections.abc import Hashable
from collections.abc import Sequence as Many
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import is_density, one_event
from .._stack import outcome_log_probs, over_stack, pick, repeat
from ..families._support import chosen
from ..families.categorical import Categorical
from ._labels import as_law, as_rows, check_sized, entered
from ._lengths import OfLength, SequenceEvent, check_sequence, stack_around, walk


class MarkovChain(OfLength):
    """Density of a chain of states: laws of its first states, transitions, a length, in nats.

    log p(x) = log p(length) + log initial[x_0] + sum_t log transition[x_t, x_t+1]; of order L
    each state depends on the L before it, and each of the first L on all before it.

    Args:
        initial: probabilities (s,) of the first state, or a `Categorical`. Of order L a list of
            L: of the first state (s,), of the second given the first (s, s), and so on.
        transition: array (s, ..., s), of order L with L + 1 axes, whose last axis are
            probabilities; or a stack of s^L `Categorical`, the latest state running fastest.
        initial_logits, transition_logits: logarithms of the probabilities up to a constant a row,
            any numbers, instead of them.
        length: density of the length; None says nothing of it.
        labels: what the states are called; None for 0, ..., s - 1.
        max_length: capacity of the events that `sample` and `jm.encode` make.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> chain = jm.MarkovChain(jnp.array([0.5, 0.5]), jnp.eye(2), labels=("a", "b"))
        >>> event = jm.SequenceEvent(jnp.array([1, 1, 1, 0]), jnp.array(3))
        >>> chain.log_prob(event).round(4)
        Array(-0.6931, dtype=float32)
        >>> second = jm.MarkovChain.template(2, order=2)
        >>> second.order, second.transition.stack_shape
        (2, (4,))
    """

    initial: PyTree
    transition: PyTree
    length: PyTree
    labels: tuple[Hashable, ...] | None = eqx.field(static=True)
    max_length: int | None = eqx.field(static=True)
    size: int = eqx.field(static=True)
    order: int = eqx.field(static=True)

    def __init__(
        self, initial=None, transition=None, *, initial_logits=None, transition_logits=None,
        length=None, labels=None, max_length=None,
    ):  # fmt: skip
        owner = "MarkovChain"
        which, starts = entered(owner, initial=initial, initial_logits=initial_logits)
        many = _is_list_of_laws(starts)
        self.order = len(starts) if many else 1
        first = as_law(which, starts[0] if many else starts)
        later = [as_rows(owner, which, start) for start in starts[1:]] if many else []
        self.initial = (first, *later) if many else first
        forms = {"transition": transition, "transition_logits": transition_logits}
        self.transition = as_rows(owner, *entered(owner, **forms))
        check_sized("MarkovChain", first, *later, self.transition)
        self.length = length
        self.labels = None if labels is None else tuple(labels)
        self.max_length, self.size = max_length, first.size
        named = self.size if self.labels is None else len(self.labels)
        given = [(*part.stack_shape, part.size) for part in (*self._starts[1:], self.transition)]
        wanted = [(self.size**k, self.size) for k in range(1, self.order + 1)]
        if given != wanted or named != self.size:
            raise ValueError(
                f"A MarkovChain of order {self.order} over {self.size} states takes rows of shapes "
                f"{wanted} and as many labels; it was given {given} and the labels {self.labels}."
            )

    @classmethod
    def template(
        cls, size=None, *, labels: Many[Hashable] | None = None, length=None, max_length=None,
        order: int = 1,
    ) -> Self:  # fmt: skip
        """A placeholder for a fit, by its labels or its number of states."""
        if labels is None and size is None:
            raise ValueError("MarkovChain.template takes `labels`, or the number of states.")
        if order < 1:
            raise ValueError(f"The order of a MarkovChain is at least 1; it was {order}.")
        one = Categorical.template(len(labels) if labels is not None else size)
        rows = [repeat(one, one.size**k) for k in range(1, order + 1)]
        first = one if order == 1 else [one, *rows[:-1]]
        return cls(first, rows[-1], length=length, labels=labels, max_length=max_length)

    @property
    def _starts(self) -> tuple[PyTree, ...]:
        return self.initial if isinstance(self.initial, tuple) else (self.initial,)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        return stack_around([self._starts[0], self.length], [self.transition])

    def initial_log_probs(self) -> Float[Array, " s"]:
        """Log-probability of each first state."""
        return outcome_log_probs(self._starts[0], self.size)

    def transition_log_probs(self) -> Float[Array, "rows s"]:
        """Log-probability of each transition, from row (the states before) to column."""
        return self._rows(self.transition)

    def _rows(self, stack: PyTree) -> Float[Array, "rows s"]:
        return over_stack(lambda row: outcome_log_probs(row, self.size), stack)

    def log_prob(self, x: SequenceEvent) -> Scalar:
        check_sequence(self, x)
        items, n = x
        items = one_event(items, jnp.shape(items)[:1], self)
        capacity = items.shape[0]
        log_first, log_next = self.initial_log_probs(), self.transition_log_probs()
        if capacity == 0:
            return self._with_length(jnp.zeros_like(log_first[0]), jnp.asarray(n), capacity)
        # The model enters as vectors and matrices, the chain as its counts: over rows and
        # components this is a product of matrices.
        hot = (items[:, None] == jnp.arange(self.size)[None]) & (jnp.arange(capacity) < n)[:, None]
        known = jnp.sum(hot) == n
        hot = hot.astype(log_first.dtype)
        total = chosen(log_first, hot[0])
        before = hot
        for k, start in enumerate(self._starts[1:], 1):
            if k < capacity:
                total = total + chosen(self._rows(start), before[0][:, None] * hot[k][None])
            before = _longer(before, hot[k:])
        if self.order < capacity:
            counts = jnp.matmul(before[:-1].T, hot[self.order :], precision="highest")
            total = total + chosen(log_next, counts)
        total = jnp.where(known, total, jnp.full_like(total, -jnp.inf))
        return self._with_length(total, jnp.asarray(n), capacity)

    def _draw(self, key: Key[Array, ""], size: int) -> Array:
        k_first, k_starts, k_rest = jax.random.split(key, 3)
        seen = [self._starts[0].sample(k_first)]
        row = seen[0]
        for start, k in zip(self._starts[1:], jax.random.split(k_starts, self.order), strict=False):
            seen.append(pick(start, row).sample(k).astype(row.dtype))
            row = row * self.size + seen[-1]
        later = walk(self.transition, row, k_rest, max(0, size - self.order))
        return jnp.concatenate([jnp.stack(seen), later])[:size]


def _is_list_of_laws(initial) -> bool:
    """Whether these are laws of several first states, and not one law as a list of numbers."""
    if not isinstance(initial, list | tuple):
        return False
    return any(is_density(law) or jnp.ndim(law) > 0 for law in initial)


def _longer(before: Float[Array, "t r"], hot: Float[Array, "u s"]) -> Float[Array, "u rs"]:
    """One-hot rows of one state more: those before, and the next one running fastest."""
    pairs = before[: hot.shape[0], :, None] * hot[:, None, :]
    return pairs.reshape(hot.shape[0], -1)
