"""What a datum is: a row, or an item where one row holds a whole series."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._trees import num_rows
from ..combinators import SequenceEvent


def items_of_one_row(data: PyTree) -> Any | None:
    """How many items one single row holds in its sequences; None for other data.

    Asymptotics are in the items then: one row of 400 items is no sample of size 1.
    """
    is_series = lambda node: isinstance(node, SequenceEvent)
    series = [n for n in jax.tree.leaves(data, is_leaf=is_series) if is_series(n)]
    if not series or num_rows(data) != 1:
        return None
    lengths = [jnp.sum(jnp.asarray(event.length)) for event in series]
    return jnp.maximum(1, sum(lengths[1:], lengths[0]))
