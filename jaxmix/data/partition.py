"""Random partitions of events."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._arguments import in_doubles, key, rows, takes
from .._sharding import gathered
from .._trees import num_rows, take


@takes("split the rows before.", key=key, data=rows, fractions=in_doubles)
def partition(key: Key[Array, ""], data: PyTree, fractions: Sequence[float]) -> tuple[PyTree, ...]:
    """Split events at random into parts of given fractions.

    Args:
        key: a typed key.
        data: events, stacked along a leading axis.
        fractions: what share of the rows each part gets; positive, adding up to at most 1.

    Returns:
        As many parts, each in the rows' own order.

    Raises:
        ValueError: for fractions that are not positive or exceed 1 together, or an empty part.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> train, valid = jm.partition(jax.random.key(0), jnp.arange(10), (0.8, 0.2))
        >>> train.shape, valid.shape
        ((8,), (2,))
    """
    data = gathered(data)
    count = num_rows(data)
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or np.any(shares <= 0) or shares.sum() > 1 + 1e-9:
        raise ValueError(
            f"Fractions are positive and add up to at most 1; {shares.tolist()} were given."
        )
    ends = np.concatenate([[0], np.rint(np.cumsum(shares) * count).astype(int)])
    if np.any(np.diff(ends) == 0):
        raise ValueError(f"{count} rows are too few for the fractions {shares.tolist()}.")
    order = np.asarray(jax.random.permutation(key, count))
    parts = [np.sort(order[a:b]) for a, b in pairwise(ends)]
    return tuple(take(data, index) for index in parts)
