"""Sequences of independent items, and a fixed number of independent observations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._arguments import whole
from .._density import LogDensity, as_part, check_parts, refused_shape
from .._hooks import ByItems
from .._stack import rows_total
from ._lengths import OfLength, SequenceEvent, flat_items, one_sequence, used_items


class Sequence(OfLength):
    """Density of a sequence of independent items of one law, in nats.

    log p(x) = log p(length) + sum_{t < length} log p(items[t]).

    Args:
        item: density of one item.
        length: density of the length; None says nothing of it (the density is then that of the
            items given their number).
        max_length: capacity of the events that `sample` makes.
        per_item: divide the items' part by their number, so that long sequences weigh no more
            than short ones. This is no density any more: it sums to no 1.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> words = jm.Sequence(jm.Normal(0, 1), length=jm.Poisson(1.0))
        >>> words.log_prob(jm.SequenceEvent(jnp.zeros(3), jnp.array(0)))
        Array(-1., dtype=float32)
    """

    item: PyTree
    length: PyTree
    max_length: int | None = eqx.field(static=True)
    per_item: bool = eqx.field(static=True)

    def __init__(self, item, length=None, *, max_length=None, per_item: bool = False):
        self.item, self.per_item = as_part("The item of Sequence", item), per_item
        self.length, self.max_length = length, max_length

    def check_rows(self, rows: SequenceEvent) -> None:
        check_parts([(self.item, used_items(rows, rows.items))])

    def log_prob(self, x: SequenceEvent) -> Scalar:
        return self.rows_log_prob(one_sequence(self, x))[0]

    def rows_log_prob(self, rows: SequenceEvent) -> Float[Array, " rows"]:
        """The log-densities of many events, stacked along a leading axis."""
        items, used = flat_items(rows)
        item: Any = self.item
        if isinstance(item, ByItems):
            total = item.items_log_prob(items, used)
        else:
            total = rows_total(jax.vmap(item.log_prob)(items), used)
        if self.per_item:
            total = total / jnp.maximum(rows.length, 1).astype(total.dtype)
        return self._with_length(total, rows.length, used.shape[0])

    def _draw(self, key: Key[Array, ""], size: int) -> PyTree:
        return jax.vmap(self.item.sample)(jax.random.split(key, size))


class Repeated(LogDensity):
    """Density of n independent observations: log p(x) = sum_i log p(x[i]), in nats.

    An event is n events of the density, stacked along a leading axis. Unlike `jm.Sequence` it
    has no law of the length, and no padding.

    Args:
        item: density of one observation.
        times: the number n of observations (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Repeated(jm.Normal(0, 1), 3).log_prob(jnp.zeros(3)).round(4)
        Array(-2.7568, dtype=float32)
    """

    item: PyTree
    times: int = eqx.field(static=True)

    def __init__(self, item, times: int):
        self.item = as_part("The item of Repeated", item)
        self.times = whole(1)(times, "times of Repeated")

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.item, "reparametrised", False)

    def _check(self, x):
        leading = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
        if leading != {(self.times,)}:
            given = f"with leading axes {sorted(leading)}"
            raise ValueError(refused_shape(self, f"({self.times}, ...)", given))

    def check_rows(self, rows: PyTree) -> None:
        flat = lambda a: a.reshape(-1, *a.shape[2:])
        check_parts([(self.item, jax.tree.map(flat, rows))])

    def log_prob(self, x: PyTree) -> Scalar:
        self._check(x)
        return jnp.sum(jax.vmap(self.item.log_prob)(x))

    def log_prob_of_stats(self, stats: Any, origin: Array | None = None) -> Scalar:
        """Log-density of observations of these summed statistics, less their base measure.

        Args:
            stats: the sum of `item.stats(x, origin)` over the n observations.
            origin: what the statistics are about.

        Raises:
            ValueError: if the item has no sufficient statistics.
        """
        if not hasattr(self.item, "natural"):
            raise ValueError(f"{type(self.item).__name__} has no sufficient statistics to give.")
        return self.item.expected_log_prob(stats, origin)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return jax.vmap(self.item.sample)(jax.random.split(key, self.times))
