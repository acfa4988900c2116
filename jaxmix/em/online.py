"""Online EM: a model that learns from each batch as it comes, for one pass or a few."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._refuse import on_host
from .._sharding import on_automatic_axes
from .batches import Pieces, ahead, sampled
from .checks import checked_data, float_of, of_dtype
from .expected import expect
from .maximise import DEFAULT_FLOOR, Prior, about_own_origins, floor_prior, refit
from .parts import take_apart
from .restarts import SEARCH_ROWS


class OnlineState(eqx.Module):
    """What stepwise EM goes on from: the model that last learned, and statistics a datum.

    - `average`: of the statistics of so many (`num_averaged`) batches.
    - `capacity`: rows of a full batch, the unit of the step length; `rows`: those of all sources.
    """

    model: PyTree
    stats: Any
    average: Any
    prior: Prior
    num_averaged: int
    capacity: int
    rows: int


class Online(eqx.Module):
    """What `em.online` gives, and what another call of it goes on from.

    - `model`: the last one, or that of the averaged statistics.
    - `log_likelihood`: for each batch its mean log-density in nats a datum, before the model
      learned from it: an honest, if late, measure of fit.
    - `num_rows`: rows read, each pass counted.
    """

    model: PyTree
    log_likelihood: Float[Array, " batches"]
    num_rows: int
    state: OnlineState


class _Listed:
    """A list of batches as a source."""

    def __init__(self, batches: Iterable[PyTree]):
        self.items = list(batches)

    def batches(self):
        return iter(self.items)


def _moved(leaves, stats, new_leaves):
    """Statistics about the new leaves' origins."""
    return [
        leaf.recentre(s, leaf.origin, new.origin)
        for leaf, s, new in zip(leaves, stats, new_leaves, strict=True)
    ]


def _refitted(leaves, stats, prior, rows):
    """Leaves from statistics a datum, taken `rows` times, and the prior's."""
    pseudo = about_own_origins(leaves, prior)
    new = []
    for leaf, s, extra in zip(leaves, stats, pseudo, strict=True):
        new.append(refit(leaf, jax.tree.map(lambda a: a * rows, s), extra, rows)[0])
    return new


@eqx.filter_jit
def _learn(model, stats, average, batch, weights, rate, share, prior, rows, assignment):
    expected = expect(model, batch, weights, assignment=assignment)
    parts = take_apart(model)
    weight = expected.weight
    fresh = jax.tree.map(lambda a: a / weight, expected.stats)
    towards = lambda old, new, part: jax.tree.map(lambda o, n: o + part * (n - o), old, new)
    stats = fresh if stats is None else towards(stats, fresh, rate)
    average = stats if average is None else towards(average, stats, share)
    leaves = _refitted(parts.leaves, stats, prior, rows)
    moved = _moved(parts.leaves, stats, leaves), _moved(parts.leaves, average, leaves)
    return parts.model(leaves, parts.loose), *moved, expected.log_likelihood.value / weight


@eqx.filter_jit
def _from_average(model, average, prior, rows):
    parts = take_apart(model)
    return parts.model(_refitted(parts.leaves, average, prior, rows), parts.loose)


@on_host("add up jm.em.expected_stats in a scan of your own.")
@on_automatic_axes
def online(
    model: PyTree | Online,
    source: Any,
    *,
    passes: int = 1,
    power: float = 0.6,
    average: bool = True,
    assignment: str = "soft",
    prior: Prior | None = None,
    floor: float = DEFAULT_FLOOR,
) -> Online:
    """Stepwise EM: after batch t the statistics move by t ** -power towards the batch's own.

    s <- s + t^-power (E[T(x) | batch] - s), then the M-step of s. With power in (1/2, 1] this
    converges to a stationary point of the expected log-likelihood; with the statistics of the
    second half averaged, as by default, the rate is optimal for any power below 1 (Cappé and
    Moulines 2009, arXiv 0712.4273). With power 1 and batches of one size, a model without latent
    variables ends at its maximum-likelihood fit after one pass.

    Args:
        model: the start, such as that of a fit to a sample; or an earlier outcome, which goes on
            with its statistics, prior and step lengths as if both sources were one.
        source: a `jm.data` source, or a list or other iterable of batches, which is read into
            memory; rows should come in no order.
        passes: how often to read it.
        power: the exponent of the step.
        average: whether the last model is that of statistics averaged over the second half.
        assignment: "soft" or "hard".
        prior: pseudo-statistics; None for a floor of `floor` times a sample's variance.
        floor: share of the variance.

    Returns:
        An `Online`.

    Raises:
        ValueError: for bad data, a power outside (1/2, 1], or leaves without statistics.

    Example:
        >>> import jaxmix as jm, numpy as np
        >>> source = jm.data.Arrays(np.array([1.0, 3.0, 5.0, 7.0], np.float32), batch_size=2)
        >>> found = jm.em.online(jm.Normal(0.0, 1.0), source, power=1, average=False)
        >>> round(float(found.model.mean), 4)
        4.0
        >>> late = [np.array([9.0, 11.0], np.float32)]
        >>> found = jm.em.online(found, late, power=1, average=False)
        >>> round(float(found.model.mean), 4)  # of all six
        6.0
    """
    if not 0.5 < power <= 1:
        raise ValueError(f"power must be above 1/2 and at most 1; it was {power!r}.")
    if passes < 1:
        raise ValueError(f"passes must be at least 1; it was {passes!r}.")
    if not callable(getattr(source, "batches", None)):
        if hasattr(source, "shape") or not isinstance(source, Iterable):
            raise ValueError(
                "The source must give batches: wrap arrays in jm.data.Arrays(x, batch_size=...), or "
                f"give a list of batches; it is a {type(source).__name__}."
            )
        source = _Listed(source)
    first, before, seen = None, 0, 0
    if isinstance(model, Online):
        first, seen = model.state, model.num_rows
        model, before = first.model, first.rows
    sample, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(sample, model)
    if take_apart(model).loose:
        raise ValueError(
            f"{type(model).__name__} has arrays without sufficient statistics: wrap that part in "
            "jm.frozen, or fit by jm.fit."
        )
    kind = float_of(sample)
    model = of_dtype(model, sample)
    if prior is None:
        prior = jax.jit(floor_prior)(model, sample, None, floor) if first is None else first.prior
    pieces = Pieces(source, jax.tree.map(np.asarray, sample), kind)
    stats = mean = None
    trace, averaged, half = [], 0, passes * -(-rows // pieces.capacity) // 2
    capacity, total = pieces.capacity, jnp.asarray(before + rows, kind)
    if first is not None:
        stats, mean = first.stats, first.average
        averaged, half, capacity = first.num_averaged, 0, first.capacity
    for _ in range(passes):
        for piece in ahead(pieces):
            seen += piece.count
            averaged = 1 if len(trace) < half else averaged + (len(trace) > half or half == 0)
            # Counted in full batches: one that is not full weighs as much less.
            rate = jnp.asarray(min(1, (seen / capacity) ** -power * piece.count / capacity), kind)
            share = jnp.asarray(1 / averaged, kind)
            model, stats, mean, level = _learn(
                model, stats, mean, piece.rows, piece.weights, rate, share, prior,
                total, assignment,
            )  # fmt: skip
            trace.append(level)
            if len(trace) > 1:  # else all batches would queue up in memory
                jax.block_until_ready(trace[-2])
    state = OnlineState(model, stats, mean, prior, averaged, capacity, before + rows)
    if average:
        model = _from_average(model, mean, prior, total)
    return Online(model, jnp.stack(trace), seen, state)
