"""Conjugate laws of every family's parameters, as the pseudo-statistics that EM adds."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ... import _loops, families, regression
from ..._refittable import Moments, Refittable, Total
from ..._stack import over_stack
from ..._trees import is_traced
from ...combinators.constrained import SCALES, Constrained
from ...families._pairs import products_of_pairs
from ...families._special import log_minus_digamma
from ...families.categorical import Counts
from ...families.geometric import Trials
from ...families.student_t import LatentScales
from ..checks import as_arrays

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


def pseudo_statistics(leaf: Refittable, law: Any) -> Pseudo:
    """The pseudo-statistics by which a law of a family's parameters joins an M-step."""
    own = leaf.evaluated
    if isinstance(law, PseudoEvents):
        return _of_events(own, law)
    rules = [rule for kinds, rule in RULES.items() if isinstance(own, kinds)]
    found = rules[0](own, law, _sharing(leaf)) if rules else None
    if found is None:
        kind = f"number {law}" if isinstance(law, int | float) else type(law).__name__
        raise ValueError(
            f"{type(leaf).__name__} takes no {kind} as its prior; give it what "
            "jm.em.conjugate_prior lists for it, or jm.em.PseudoEvents."
        )
    return found


def _sharing(leaf: Any) -> int:
    """How many densities have one scale, of whose one law each carries its part."""
    tied = set(leaf.tied) & set(SCALES) if isinstance(leaf, Constrained) else None
    tied = getattr(leaf, "is_tied", False) if tied is None else tied
    return leaf.stack_shape[-1] if tied and leaf.stack_shape else 1


def _of_events(leaf: Refittable, law: PseudoEvents) -> Pseudo:
    events = as_arrays(law.events)

    def mean_stats(leaf, origin):
        each = jax.vmap(lambda x: leaf.stats(x, origin))(events)
        return jax.tree.map(lambda a: jnp.mean(a, 0), each)

    of_stack: Any = mean_stats
    for _ in leaf.stack_shape:
        of_stack = lambda *given, one=of_stack: over_stack(one, *given)
    # A second pass about the events' own mean: raw moments do not survive float32. Where statistics
    # expand a log-likelihood, as many as bring the expansion to the events' own fit.
    again = lambda _, leaf: leaf.from_stats(of_stack(leaf, leaf.origin), leaf.origin)
    placed = again(0, leaf) if leaf.ascends else _loops.fori_loop(0, NEWTON_STEPS, again, leaf)
    count = at_least(law.count, 0, "count", leaf)
    stats = jax.tree.map(lambda a: count * a, of_stack(placed, placed.origin))
    return Pseudo(stats, placed.origin)


def at_least(value: Any, least: float, what: str, owner: Refittable) -> Array:
    """A floating array of finite numbers from `least` up, or a sentence."""
    value = jnp.asarray(value)
    value = value if eqx.is_inexact_array(value) else value.astype(float)
    if not is_traced(value) and not np.all((np.asarray(value) >= least) & np.isfinite(value)):
        bound = "" if least == -np.inf else f" and {least} or more"
        raise ValueError(
            f"The {what} of the prior of {type(owner).__name__} is finite{bound}; it was "
            f"{float(jnp.min(value)):g}."
        )
    return value


def _excess(concentration: Any, owner: Refittable) -> Array:
    """Concentration less 1: the pseudo-counts of which the mode is the mean."""
    # Below 1 the mode is a probability of 0 whatever the data.
    return at_least(concentration, 1, "concentration", owner) - 1


def _is_number(law: Any) -> bool:
    return isinstance(law, int | float) or (hasattr(law, "ndim") and law.ndim == 0)


def _of_outcomes(leaf: Any, law: Any, _: int) -> Pseudo | None:
    two = not isinstance(leaf, LABELS)  # failures, and successes
    if two and isinstance(law, families.Beta):
        pair = _excess(law.b, leaf), _excess(law.a, leaf)
        counts = jnp.stack(jnp.broadcast_arrays(*pair), -1)
    elif _is_number(law) or (not two and isinstance(law, families.Dirichlet)):
        counts = _excess(getattr(law, "concentration", law), leaf)
    else:
        return None
    zero = leaf.zero_stats()
    counts = jnp.broadcast_to(counts, zero.outcomes.shape)
    each = jnp.sum(counts, -1) / getattr(leaf, "trials", 1)
    return Pseudo(Counts(each if each.ndim == zero.count.ndim else jnp.mean(each, -1), counts))


def _of_trials(leaf: Any, law: Any, _: int) -> Pseudo | None:
    if not (_is_number(law) or isinstance(law, families.Beta)):
        return None
    successes, failures = (_excess(getattr(law, name, law), leaf) for name in "ab")
    return Pseudo(Trials(successes, failures))


def _of_rate(leaf: Any, law: Any, _: int) -> Pseudo | None:
    if not isinstance(law, families.Gamma):
        return None
    events = _excess(law.shape, leaf)
    is_count = isinstance(leaf, families.Poisson)
    return Pseudo(Total(law.rate, events) if is_count else Total(events, law.rate))


def _of_scale(leaf: Any, law: Any, sharing: int) -> Pseudo | None:
    """Of a covariance, or of a variance as that of one dimension, and of the mean beside it."""
    is_matrix = isinstance(leaf, COVARIANCES)
    kinds = (
        (InverseWishart, NormalInverseWishart) if is_matrix else (InverseGamma, NormalInverseGamma)
    )
    if not isinstance(law, kinds):
        return None
    *place, weight, scale = law
    weight = at_least(weight, -leaf.dim - 1 if is_matrix else -1, law._fields[-2], leaf)
    scale = at_least(scale, -np.inf if is_matrix else 0, "scale", leaf)
    df, scatter, dim = (weight, scale, leaf.dim) if is_matrix else (2 * weight, 2 * scale, 1)
    # One event is worth -log(scale) for each coordinate that shares the scale.
    coordinates = leaf.dim if isinstance(leaf, families.SphericalNormal) else 1
    events = (df + dim + 1) / (coordinates * sharing) + (1 if place else 0)
    mean, count = place or (leaf.origin, jnp.zeros_like(events))
    mean = at_least(mean, -np.inf, "mean", leaf)
    count, scatter = at_least(count, 0, "count", leaf), scatter / sharing
    none = jnp.zeros_like(leaf.zero_stats().first)
    if isinstance(leaf, families.StudentT):
        # The degrees of freedom are drawn to the template's by as much.
        gap = events * log_minus_digamma(0.5 * leaf.df)
        stats: Any = LatentScales(events, count, none, scatter, gap)
        return Pseudo(stats, mean)
    return Pseudo(Moments(count, none, scatter), mean, events - count)


def _of_coefficients(leaf: Any, law: Any, _: int) -> Pseudo | None:
    if not isinstance(law, Ridge):
        return None
    strength, p = at_least(law.strength, 0, "strength", leaf), leaf.num_features
    if strength.ndim and strength.shape[-1] not in (1, p):
        raise ValueError(
            f"A ridge has one strength, or one for each of the {p} covariates; it was given "
            f"{strength.shape[-1]}."
        )
    strength = jnp.broadcast_to(strength, (*strength.shape[:-1], p))
    # Sums of the pairs of (x, 1) of rows whose only squares are these strengths.
    units = jax.vmap(products_of_pairs)(jnp.eye(p + 1, dtype=strength.dtype)[:p])
    squares = jnp.matmul(strength, units, precision="highest")
    zero, origin = leaf.zero_stats(), jax.tree.map(jnp.zeros_like, leaf.origin)
    if isinstance(leaf, LINES):
        # The law's own normaliser: one logarithm of the scale for each coefficient that has it.
        count = jnp.sum(strength > 0, -1, dtype=squares.dtype)
        return Pseudo(zero._replace(gram=squares), origin, count)
    among = jnp.eye(leaf.num_predictors, dtype=squares.dtype)
    if isinstance(leaf, regression.MultinomialRegression):
        among = among - 1 / leaf.size
    return Pseudo(zero._replace(information=among[..., None] * squares[..., None, None, :]), origin)


LABELS = families.Categorical, families.IntegerCategorical, families.Multinomial
COVARIANCES = (
    families.MultivariateNormal,
    families.PartialNormal,
    families.TiedMultivariateNormal,
)
LINES = regression.LinearRegression, regression.MultivariateLinearRegression
RULES = {
    (*LABELS, families.Bernoulli, families.Binomial, families.BernoulliSet): _of_outcomes,
    families.Geometric: _of_trials,
    (families.Poisson, families.Exponential): _of_rate,
    (
        families.Normal, families.LogNormal, families.DiagonalNormal, families.SphericalNormal,
        families.StudentT, *COVARIANCES,
    ): _of_scale,
    (
        *LINES, regression.LogisticRegression, regression.MultinomialRegression,
        regression.PoissonRegression, regression.GammaRegression,
        regression.NegativeBinomialRegression,
    ): _of_coefficients,
}  # fmt: skip
