"""Mixtures of sequences over shared topics."""

from typing import ClassVar, Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import check_parts, stack_size
from .._log_sums import log_mixed, weighted_logsumexp
from .._stack import outcome_log_probs, over_stack, pick, repeat, rows_log_prob, rows_total
from ..families._entrances import of_field
from ..families.categorical import Categorical
from ._labels import HiddenLabel, law_and_rows
from ._lengths import OfLength, SequenceEvent, flat_items, one_sequence, stack_around, used_items


class HierarchicalMixture(OfLength, HiddenLabel):
    """Mixture of m laws of sequences, each a mixture over the same k topics, in nats.

    log p(x) = log p(length) + log sum_m weights[m] prod_t sum_k topic_weights[m, k] p_k(x_t).
    One outer label a sequence, one topic an item; the outer weights are of sequences, so that
    long ones weigh no more than short ones.

    Args:
        weights: probabilities (m,) of the outer labels, or a density of them.
        topic_weights: matrix (m, k) whose rows are probabilities, or a stack of `Categorical`.
        topics: a stack of k densities of one item.
        length: density of the length; None says nothing of it.
        max_length: capacity of the events that `sample` and `jm.encode` make.
        logits, topic_logits: logarithms, up to a constant a row, instead of the probabilities.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> topics = jax.vmap(jm.Normal)(jnp.array([-5.0, 5.0]), jnp.ones(2))
        >>> model = jm.HierarchicalMixture(jnp.array([0.5, 0.5]), jnp.eye(2), topics)
        >>> model.posterior(jm.SequenceEvent(jnp.array([5.0, 4.0, 0.0]), jnp.array(2)))
        Array([0., 1.], dtype=float32)
    """

    alternatives: ClassVar[tuple[str, ...]] = ("topics",)

    mixing: PyTree
    topic_mixing: PyTree
    topics: PyTree
    length: PyTree
    max_length: int | None = eqx.field(static=True)
    num_components = of_field("mixing", "size")
    weights = of_field("mixing", "probs")
    topic_weights = of_field("topic_mixing", "probs")

    def __init__(
        self, weights=None, topic_weights=None, topics=None, *,
        logits=None, topic_logits=None, length=None, max_length=None,
    ):  # fmt: skip
        size = stack_size(topics, "The topics of HierarchicalMixture")
        self.mixing, self.topic_mixing = law_and_rows(
            "HierarchicalMixture", (None, size), {"weights": weights, "logits": logits},
            {"topic_weights": topic_weights, "topic_logits": topic_logits},
        )  # fmt: skip
        self.topics, self.length, self.max_length = topics, length, max_length

    @classmethod
    def template(
        cls, topic, num_topics: int, num_components: int, *, length=None, max_length=None
    ) -> Self:
        """A placeholder for a fit: `num_components` laws over `num_topics` like `topic`."""
        outer, inner = Categorical.template(num_components), Categorical.template(num_topics)
        topics, rows = repeat(topic, num_topics), repeat(inner, num_components)
        return cls(outer, rows, topics, length=length, max_length=max_length)

    stack_shape = property(lambda self: stack_around([self.mixing, self.length], [self.topics]))

    def component_log_probs(self, x: SequenceEvent) -> Float[Array, " m"]:
        """Log-density of one event under each outer label."""
        return self._under(one_sequence(self, x))[:, 0]

    def _under(self, rows: SequenceEvent) -> Float[Array, "m rows"]:
        items, used = flat_items(rows)
        under = lambda topic: rows_log_prob(topic, items)
        by_topic = over_stack(under, self.topics)
        topics = by_topic.shape[0]
        mixing = over_stack(lambda row: outcome_log_probs(row, topics), self.topic_mixing)
        total = rows_total(log_mixed(mixing, by_topic), used)
        return self._with_length(total, rows.length, used.shape[0])

    def log_parts(self, x: SequenceEvent) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        under = self.component_log_probs(x)
        return outcome_log_probs(self.mixing, under.shape[0]), under

    def log_prob(self, x: SequenceEvent) -> Scalar:
        return self.rows_log_prob(one_sequence(self, x))[0]

    def check_rows(self, rows: SequenceEvent) -> None:
        check_parts([(self.topics, used_items(rows, rows.items))])

    def rows_log_prob(self, rows: SequenceEvent) -> Float[Array, " rows"]:
        """The log-densities of many events, stacked along a leading axis."""
        under = self._under(rows)
        log_weights = outcome_log_probs(self.mixing, under.shape[0])
        return weighted_logsumexp(log_weights[:, None], under, axis=0)

    def _draw(self, key: Key[Array, ""], size: int) -> PyTree:
        k_outer, k_items = jax.random.split(key)
        row = pick(self.topic_mixing, self.mixing.sample(k_outer))

        def one(key):
            k_topic, k_item = jax.random.split(key)
            return pick(self.topics, row.sample(k_topic)).sample(k_item)

        return jax.vmap(one)(jax.random.split(k_items, size))
