"""The E-step as a gradient: expected statistics of any nesting, in one chunked scan."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _loops
from .._chunkwise import ByChunk
from .._hooks import ByRows
from .._sharding import on_automatic_axes
from .._stack import of_arrays, rows_log_prob
from .._trees import (
    Sum,
    compensated_sum,
    merged,
    num_rows,
    one_row,
    values_of,
    zero_sum,
)
from ..combinators._buckets import Buckets
from ..combinators._columns import ColumnsEvent
from .chunks import brief, chunk_rows, over_chunks
from .entry import enter
from .parts import asking_of, events_asked, take_apart
from .product_form import (
    Look,
    about_one,
    about_several,
    all_near,
    has_product_form,
    ways_of,
)
from .sharded import opened, pooled


class Expected(NamedTuple):
    """What one pass over the data gives. Additive: chunks, files and devices merge by sums.

    `log_likelihood` is the model's own; `objective` is what the assignment optimises (the same,
    unless it is hard). `stats` lists each leaf's statistics, `gradient` the loose arrays'.
    """

    log_likelihood: Sum
    objective: Sum
    weight: Array
    rows: Array  # of positive weight: rounding is theirs, whatever the unit of weights
    stats: list[Any]
    gradient: list[Array]


def expect(
    model: PyTree,
    data: PyTree,
    weights: Array | None = None,
    *,
    assignment: str = "soft",
    chunk_size: int | None = None,
    cut: bool = False,
    residual: bool = False,
) -> Expected:
    """One pass over the data: log-likelihood, and each leaf's expected statistics.

    Statistics are about each leaf's own origin. Rows of weight 0 contribute nothing, whatever
    their log-density. `cut` copies the data into chunks: a derivative in them is then made chunk
    by chunk, where that of windows on the whole would be as large as the whole for each.
    `residual` takes every leaf about its own origin: right whatever the spread, and one program
    where the faster product form needs two.
    """
    if isinstance(data, Buckets):
        one = functools.partial(
            expect, model, assignment=assignment, chunk_size=chunk_size, residual=residual
        )
        return functools.reduce(merged, map(one, data.parts, data.weights))
    parts = take_apart(model)
    leaves = [leaf.evaluated for leaf in parts.leaves]
    data, axes = opened(data)
    rows = num_rows(data)
    chunk = chunk_rows(model, data, chunk_size)
    residual = residual or isinstance(data, ColumnsEvent)  # columns have no origin in common
    hard = assignment == "hard"
    by_rows = not hard and isinstance(model, ByRows)
    row = one_row(data)
    dtype = asking_of(model, row).dtype

    def scan(ways):
        look = Look(parts, ways, hard, by_rows)
        levels = (jnp.zeros(chunk, dtype),) * (2 if hard else 1)
        empty = zero_sum((levels, [way.no_sums for way in ways], parts.loose))
        totals = over_chunks(look.sums, empty, data, weights, chunk, dtype, again=True, cut=cut)
        levels = list(map(compensated_sum, totals[0]))
        sums, gradient = values_of(totals[1:])
        stats = [way.stats(own) for way, own in zip(ways, sums, strict=True)]
        return levels[-1], levels[0], stats, gradient

    ahead = any(isinstance(leaf, ByChunk) or has_product_form(leaf) for leaf in leaves)
    events: list[Any] = [None] * len(leaves)
    # A model that lays out its own rows evaluates its leaves by itself.
    if not by_rows and ahead:
        events = events_asked(model, row)
    if not residual and any(map(has_product_form, leaves)):
        near = ways_of(leaves, events, about_one)
        far = lambda: scan(ways_of(leaves, events, about_several))
        soft, objective, stats, gradient = _loops.cond(all_near(near), lambda: scan(near), far)
    else:
        soft, objective, stats, gradient = scan(ways_of(leaves, events))
    weight = used = jnp.asarray(rows, soft.high.dtype)
    if weights is not None:
        weight, used = jnp.sum(weights), jnp.sum(weights > 0, dtype=weights.dtype)
    return pooled(Expected(soft, objective, weight, used, stats, gradient), axes)


def log_likelihood(
    model: PyTree, data: PyTree, weights: Array | None = None, chunk_size: int | None = None
) -> Sum:
    """Weighted sum over the data of the model's log-density, in nats, by chunks."""
    if isinstance(data, Buckets):
        one = lambda part, w: log_likelihood(model, part, w, chunk_size)
        return functools.reduce(merged, map(one, data.parts, data.weights))
    data, axes = opened(data)
    dtype = eqx.filter_eval_shape(lambda m, x: m.log_prob(x), model, one_row(data)).dtype

    def summed(rows, weights):
        values = rows_log_prob(model, rows)
        return compensated_sum(jnp.where(weights > 0, values, jnp.zeros_like(values)) * weights)

    chunk = chunk_rows(model, data, chunk_size)
    total = over_chunks(summed, zero_sum(jnp.zeros((), dtype)), data, weights, chunk, dtype)
    return pooled(total, axes)


@on_automatic_axes
def expected_stats(
    model: PyTree, data: PyTree, *, weights: Array | None = None, chunk_size: int | None = None
) -> tuple[Array, PyTree]:
    """Log-likelihood of the data in nats, and the expected statistics in the model's structure.

    The gradient of sum_n weights[n] log p(x_n) in tilts `exp<t, T(x)>` of every leaf, at t = 0.

    Args:
        model: a density of one event.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), non-negative; None for ones.
        chunk_size: rows of a chunk of the scan.

    Returns:
        The total log-likelihood, and the model with each refittable leaf replaced by its summed
        statistics (about the leaf's own origin), each loose array by its gradient.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> _, stats = jm.em.expected_stats(jm.Normal(0, 1), jnp.array([1.0, 3.0]))
        >>> float(stats.count), float(stats.first)
        (2.0, 4.0)
    """
    data, weights = enter(model, data, weights)
    return _expected_stats(of_arrays(model), data, weights, chunk_size)


@brief
def _expected_stats(model, data, weights, chunk_size):
    expected = expect(model, data, weights, chunk_size=chunk_size)
    tree = take_apart(model).model(expected.stats, expected.gradient)
    return expected.log_likelihood.value, tree
