"""Several processes, each with its own rows: sums are exchanged once a pass, nothing else is."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from .._numerics import Sum, merge


def is_first() -> bool:
    """Whether this process writes what one process should."""
    return jax.process_index() == 0


def together(totals: PyTree) -> PyTree:
    """Compensated sums over all processes, in the same order on each."""
    if jax.process_count() == 1:
        return totals
    every = multihost_utils.process_allgather(totals)
    parts = [jax.tree.map(lambda a, i=i: a[i], every) for i in range(jax.process_count())]
    total = parts[0]
    for part in parts[1:]:
        total = jax.tree.map(merge, total, part, is_leaf=lambda node: isinstance(node, Sum))
    return jax.tree.map(jax.numpy.asarray, total)


def everyone(rows: PyTree, wanted: int) -> PyTree:
    """A sample made of every process's own, the same on each; processes must give as many rows."""
    if jax.process_count() == 1:
        return rows
    share = wanted // jax.process_count()
    have = len(jax.tree.leaves(rows)[0])
    least = int(np.min(multihost_utils.process_allgather(np.asarray(have))))
    index = np.round(np.linspace(0, have - 1, min(share, least))).astype(int)
    part = jax.tree.map(lambda a: np.asarray(a)[index], rows)
    every = multihost_utils.process_allgather(part)
    return jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:]), every)


def agreed(value: Any) -> PyTree:
    """The first process's value, everywhere."""
    return value if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value)
