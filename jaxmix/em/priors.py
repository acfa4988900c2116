"""Conjugate priors in the parameters a user knows, as the pseudo-statistics that EM adds."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._exponential import Moments, Refittable, Total
from .._stack import over_stack
from ..combinators.tied import Borrowed
from ..families import (
    Bernoulli,
    BernoulliSet,
    Beta,
    Binomial,
    Categorical,
    DiagonalNormal,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    IntegerCategorical,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    Normal,
    PartialNormal,
    Poisson,
    SphericalNormal,
    StudentT,
    TiedMultivariateNormal,
)
from ..families._special import log_minus_digamma
from ..families.categorical import Counts
from ..families.geometric import Trials
from ..families.student_t import LatentScales
from .expected import take_apart
from .maximise import Prior, floor_prior, pooled_stats


class InverseGamma(NamedTuple):
    """Prior of a variance (or of each of several): log p = -(shape + 1) log v - scale / v + const."""

    shape: Any
    scale: Any


class NormalInverseGamma(NamedTuple):
    """Prior of a mean and a variance v: the inverse gamma of v, and mean ~ N(mean, v / count)."""

    mean: Any
    count: Any
    shape: Any
    scale: Any


class InverseWishart(NamedTuple):
    """Prior of a covariance S (d, d): log p = -((df + d + 1) log|S| + tr(scale S^-1)) / 2 + const."""

    df: Any
    scale: Any


class NormalInverseWishart(NamedTuple):
    """Prior of a mean and a covariance S: the inverse Wishart of S, mean ~ N(mean, S / count)."""

    mean: Any
    count: Any
    df: Any
    scale: Any


class PseudoEvents(NamedTuple):
    """As though these events had been seen, with this total weight: for every family."""

    events: PyTree
    count: Any


class PseudoRows(NamedTuple):
    """As though so many rows distributed as all the data had been seen: for every family."""

    count: Any


class _Pseudo(NamedTuple):
    """What a law adds to one leaf: statistics about an origin, and events at the mean."""

    stats: Any
    origin: Any = None
    at_mean: Any = None


def conjugate_prior(
    template: PyTree,
    data: PyTree | None,
    rules: Sequence[tuple[Any, Any]] = (),
    *,
    weights: Array | None = None,
    rows: float | Array = 0.0,
    floor: float | Array = 1e-9,
) -> Prior:
    """A prior for `jm.fit`, `jm.em.run` and whatever else takes `prior=`: a fit then ends at a MAP.

    Each rule is a pair (place, law). A place is a family, for all its densities, or a function
    from the model to one of its densities or a list of them, as in `jm.tie`. The densities of a
    stack have one law, or a stack of laws. Laws, in the usual parameters, in which the mode is:

    - probabilities (`Categorical`, mixture weights, `IntegerCategorical`, `Multinomial`):
      `jm.Dirichlet(a)`; one probability (`Bernoulli`, `BernoulliSet`, `Binomial`, `Geometric`):
      `jm.Beta(a, b)`; a number a for the symmetric one. Concentrations are at least 1.
    - the rate of `Poisson` or `Exponential`: `jm.Gamma(shape, rate)`.
    - mean and variance of `Normal`, `LogNormal` (of the logarithm), `DiagonalNormal` (each
      coordinate), `SphericalNormal`, `StudentT`: `jm.em.NormalInverseGamma`, `InverseGamma`.
    - mean and covariance of `MultivariateNormal`, `PartialNormal`, `TiedMultivariateNormal`:
      `jm.em.NormalInverseWishart`, `InverseWishart`.
    - every family: `jm.em.PseudoEvents(events, count)`, `jm.em.PseudoRows(count)`.

    Args:
        template: the model, or its template.
        data: the data, or a sample: floors and pseudo-rows are taken from it. None for none.
        rules: pairs (place, law); laws of one density add up.
        weights: case weights (rows,).
        rows: pseudo-rows of the global fit for every density of the model.
        floor: least variance as a share of the data's; it joins whatever else is asked for.

    Returns:
        A `Prior`: pseudo-statistics that join the data's, whose log-density joins the objective.

    Raises:
        ValueError: for a place that is no density of the model, or a law that is none of its.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([0, 1, 4])
        >>> prior = jm.em.conjugate_prior(jm.Poisson.template(), x, [(jm.Poisson, jm.Gamma(3, 2))])
        >>> jm.em.run(jm.Poisson.template(), x, prior=prior).model.rate.round(4)  # (5 + 2) / (3 + 2)
        Array(1.4, dtype=float32)
    """
    leaves = take_apart(template).leaves
    asked = [(index, law) for place, law in rules for index in _places(template, leaves, place)]
    if data is None:
        if not _is_zero(rows) or any(isinstance(law, PseudoRows) for _, law in asked):
            raise ValueError(
                "Pseudo-rows are rows like those of the data: give conjugate_prior data."
            )
        pooled, origins = None, [leaf.origin for leaf in leaves]
        floors = [jax.tree.map(jnp.zeros_like, leaf.zero_stats()) for leaf in leaves]
    else:
        pooled, origins = pooled_stats(template, data, weights)
        floors = floor_prior(template, data, weights, floor).stats
    if not _is_zero(rows):
        asked += [(index, PseudoRows(rows)) for index in range(len(leaves))]
    totals, at_mean = list(floors), [None] * len(leaves)
    for index, law in asked:
        leaf = leaves[index]
        if isinstance(law, PseudoRows):
            found = _of_rows(leaf, pooled[index], law, origins[index])  # pyright: ignore[reportOptionalSubscript]
        else:
            found = pseudo_statistics(leaf, law)
        zero = leaf.zero_stats()
        stats = jax.tree.map(
            lambda s, z: jnp.broadcast_to(s, z.shape).astype(z.dtype), found.stats, zero
        )
        if found.origin is not None:
            near = origins[index]
            about = jnp.broadcast_to(found.origin, near.shape).astype(near.dtype)
            stats = leaf.recentre(stats, about, near)
        totals[index] = jax.tree.map(jnp.add, totals[index], stats)
        if found.at_mean is not None:
            more = jnp.broadcast_to(found.at_mean, zero.count.shape).astype(zero.count.dtype)
            at_mean[index] = more if at_mean[index] is None else at_mean[index] + more
    return Prior(totals, origins, at_mean, [] if data is None else floors)


def _is_zero(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer) and bool(np.all(np.asarray(x) == 0))


def _places(template: PyTree, leaves: list[Refittable], place: Any) -> list[int]:
    """Positions among the model's leaves of what a rule names."""
    if isinstance(place, type):
        found = [i for i, leaf in enumerate(leaves) if type(leaf) is place]
        if not found:
            names = sorted({type(leaf).__name__ for leaf in leaves})
            raise ValueError(
                f"A rule of the prior is for {place.__name__}; what the fit moves here is "
                f"{', '.join(names)}."
            )
        return found
    named = place(template)
    found = []
    for node in named if isinstance(named, list | tuple) else [named]:
        node = node.part.value if isinstance(node, Borrowed) else node
        at = [i for i, leaf in enumerate(leaves) if leaf is node]
        if not at:
            raise ValueError(
                f"A rule of the prior names a {type(node).__name__}; it must name a density of a "
                "family inside the model, such as `lambda m: m.mixing`, that is not frozen."
            )
        found += at
    return found


def _of_rows(leaf: Refittable, pool: Any, law: PseudoRows, origin: Any) -> _Pseudo:
    def scaled(total):
        return total / pool.count.reshape(pool.count.shape + (1,) * (total.ndim - pool.count.ndim))

    return _Pseudo(jax.tree.map(lambda a: law.count * scaled(a), pool), origin)


def _of_events(leaf: Refittable, law: PseudoEvents) -> _Pseudo:
    events = jax.tree.map(jnp.asarray, law.events)

    def mean_stats(leaf, origin):
        each = jax.vmap(lambda x: leaf.stats(x, origin))(events)
        return jax.tree.map(lambda a: jnp.mean(a, 0), each)

    for _ in leaf.stack_shape:
        mean_stats = functools.partial(over_stack, mean_stats)
    origin = leaf.origin
    # A second pass about the events' own mean: raw moments do not survive float32.
    placed = leaf.from_stats(mean_stats(leaf, origin), origin)
    stats = mean_stats(placed, placed.origin)
    return _Pseudo(jax.tree.map(lambda a: law.count * a, stats), placed.origin)


@functools.singledispatch
def pseudo_statistics(leaf: Refittable, law: Any) -> _Pseudo:
    """The pseudo-statistics by which a law of a family's parameters joins an M-step.

    Register a function of (leaf, law) for a family of your own.
    """
    if isinstance(law, PseudoEvents):
        return _of_events(leaf, law)
    raise ValueError(
        f"{type(leaf).__name__} takes no {_named(law)} as its prior; give it what "
        "jm.em.conjugate_prior lists for it, or jm.em.PseudoEvents."
    )


def _named(law: Any) -> str:
    return f"number {law}" if isinstance(law, int | float) else type(law).__name__


def _for(*families: type) -> Callable:
    """Register a rule for families; None from it means that the law is of another kind."""

    def register(function):
        def rule(leaf, law):
            found = None if isinstance(law, PseudoEvents) else function(leaf, law)
            return pseudo_statistics.dispatch(object)(leaf, law) if found is None else found

        for family in families:
            pseudo_statistics.register(family, rule)
        return function

    return register


def _excess(concentration: Any, owner: Refittable) -> Array:
    """Concentration less 1: the pseudo-counts of which the mode is the mean."""
    value = jnp.asarray(concentration)
    value = value if eqx.is_inexact_array(value) else value.astype(float)
    if not isinstance(value, jax.core.Tracer) and bool(jnp.any(~(value >= 1))):
        raise ValueError(
            f"The prior of {type(owner).__name__} has a concentration of {float(jnp.min(value)):g}: "
            "below 1 the mode is a probability of 0 whatever the data; it must be at least 1."
        )
    return value - 1


def _is_number(law: Any) -> bool:
    return isinstance(law, int | float) or (hasattr(law, "ndim") and law.ndim == 0)


@_for(Categorical, IntegerCategorical, Multinomial)
def _of_probabilities(leaf, law):
    if not (_is_number(law) or isinstance(law, Dirichlet)):
        return None
    counts = _excess(law.concentration if isinstance(law, Dirichlet) else law, leaf)
    counts = jnp.broadcast_to(counts, leaf.zero_stats().outcomes.shape)
    return _Pseudo(Counts(jnp.sum(counts, -1) / getattr(leaf, "trials", 1), counts))


def _two(leaf, law):
    """Pseudo-counts of failures and of successes."""
    if isinstance(law, Beta):
        return _excess(law.b, leaf), _excess(law.a, leaf)
    return (_excess(law, leaf),) * 2 if _is_number(law) else None


@_for(Bernoulli, Binomial, BernoulliSet)
def _of_outcomes(leaf, law):
    if (pair := _two(leaf, law)) is None:
        return None
    zero = leaf.zero_stats()
    outcomes = jnp.broadcast_to(jnp.stack(jnp.broadcast_arrays(*pair), -1), zero.outcomes.shape)
    each = jnp.sum(outcomes, -1) / getattr(leaf, "trials", 1)
    return _Pseudo(Counts(each if each.ndim == zero.count.ndim else jnp.mean(each, -1), outcomes))


@_for(Geometric)
def _of_trials(leaf, law):
    pair = _two(leaf, law)
    return None if pair is None else _Pseudo(Trials(pair[1], pair[0]))


@_for(Poisson)
def _of_poisson(leaf, law):
    return _Pseudo(Total(law.rate, _excess(law.shape, leaf))) if isinstance(law, Gamma) else None


@_for(Exponential)
def _of_exponential(leaf, law):
    return _Pseudo(Total(_excess(law.shape, leaf), law.rate)) if isinstance(law, Gamma) else None


def _floats(*values):
    return (
        jnp.asarray(v, jnp.result_type(float)) if not eqx.is_inexact_array(v) else v for v in values
    )


@_for(Normal, LogNormal, DiagonalNormal, SphericalNormal)
def _of_variances(leaf, law):
    # One event is worth -log(scale) for each coordinate that shares the scale.
    sharing = leaf.dim if isinstance(leaf, SphericalNormal) else 1
    zero, origin = leaf.zero_stats(), leaf.origin
    if isinstance(law, InverseGamma):
        shape, scale = _floats(*law)
        mean, count, wanted = origin, jnp.zeros_like(shape), (2 * shape + 2) / sharing
    elif isinstance(law, NormalInverseGamma):
        mean, count, shape, scale = _floats(*law)
        wanted = (2 * shape + 2) / sharing + 1
    else:
        return None
    stats = Moments(count, jnp.zeros_like(zero.first), 2 * scale)
    return _Pseudo(stats, mean, wanted - count)


@_for(StudentT)
def _of_student(leaf, law):
    if isinstance(law, InverseGamma):
        shape, scale = _floats(*law)
        mean, weight, count = leaf.loc, jnp.zeros_like(shape), 2 * shape + 2
    elif isinstance(law, NormalInverseGamma):
        mean, weight, shape, scale = _floats(*law)
        count = 2 * shape + 3
    else:
        return None
    # The degrees of freedom are drawn to the template's by as much.
    gap = count * log_minus_digamma(0.5 * leaf.df)
    return _Pseudo(LatentScales(count, weight, jnp.zeros_like(leaf.loc), 2 * scale, gap), mean)


@_for(MultivariateNormal, PartialNormal, TiedMultivariateNormal)
def _of_covariances(leaf, law):
    # A tied covariance has one prior, of which each density of the stack carries its part.
    tied = isinstance(leaf, TiedMultivariateNormal) and leaf.mean.ndim == leaf.factor.ndim
    sharing = leaf.stack_shape[-1] if tied else 1
    if isinstance(law, InverseWishart):
        df, scale = _floats(*law)
        mean, count, per_mean = leaf.mean, jnp.zeros_like(df), 0
    elif isinstance(law, NormalInverseWishart):
        mean, count, df, scale = _floats(*law)
        per_mean = 1
    else:
        return None
    wanted = (df + leaf.dim + 1) / sharing + per_mean
    stats = Moments(count, jnp.zeros_like(leaf.mean), scale / sharing)
    return _Pseudo(stats, mean, wanted - count)
