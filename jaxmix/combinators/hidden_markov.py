"""Hidden Markov models with emissions of any kind."""

import functools
from collections.abc import Callable
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, Scalar

from .. import _loops
from .._arguments import named, optional, whole
from .._density import check_parts, stack_size
from .._stack import outcome_log_probs, over_stack, pick, repeat
from ..families.categorical import Categorical
from ._labels import law_and_rows
from ._lengths import (
    OfLength,
    SequenceEvent,
    as_sequence,
    capacity_of,
    stack_around,
    used_items,
    walk,
)
from ._paths import log_sum_over_paths
from .filtering import foretold, item_log_densities, last_log_probs, occupations
from .mixture import MixtureSameFamily
from .optional import masked


class HiddenMarkov(OfLength):
    """Density of a sequence emitted by a hidden Markov chain of k states, in nats.

    log p(x) = log p(length) + log sum_z initial[z_0] prod_t transition[z_t, z_t+1] p_{z_t}(x_t).
    The backward pass is the gradient of this forward one: expected transitions and occupations
    come out as the statistics of `transition`, `initial` and `emissions`.

    Args:
        initial: probabilities (k,) of the first state, or a `Categorical`.
        transition: matrix (k, k) whose rows are probabilities, or a stack of k `Categorical`.
        emissions: a stack of k densities of one item.
        initial_logits, transition_logits: logarithms of the probabilities up to a constant a row,
            any numbers, instead of them.
        length: density of the length; None says nothing of it.
        max_length: capacity of the events that `sample` and `jm.encode` make.
        driven: None; or items are pairs (y, u) of which u drives the transition into an item, the
            rows of `transition` being densities of a pair (state, u) such as a stack of
            `jm.MultinomialRegression` (static). With "transitions" the emissions are densities
            of y, with "both" of (y, u), as regressions are.

    An event is a `SequenceEvent`; items by themselves are a sequence of all of them.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> emissions = jax.vmap(jm.Normal)(jnp.array([-3.0, 3.0]), jnp.ones(2))
        >>> model = jm.HiddenMarkov(jnp.array([0.5, 0.5]), jnp.eye(2), emissions)
        >>> model.viterbi(jm.SequenceEvent(jnp.array([2.0, 3.0, 1.0]), jnp.array(3)))
        Array([1, 1, 1], dtype=int32)
    """

    alternatives: ClassVar[tuple[str, ...]] = ("emissions",)

    initial: PyTree
    transition: PyTree
    emissions: PyTree
    length: PyTree
    max_length: int | None = eqx.field(static=True)
    driven: str | None = eqx.field(static=True)

    def __init__(
        self, initial=None, transition=None, emissions=None, *,
        initial_logits=None, transition_logits=None, length=None, max_length=None,
        driven: str | None = None,
    ):  # fmt: skip
        optional(named("transitions", "both"))(driven, "driven")
        size = stack_size(emissions, "The emissions of HiddenMarkov")
        self.initial, self.transition = law_and_rows(
            "HiddenMarkov", (size, size), {"initial": initial, "initial_logits": initial_logits},
            {"transition": transition, "transition_logits": transition_logits},
        )  # fmt: skip
        self.emissions, self.driven = emissions, driven
        self.length, self.max_length = length, max_length

    @classmethod
    def template(
        cls, emission, num_states: int, *, transition=None, length=None, max_length=None,
        driven: str | None = None,
    ) -> Self:  # fmt: skip
        """A placeholder for a fit, with states that emit as `emission` does.

        `transition` is a row of the transitions, where it is no `Categorical`.
        """
        one = Categorical.template(num_states)
        row = one if transition is None else transition
        parts = repeat(row, num_states), repeat(emission, num_states)
        return cls(one, *parts, length=length, max_length=max_length, driven=driven)

    num_states = property(lambda self: self.initial.size)
    stack_shape = property(lambda self: stack_around([self.initial, self.length], [self.emissions]))

    def _log_parts(self, x: SequenceEvent):
        """Initial, transition and emission log-probabilities, the latter 0 beyond the length."""
        items, n = as_sequence(self, x)
        capacity = capacity_of(items)
        if capacity == 0:  # room for one item, which is not used
            items = jax.tree.map(lambda a: jnp.zeros((1, *a.shape[1:]), a.dtype), items)
        used = jnp.arange(max(1, capacity)) < jnp.minimum(n, capacity)
        items = masked(used, items)
        seen = items[0] if self.driven == "transitions" else items
        under = lambda item: over_stack(lambda state: state.log_prob(item), self.emissions)
        emitted = jax.vmap(under)(seen)
        emitted = jnp.where(used[:, None], emitted, jnp.zeros_like(emitted))
        first = outcome_log_probs(self.initial, emitted.shape[1])
        inputs = None if self.driven is None else items[1][1:]
        following = self._following(inputs, emitted.shape[1])
        return first, following, emitted, used

    def _following(self, inputs, size: int) -> Float[Array, "*t k k"]:
        """Log-probabilities of the transitions, or of those into items with these inputs."""
        if inputs is None:
            return over_stack(lambda row: outcome_log_probs(row, size), self.transition)
        states = jnp.arange(size)
        row = lambda row, u: jax.vmap(lambda state: row.log_prob((state, u)))(states)
        return jax.vmap(lambda u: over_stack(lambda r: row(r, u), self.transition))(inputs)

    def check_rows(self, rows: PyTree) -> None:
        items = rows.items if hasattr(rows, "length") else rows
        seen = items[0] if self.driven == "transitions" else items
        parts = [(self.emissions, used_items(rows, seen))]
        if self.driven is not None:  # the first item is entered by no transition
            parts.append((self.transition, (None, used_items(rows, items[1], 1))))
        check_parts(parts)

    def log_prob(self, x: SequenceEvent) -> Scalar:
        first, following, emitted, used = self._log_parts(x)
        total = log_sum_over_paths(first, following, emitted, used)
        # An empty sequence emits nothing, and starts in no state.
        total = jnp.where(used[0], total, jnp.zeros_like(total))
        items, n = as_sequence(self, x)
        return self._with_length(total, jnp.asarray(n), capacity_of(items))

    def _by_items(self, x: SequenceEvent, read: Callable) -> Array:
        """What is read of each item."""
        return read(*self._log_parts(x))[: capacity_of(as_sequence(self, x).items)]

    def smoothed(self, x: SequenceEvent) -> Float[Array, "t k"]:
        """Probability of each state at each item given the sequence; 0 beyond its length."""
        return self._by_items(x, functools.partial(occupations, whole=True))

    def filtered(self, x: SequenceEvent) -> Float[Array, "t k"]:
        """Probability of each state at each item given the items so far; 0 beyond the length."""
        return self._by_items(x, functools.partial(occupations, whole=False))

    def item_log_probs(self, x: SequenceEvent) -> Float[Array, " t"]:
        """Log-density of each item given those before it, in nats; 0 beyond the length.

        They add up to the log-density of the sequence, less that of its length.
        """
        return self._by_items(x, item_log_densities)

    def predict(self, x: SequenceEvent, steps: int = 1, inputs: Array | None = None) -> PyTree:
        """The density of the item `steps` after the last one given the sequence: a mixture.

        Of an empty sequence it is that of item `steps`. Where inputs drive the chain, or emissions
        are regressions, `inputs` (steps, p) are those of the items to come.

        Example:
            >>> import jax, jaxmix as jm, jax.numpy as jnp
            >>> emissions = jax.vmap(jm.Normal)(jnp.array([-3.0, 3.0]), jnp.ones(2))
            >>> turns = jnp.array([[0.0, 1.0], [1.0, 0.0]])
            >>> model = jm.HiddenMarkov(jnp.array([0.5, 0.5]), turns, emissions)
            >>> x = jm.SequenceEvent(jnp.array([3.0, -3.0]), jnp.array(2))
            >>> model.predict(x, 1).mean.round(3), model.predict(x, 2).mean.round(3)
            (Array(3., dtype=float32), Array(-3., dtype=float32))
        """
        steps = whole(1)(steps, "steps of predict")
        first, following, emitted, used = self._log_parts(x)
        if self.driven is not None and inputs is None:
            raise ValueError("To foretell a chain that is driven, give the inputs to come.")
        last = last_log_probs(first, following, emitted, used)
        moves = following if self.driven is None else self._following(inputs, emitted.shape[1])
        ahead = foretold(last, moves, steps)[-1]
        # The first item of an empty sequence is in its first state.
        later = foretold(first, moves if moves.ndim == 2 else moves[1:], steps - 1)
        begun = jnp.concatenate([first[None], later])[-1]
        parts = self.emissions
        if inputs is not None and self.driven != "transitions":
            parts = over_stack(lambda state: state.given(inputs[-1]), parts)
        return MixtureSameFamily(logits=jnp.where(used[0], ahead, begun), components=parts)

    def viterbi(self, x: SequenceEvent) -> Int[Array, " t"]:
        """The most probable path of states; 0 beyond the sequence's length."""
        return self._by_items(x, _best_path)

    def sample(self, key: Key[Array, ""]) -> SequenceEvent:
        if self.driven is not None:
            raise ValueError("A chain that is driven by inputs has none to draw from: see predict.")
        return super().sample(key)

    def _draw(self, key: Key[Array, ""], size: int) -> PyTree:
        k_first, k_states, k_items = jax.random.split(key, 3)
        first = self.initial.sample(k_first)
        later = walk(self.transition, first, k_states, size)
        states = jnp.concatenate([first[None], later[:-1]])
        emit = lambda state, key: pick(self.emissions, state).sample(key)
        return jax.vmap(emit)(states, jax.random.split(k_items, size))


def _best_path(first, following, emitted, used) -> Int[Array, " t"]:
    def forward(best, part):
        log_emitted, moves, there = part
        through = best[:, None] + moves
        back = jnp.where(there, jnp.argmax(through, 0), jnp.arange(best.shape[0]))
        return jnp.where(there, jnp.max(through, 0) + log_emitted, best), back

    moves = jnp.broadcast_to(following, (used.shape[0] - 1, *following.shape[-2:]))
    best, backs = _loops.scan(forward, first + emitted[0], (emitted[1:], moves, used[1:]))

    def backward(state, back):
        return back[state], state

    start, rest = _loops.scan(backward, jnp.argmax(best), backs, reverse=True)
    path = jnp.concatenate([start[None], rest])
    return jnp.where(used, path, jnp.zeros_like(path))
