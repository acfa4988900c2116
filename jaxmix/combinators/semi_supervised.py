"""Mixtures of events some of which come with what is known of their labels."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .._density import check_kind, check_parts, refused_shape
from .._hooks import Labelled
from .._numerics import as_array, log_of
from ._labels import HiddenLabel, log_parts_of


class LabelledEvent(NamedTuple):
    """A value, and the likelihood of each label (k,): one-hot if known, all ones if not."""

    value: PyTree
    labels: Float[Array, " k"]


class SemiSupervised(HiddenLabel):
    """Density of events with evidence on their components, in nats.

    log p(x, e) = log sum_k weights[k] e[k] p_k(x): where the label is known (e one-hot) that of
    the pair (x, label), where nothing is known (e all ones) the mixture's own.

    Args:
        mixture: a mixture of k components.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([0.0, 0.0]), jnp.ones(2))
        >>> model = jm.SemiSupervised(jm.MixtureSameFamily(jnp.array([0.25, 0.75]), parts))
        >>> event = jm.LabelledEvent(jnp.array(0.0), jnp.array([1.0, 0.0]))
        >>> model.posterior(event)
        Array([1., 0.], dtype=float32)
    """

    mixture: PyTree

    def __check_init__(self):
        if not isinstance(self.mixture, Labelled):
            raise ValueError(
                f"SemiSupervised takes a mixture; it was given a {type(self.mixture).__name__}."
            )

    def check_rows(self, rows: LabelledEvent) -> None:
        check_parts([(self.mixture, rows.value)])

    def log_parts(self, x: LabelledEvent) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        """The terms log weights[k] + log e[k], and log p_k(x), in nats."""
        check_kind(self, hasattr(x, "labels"), "a jm.LabelledEvent(value, labels)", x)
        log_weights, under = log_parts_of(self.mixture, x.value)
        labels = as_array(x.labels)
        if labels.shape != under.shape:
            raise ValueError(refused_shape(self, f"{under.shape} of labels", labels.shape))
        return log_weights + log_of(labels.astype(under.dtype)), under

    def sample(self, key: Key[Array, ""]) -> LabelledEvent:
        """A value of the mixture, of whose label nothing is known."""
        weights = self.mixture.weights
        return LabelledEvent(self.mixture.sample(key), jnp.ones_like(weights))
