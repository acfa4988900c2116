"""Online EM: a model that learns from each batch as it comes, for one pass or a few."""

import contextlib
import dataclasses
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._arguments import takes, whole
from ..._hooks import Source
from ..._results import RESULTS
from ..._sharding import on_automatic_axes
from ..._trees import float_of, in_numpy
from ...regression.centred import Centre, centred
from ..checks import checked_data, of_dtype
from ..drive import Progress, drive
from ..entry import ASSIGNMENT, FLOOR
from ..expected import expect
from ..m_step import refit_all
from ..parts import recentred, take_apart
from ..priors.prior import DEFAULT_FLOOR, Prior, check_prior, floor_prior
from ..search.restarts import SEARCH_ROWS
from .batches import Pieces, ahead, sampled


class OnlineState(eqx.Module):
    """What stepwise EM goes on from: the model that last learned, and statistics a datum.

    - `model`: of covariates about `centre`, where that is something.
    - `average`: of the statistics of so many (`num_averaged`) batches.
    - `capacity`: rows of a full batch, the unit of the step length.
    - `rows`: those of all sources; `num_read`: those read so far, each pass counted.
    """

    model: PyTree
    stats: Any
    average: Any
    prior: Prior
    centre: Centre
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


def _refitted(parts, stats, prior, rows):
    """A model from statistics a datum, taken `rows` times, and the prior's."""
    totals = jax.tree.map(lambda a: a * rows, stats)
    return parts.model(refit_all(parts.leaves, totals, rows, prior)[0], parts.loose)


@eqx.filter_jit
def _learn(model, stats, average, batch, weights, rates, prior, rows, assignment):
    expected = expect(model, batch, weights, assignment=assignment)
    parts, weight = take_apart(model), expected.weight
    towards = lambda old, new, share: jax.tree.map(
        lambda o, n: (1 - share) * o + share * n, old, new
    )
    fresh = jax.tree.map(lambda a: a / weight, expected.stats)
    stats = towards(stats, fresh, rates[0])
    average = towards(average, stats, rates[1])
    new = _refitted(parts, stats, prior, rows)
    moved = [recentred(parts.leaves, s, take_apart(new).leaves) for s in (stats, average)]
    return new, *moved, expected.log_likelihood.value / weight


@eqx.filter_jit
def _from_average(model, average, prior, rows):
    return _refitted(take_apart(model), average, prior, rows)


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
    if not isinstance(source, Source):
        if hasattr(source, "shape") or not isinstance(source, Iterable) or isinstance(source, str):
            raise ValueError(
                "The source must give batches: wrap arrays in jm.data.Arrays(x, batch_size=...), or "
                f"give a list of batches; it is a {type(source).__name__}."
            )
        listed = list(source)
        source = SimpleNamespace(batches=lambda: iter(listed))
    given = model.model if isinstance(model, Online) else model
    sample, _, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(sample, of_dtype(given, sample))
    if take_apart(given).loose:
        raise ValueError(
            f"{type(given).__name__} has arrays without sufficient statistics: wrap that part in "
            "jm.frozen, or fit by jm.fit."
        )
    kind = float_of(sample)
    pieces = Pieces(source, in_numpy(sample), kind)
    num_batches, half = passes * -(-rows // pieces.capacity), 0
    if isinstance(model, Online):
        now = of_dtype(model.state, sample)
        prior = now.prior if prior is None else prior
        now = dataclasses.replace(now, prior=prior, rows=now.rows + rows)
    else:
        half = num_batches // 2
        start, near, centre = jax.jit(centred)(of_dtype(model, sample), sample, None)
        prior = jax.jit(floor_prior)(start, near, None, floor) if prior is None else prior
        none = [leaf.zero_stats() for leaf in take_apart(start).leaves]
        now = OnlineState(start, none, none, prior, centre, 0, pieces.capacity, rows, 0)
    check_prior(now.prior, take_apart(now.model).leaves)
    total = jnp.asarray(now.rows, kind)

    def batch(now: OnlineState, levels):
        if (piece := next(reader, None)) is None:
            return None
        read, done = now.num_read + piece.count, len(levels)
        averaged = 1 if done < half else now.num_averaged + (done > half or half == 0)
        # Counted in full batches: one that is not full weighs as much less.
        rate = min(1, (read / now.capacity) ** -power * piece.count / now.capacity)
        new, stats, mean, level = _learn(
            now.model, now.stats, now.average, in_numpy(now.centre).data(piece.rows),
            piece.weights, np.array([rate, 1 / averaged], kind), now.prior, total, assignment,
        )  # fmt: skip
        if levels:  # else all batches would queue up in memory
            jax.block_until_ready(levels[-1])
        fresh = dataclasses.replace(
            now, model=new, stats=stats, average=mean, num_averaged=averaged, num_read=read
        )
        return fresh, [level]

    every = (piece for _ in range(passes) for piece in ahead(pieces))
    with Progress(num_batches, progress, "batch") as bar, contextlib.closing(every) as reader:
        told = lambda _, levels: (len(levels), float(levels[-1]))
        now, levels = drive(batch, now, [], bar, told=told)
    final = _from_average(now.model, now.average, now.prior, total) if average else now.model
    code = RESULTS.interrupted if bar.interrupted else RESULTS.successful
    return Online(now.centre.back(final), jnp.stack(levels), now, code)
