"""Online EM: a model that learns from each batch as it comes, for one pass or a few."""

import contextlib
import dataclasses
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._arguments import takes, whole
from ..._hooks import offers
from ..._results import RESULTS
from ..._sharding import on_automatic_axes
from ..._trees import float_of, in_numpy
from ..checks import checked_data, of_dtype
from ..drive import Progress, drive
from ..entry import ASSIGNMENT, FLOOR
from ..expected import expect
from ..m_step import refit
from ..parts import recentred, take_apart
from ..priors.prior import DEFAULT_FLOOR, Prior, about_own_origins, floor_prior
from ..search.restarts import SEARCH_ROWS
from .batches import Pieces, ahead, sampled


class OnlineState(eqx.Module):
    """What stepwise EM goes on from: the model that last learned, and statistics a datum.

    - `average`: of the statistics of so many (`num_averaged`) batches.
    - `capacity`: rows of a full batch, the unit of the step length.
    - `rows`: those of all sources; `num_read`: those read so far, each pass counted.
    """

    model: PyTree
    stats: Any
    average: Any
    prior: Prior
    num_averaged: int
    capacity: int
    rows: int
    num_read: int


class Online(eqx.Module):
    """What `em.online` gives, and what another call of it goes on from.

    - `model`: the last one, or that of the averaged statistics.
    - `log_likelihood`: for each batch its mean log-density in nats a datum, before the model
      learned from it: an honest, if late, measure of fit.
    - `num_rows`: rows read, each pass counted.
    - `result`: successful, or interrupted by ctrl-C after so many rows.
    """

    model: PyTree
    log_likelihood: Float[Array, " batches"]
    state: OnlineState
    result: RESULTS

    @property
    def num_rows(self) -> int:
        return self.state.num_read


def _refitted(leaves, stats, prior, rows):
    """Leaves from statistics a datum, taken `rows` times, and the prior's."""
    totals = jax.tree.map(lambda a: a * rows, stats)
    each = zip(leaves, totals, about_own_origins(leaves, prior), strict=True)
    return [refit(leaf, total, rows, extra)[0] for leaf, total, extra in each]


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
    moved = recentred(parts.leaves, stats, leaves), recentred(parts.leaves, average, leaves)
    return parts.model(leaves, parts.loose), *moved, expected.log_likelihood.value / weight


@eqx.filter_jit
def _from_average(model, average, prior, rows):
    parts = take_apart(model)
    return parts.model(_refitted(parts.leaves, average, prior, rows), parts.loose)


@takes(
    "add up jm.em.expected_stats in a scan of your own.",
    passes=whole(1),
    assignment=ASSIGNMENT,
    floor=FLOOR,
)
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
    progress: bool | None = None,
) -> Online:
    """Stepwise EM: after batch t the statistics move by t ** -power towards the batch's own.

    s <- s + t^-power (E[T(x) | batch] - s), then the M-step of s. With power in (1/2, 1] this
    converges to a stationary point of the expected log-likelihood; with the statistics of the
    second half averaged, as by default, the rate is optimal for any power below 1 (Cappé and
    Moulines 2009, arXiv 0712.4273). With power 1 and batches of one size, a model without latent
    variables ends at its maximum-likelihood fit after one pass.

    Args:
        model: the start, such as that of a fit to a sample; or an earlier outcome, which goes on
            with its statistics, prior and step lengths as if both sources were one, and with its
            average.
        source: a `jm.data` source, or a list or other iterable of batches, which is read into
            memory; rows should come in no order.
        passes: how often to read it.
        power: the exponent of the step.
        average: whether the last model is that of statistics averaged over the second half.
        assignment: "soft" or "hard".
        prior: pseudo-statistics; None for a floor of `floor` times a sample's variance.
        floor: share of the variance.
        progress: show a progress bar; None shows it on passes that last.

    Returns:
        An `Online`: after ctrl-C, of what was read until then.

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
    if not offers(source, "batches"):
        if hasattr(source, "shape") or not isinstance(source, Iterable) or isinstance(source, str):
            raise ValueError(
                "The source must give batches: wrap arrays in jm.data.Arrays(x, batch_size=...), or "
                f"give a list of batches; it is a {type(source).__name__}."
            )
        listed = list(source)
        source = SimpleNamespace(batches=lambda: iter(listed))
    first = None
    if isinstance(model, Online):
        first, model = model.state, model.state.model
    sample, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(sample, model)
    if take_apart(model).loose:
        raise ValueError(
            f"{type(model).__name__} has arrays without sufficient statistics: wrap that part in "
            "jm.frozen, or fit by jm.fit."
        )
    kind = float_of(sample)
    model = of_dtype(model, sample)
    pieces = Pieces(source, in_numpy(sample), kind)
    num_batches, half = passes * -(-rows // pieces.capacity), 0
    if first is None:
        half = num_batches // 2
        prior = jax.jit(floor_prior)(model, sample, None, floor) if prior is None else prior
        now = OnlineState(model, None, None, prior, 0, pieces.capacity, rows, 0)
    else:
        now = dataclasses.replace(
            first, model=model, prior=first.prior if prior is None else prior,
            rows=first.rows + rows,
        )  # fmt: skip
    total = jnp.asarray(now.rows, kind)

    def batch(now: OnlineState, levels):
        if (piece := next(reader, None)) is None:
            return None
        read, done = now.num_read + piece.count, len(levels)
        averaged = 1 if done < half else now.num_averaged + (done > half or half == 0)
        # Counted in full batches: one that is not full weighs as much less.
        rate = min(1, (read / now.capacity) ** -power * piece.count / now.capacity)
        new, stats, mean, level = _learn(
            now.model, now.stats, now.average, piece.rows, piece.weights, jnp.asarray(rate, kind),
            jnp.asarray(1 / averaged, kind), now.prior, total, assignment,
        )  # fmt: skip
        if levels:  # else all batches would queue up in memory
            jax.block_until_ready(levels[-1])
        fresh = OnlineState(new, stats, mean, now.prior, averaged, now.capacity, now.rows, read)
        return fresh, [level]

    every = (piece for _ in range(passes) for piece in ahead(pieces))
    with Progress(num_batches, progress, "batch") as bar, contextlib.closing(every) as reader:
        told = lambda _, levels: (len(levels), float(levels[-1]))
        now, levels = drive(batch, now, [], bar, told=told)
    model = _from_average(now.model, now.average, now.prior, total) if average else now.model
    code = RESULTS.interrupted if bar.interrupted else RESULTS.successful
    return Online(model, jnp.stack(levels), now, code)
