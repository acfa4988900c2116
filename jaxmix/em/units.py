"""What a datum is: a row, or an item where one row holds a whole series."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._stack import pick
from .._trees import num_rows
from ..combinators import HiddenMarkov, SequenceEvent
from ..combinators._conditioning import plain


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


def as_series(data: PyTree, model: PyTree) -> PyTree:
    """Items of a hidden chain by themselves, as whole sequences: many rows of them, or one series.

    Which of the two is read off the shape of one item, as the emissions take it.
    """
    chain = plain(model)
    chain = getattr(chain, "filled", chain)
    if not isinstance(chain, HiddenMarkov) or hasattr(data, "length"):
        return data
    state = pick(chain.emissions, 0)

    def fits(depth: int) -> bool:
        item = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[depth:], a.dtype), data)
        try:
            seen = item[0] if chain.driven == "transitions" else item
            return eqx.filter_eval_shape(lambda s, x: s.log_prob(x), state, seen).shape == ()
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            return False

    arrays = jax.tree.leaves(data)
    if all(a.ndim > 1 for a in arrays) and fits(2):
        rows, capacity = arrays[0].shape[:2]
        return SequenceEvent(data, jnp.full(rows, capacity))
    if not fits(1):
        return data
    return SequenceEvent(jax.tree.map(lambda a: a[None], data), jnp.full(1, arrays[0].shape[0]))
