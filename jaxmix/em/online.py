"""Online EM: a model that learns from each batch as it comes, for one pass or a few."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._refuse import on_host
from .batches import Pieces, ahead, sampled
from .checks import checked_data, float_of, of_dtype
from .expected import expect
from .maximise import DEFAULT_FLOOR, Prior, about_own_origins, floor_prior, refit
from .parts import take_apart
from .restarts import SEARCH_ROWS


class Online(eqx.Module):
    """What `em.online` gives.

    - `model`: the last one, or that of the averaged statistics.
    - `log_likelihood`: for each batch its mean log-density in nats a datum, before the model
      learned from it: an honest, if late, measure of fit.
    - `num_rows`: rows read, each pass counted.
    """

    model: PyTree
    log_likelihood: Float[Array, " batches"]
    num_rows: int


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
def online(
    model: PyTree,
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
        model: the start, such as that of a fit to a sample.
        source: a `jm.data` source; its rows should come in no order.
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
    """
    if not 0.5 < power <= 1:
        raise ValueError(f"power must be above 1/2 and at most 1; it was {power!r}.")
    if passes < 1:
        raise ValueError(f"passes must be at least 1; it was {passes!r}.")
    sample, rows = sampled(source, SEARCH_ROWS)
    sample = checked_data(sample, model)
    if take_apart(model).loose:
        raise ValueError(
            f"{type(model).__name__} has arrays without sufficient statistics: wrap that part in "
            "jm.frozen, or fit by jm.fit."
        )
    kind = float_of(sample)
    model = of_dtype(model, sample)
    prior = jax.jit(floor_prior)(model, sample, None, floor) if prior is None else prior
    pieces = Pieces(source, jax.tree.map(np.asarray, sample), kind)
    half = passes * -(-rows // pieces.capacity) // 2
    stats = mean = None
    trace, count, seen = [], 0, 0
    for _ in range(passes):
        for piece in ahead(pieces):
            count, seen = count + 1, seen + piece.count
            # A batch that is not full weighs as much less.
            rate = jnp.asarray(float(count) ** -power * piece.count / pieces.capacity, kind)
            share = jnp.asarray(1.0 if count <= half else 1.0 / (count - half), kind)
            model, stats, mean, level = _learn(
                model, stats, mean, piece.rows, piece.weights, rate, share, prior,
                jnp.asarray(rows, kind), assignment,
            )  # fmt: skip
            trace.append(level)
            if len(trace) > 1:  # else all batches would queue up in memory
                jax.block_until_ready(trace[-2])
    if average:
        model = _from_average(model, mean, prior, jnp.asarray(rows, kind))
    return Online(model, jnp.stack(trace), seen)
