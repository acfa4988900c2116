"""Fields that may be missing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree, Scalar

from .._density import LogDensity, as_part, check_kind, check_parts, is_density, one_event
from .._trees import spread, take
from ..families.bernoulli import Bernoulli


class OptionalEvent(NamedTuple):
    """A value and whether it is there; what `value` holds where it is not has no meaning."""

    value: PyTree
    present: Bool[Array, ""]


def masked(present: Bool[Array, "..."], value: PyTree) -> PyTree:
    """The value where present, zeros elsewhere: 0 * NaN would be NaN in a gradient."""

    def zeroed(array):
        there = spread(present, array.ndim)
        return jnp.where(there, array, jnp.zeros_like(array))

    return jax.tree.map(zeroed, value)


class Optional(LogDensity):
    """Density of a field that may be missing, in nats.

    Without `p_missing` missingness is ignorable: log p(missing) = 0 and log p(value) is the
    child's, so that what is missing says nothing. With it, it informs: log p(missing) =
    log p_missing, log p(value) = log(1 - p_missing) + the child's; a fit estimates it.

    Args:
        value: density of the value.
        p_missing: probability of a missing value, or a density of it (`Bernoulli`), or None.
        logits: log(p_missing / (1 - p_missing)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> field = jm.Optional(jm.Normal(0, 1), 0.25)
        >>> field.log_prob(jm.OptionalEvent(jnp.array(0.0), jnp.array(False))).round(4)
        Array(-1.3863, dtype=float32)
    """

    value: PyTree
    missing: PyTree

    def __init__(self, value, p_missing=None, *, logits=None):
        self.value, self.missing = as_part("The value of Optional", value), p_missing
        if logits is not None or not (p_missing is None or is_density(p_missing)):
            self.missing = Bernoulli(p_missing, logits=logits)

    p_missing = property(lambda self: None if self.missing is None else self.missing.prob)

    def check_rows(self, rows: OptionalEvent) -> None:
        there = np.asarray(rows.present)
        check_parts([(self.value, take(rows.value, there))])

    def log_prob(self, x: OptionalEvent) -> Scalar:
        check_kind(self, hasattr(x, "present"), "a jm.OptionalEvent(value, present)", x)
        present = one_event(x.present, (), self)
        value = self.value.log_prob(masked(present, x.value))
        there = jnp.where(present, value, jnp.zeros_like(value))
        return there if self.missing is None else there + self.missing.log_prob(~present)

    def sample(self, key: Key[Array, ""]) -> OptionalEvent:
        k_value, k_missing = jax.random.split(key)
        present = jnp.asarray(True) if self.missing is None else ~self.missing.sample(k_missing)
        return OptionalEvent(masked(present, self.value.sample(k_value)), present)
