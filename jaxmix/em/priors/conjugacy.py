"""Conjugate laws of every family's parameters, as the pseudo-statistics that EM adds."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ... import _loops
from ..._refittable import Moments, Refittable, Total
from ..._stack import over_stack
from ..._trees import is_traced
from ...combinators.constrained import Constrained
from ...families import (
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
from ...families._pairs import products_of_pairs
from ...families._special import log_minus_digamma
from ...families.categorical import Counts
from ...families.geometric import Trials
from ...families.student_t import LatentScales
from ...regression import (
    GammaRegression,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    MultivariateLinearRegression,
    NegativeBinomialRegression,
    PoissonRegression,
)

NEWTON_STEPS = 30  # of one fit to pseudo-data: many more than it takes


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


class Ridge(NamedTuple):
    """Prior of a regression's coefficients, the intercept free: log p = -strength |b|^2 / 2 + const.

    - `strength`: a precision, 0 or more; a vector (p,) has one for each covariate. Covariates have
      units: standardise them, or give each its own.
    - For `LinearRegression`, in units of the errors' variance: b ~ N(0, scale^2 / strength), the
      conjugate law (of columns, N(0, covariance / strength), for several responses); scikit-learn's
      `Ridge(alpha=strength)`.
    - For `MultinomialRegression`, of the labels' coefficients about their mean, so that no label is
      special. Scikit-learn's `LogisticRegression(C=1 / strength)`, as for two labels.

    Hoerl and Kennard 1970 (doi:10.1080/00401706.1970.10488634).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> data = (jnp.array([0.0, 1.0, 2.0]), jnp.array([[-1.0], [0.0], [1.0]]))
        >>> line = jm.LinearRegression.template(1)
        >>> prior = jm.em.conjugate_prior(line, data, [(jm.LinearRegression, jm.em.Ridge(2.0))])
        >>> jm.em.run(line, data, prior=prior).model.coefficients.round(4)  # 2 / (2 + 2)
        Array([0.5], dtype=float32)
    """

    strength: Any


class Pseudo(NamedTuple):
    """What a law adds to one leaf: statistics about an origin, and events at the mean."""

    stats: Any
    origin: Any = None
    at_mean: Any = None


def _of_events(leaf: Refittable, law: PseudoEvents) -> Pseudo:
    events = jax.tree.map(jnp.asarray, law.events)

    def of_one(leaf, origin):
        each = jax.vmap(lambda x: leaf.stats(x, origin))(events)
        return jax.tree.map(lambda a: jnp.mean(a, 0), each)

    mean_stats: Callable = of_one
    for _ in leaf.stack_shape:
        mean_stats = functools.partial(over_stack, mean_stats)
    # A second pass about the events' own mean: raw moments do not survive float32. Where statistics
    # expand a log-likelihood, as many as bring the expansion to the events' own fit.
    again = lambda _, leaf: leaf.from_stats(mean_stats(leaf, leaf.origin), leaf.origin)
    placed = again(0, leaf) if leaf.ascends else _loops.fori_loop(0, NEWTON_STEPS, again, leaf)
    stats = mean_stats(placed, placed.origin)
    return Pseudo(jax.tree.map(lambda a: law.count * a, stats), placed.origin)


@functools.singledispatch
def pseudo_statistics(leaf: Refittable, law: Any) -> Pseudo:
    """The pseudo-statistics by which a law of a family's parameters joins an M-step.

    Register a function of (leaf, law) for a family of your own.
    """
    if isinstance(law, PseudoEvents):
        return _of_events(leaf, law)
    raise ValueError(
        f"{type(leaf).__name__} takes no {_named(law)} as its prior; give it what "
        "jm.em.conjugate_prior lists for it, or jm.em.PseudoEvents."
    )


@pseudo_statistics.register(Constrained)
def _of_constrained(leaf, law):
    found = pseudo_statistics(leaf.evaluated, law)
    if not leaf.tied or isinstance(law, PseudoEvents):
        return found
    # A shared parameter has one prior, of which each density of the stack carries its part.
    if isinstance(law, InverseGamma | InverseWishart):
        part = lambda a: jnp.asarray(a) / leaf.stack_shape[-1]
        at_mean = None if found.at_mean is None else part(found.at_mean)
        return Pseudo(jax.tree.map(part, found.stats), found.origin, at_mean)
    if {name.removeprefix("log_") for name in leaf.tied} & {"scale", "factor"}:
        raise ValueError(
            f"Where the scale of a {type(leaf.part).__name__} is shared, its prior is "
            "jm.em.InverseGamma or jm.em.InverseWishart, of the scale alone."
        )
    return found


def _named(law: Any) -> str:
    return f"number {law}" if isinstance(law, int | float) else type(law).__name__


def rule_for(*families: type) -> Callable:
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
    if not is_traced(value) and bool(jnp.any(~(value >= 1))):
        raise ValueError(
            f"The prior of {type(owner).__name__} has a concentration of {float(jnp.min(value)):g}: "
            "below 1 the mode is a probability of 0 whatever the data; it must be at least 1."
        )
    return value - 1


def _is_number(law: Any) -> bool:
    return isinstance(law, int | float) or (hasattr(law, "ndim") and law.ndim == 0)


@rule_for(Categorical, IntegerCategorical, Multinomial)
def _of_probabilities(leaf, law):
    if not (_is_number(law) or isinstance(law, Dirichlet)):
        return None
    counts = _excess(law.concentration if isinstance(law, Dirichlet) else law, leaf)
    counts = jnp.broadcast_to(counts, leaf.zero_stats().outcomes.shape)
    return Pseudo(Counts(jnp.sum(counts, -1) / getattr(leaf, "trials", 1), counts))


def _two(leaf, law):
    """Pseudo-counts of failures and of successes."""
    if isinstance(law, Beta):
        return _excess(law.b, leaf), _excess(law.a, leaf)
    return (_excess(law, leaf),) * 2 if _is_number(law) else None


@rule_for(Bernoulli, Binomial, BernoulliSet)
def _of_outcomes(leaf, law):
    if (pair := _two(leaf, law)) is None:
        return None
    zero = leaf.zero_stats()
    outcomes = jnp.broadcast_to(jnp.stack(jnp.broadcast_arrays(*pair), -1), zero.outcomes.shape)
    each = jnp.sum(outcomes, -1) / getattr(leaf, "trials", 1)
    return Pseudo(Counts(each if each.ndim == zero.count.ndim else jnp.mean(each, -1), outcomes))


@rule_for(Geometric)
def _of_trials(leaf, law):
    pair = _two(leaf, law)
    return None if pair is None else Pseudo(Trials(pair[1], pair[0]))


@rule_for(Poisson)
def _of_poisson(leaf, law):
    return Pseudo(Total(law.rate, _excess(law.shape, leaf))) if isinstance(law, Gamma) else None


@rule_for(Exponential)
def _of_exponential(leaf, law):
    return Pseudo(Total(_excess(law.shape, leaf), law.rate)) if isinstance(law, Gamma) else None


def _floats(*values):
    return (
        jnp.asarray(v, jnp.result_type(float)) if not eqx.is_inexact_array(v) else v for v in values
    )


def _of_location(law, here, alone: type, joint: type):
    """A law's mean, how many events sit at it, its other two numbers, and 1 where it has a mean."""
    if isinstance(law, alone):
        first, second = _floats(*law)
        return here, jnp.zeros_like(first), first, second, 0
    return (*_floats(*law), 1) if isinstance(law, joint) else None


@rule_for(Normal, LogNormal, DiagonalNormal, SphericalNormal)
def _of_variances(leaf, law):
    found = _of_location(law, leaf.origin, InverseGamma, NormalInverseGamma)
    if found is None:
        return None
    mean, count, shape, scale, of_mean = found
    # One event is worth -log(scale) for each coordinate that shares the scale.
    sharing = leaf.dim if isinstance(leaf, SphericalNormal) else 1
    stats = Moments(count, jnp.zeros_like(leaf.zero_stats().first), 2 * scale)
    return Pseudo(stats, mean, (2 * shape + 2) / sharing + of_mean - count)


@rule_for(StudentT)
def _of_student(leaf, law):
    found = _of_location(law, leaf.loc, InverseGamma, NormalInverseGamma)
    if found is None:
        return None
    mean, weight, shape, scale, of_mean = found
    count = 2 * shape + 2 + of_mean
    # The degrees of freedom are drawn to the template's by as much.
    gap = count * log_minus_digamma(0.5 * leaf.df)
    return Pseudo(LatentScales(count, weight, jnp.zeros_like(leaf.loc), 2 * scale, gap), mean)


@rule_for(MultivariateNormal, PartialNormal, TiedMultivariateNormal)
def _of_covariances(leaf, law):
    found = _of_location(law, leaf.mean, InverseWishart, NormalInverseWishart)
    if found is None:
        return None
    mean, count, df, scale, of_mean = found
    # A tied covariance has one prior, of which each density of the stack carries its part.
    tied = isinstance(leaf, TiedMultivariateNormal) and leaf.is_tied
    sharing = leaf.stack_shape[-1] if tied else 1
    stats = Moments(count, jnp.zeros_like(leaf.mean), scale / sharing)
    return Pseudo(stats, mean, (df + leaf.dim + 1) / sharing + of_mean - count)


def _squares(leaf, strength: Any) -> Array:
    """Sums of the pairs of (x, 1) of rows whose only squares are these strengths."""
    value = jnp.asarray(strength)
    value = value if eqx.is_inexact_array(value) else value.astype(leaf.intercept.dtype)
    if not is_traced(value) and not bool(jnp.all((value >= 0) & jnp.isfinite(value))):
        raise ValueError(
            f"The strength of a ridge of {type(leaf).__name__} is finite and 0 or more; it was "
            f"{float(jnp.min(value)):g}."
        )
    p = leaf.num_features
    if value.ndim and value.shape[-1] not in (1, p):
        raise ValueError(
            f"A ridge has one strength, or one for each of the {p} covariates; it was given "
            f"{value.shape[-1]}."
        )
    value = jnp.broadcast_to(value, (*value.shape[:-1], p))
    none = jnp.zeros((*value.shape[:-1], 1), value.dtype)
    units = jax.vmap(products_of_pairs)(jnp.eye(p + 1, dtype=value.dtype))
    return jnp.matmul(jnp.concatenate([value, none], -1), units, precision="highest")


@rule_for(
    LinearRegression,
    MultivariateLinearRegression,
    LogisticRegression,
    MultinomialRegression,
    PoissonRegression,
    GammaRegression,
    NegativeBinomialRegression,
)
def _ridge(leaf, law) -> Pseudo | None:
    if not isinstance(law, Ridge):
        return None
    squares = _squares(leaf, law.strength)
    zero, origin = leaf.zero_stats(), jax.tree.map(jnp.zeros_like, leaf.origin)
    if isinstance(leaf, LinearRegression | MultivariateLinearRegression):
        # The law's own normaliser: one logarithm of the scale for each coefficient that has it.
        penalised = jnp.broadcast_to(
            jnp.asarray(law.strength) > 0, (*squares.shape[:-1], leaf.num_features)
        )
        count = jnp.sum(penalised, -1).astype(squares.dtype)
        return Pseudo(zero._replace(gram=squares), origin, count)
    m = leaf.num_predictors
    among = jnp.eye(m, dtype=squares.dtype)
    if isinstance(leaf, MultinomialRegression):
        among = among - 1 / leaf.size
    return Pseudo(zero._replace(information=among[..., None] * squares[..., None, None, :]), origin)
