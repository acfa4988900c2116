"""A fixed number of independent observations of one density."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._arguments import whole
from .._density import LogDensity, as_part, check_parts, refused_shape


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
