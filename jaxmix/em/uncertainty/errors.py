"""How sure a fit is: errors from the information, influence of rows, profiles, the posterior."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

from ... import _loops
from ..._arguments import function as given_function
from ..._arguments import named, real, takes, whole
from ..._compile import Quick
from ..._hooks import Labelled
from ..._results import RESULTS
from ..._sharding import everywhere, on_automatic_axes
from ..._trees import difference, float_of, num_rows
from ...combinators._columns import Fold
from ..chunks import brief, is_brief
from ..entry import enter
from ..parts import parameters
from ..priors.prior import Prior, folded
from .information import Chart, chart, inverse_root, louis_information, observed_information, scores
from .record import Record


def _entered(model, data, weights, prior) -> tuple[Fold, tuple]:
    """The arguments as programs take them, and how like columns were stacked for it."""
    data, weights = everywhere(enter(model, data, weights))
    fold, prior = folded(prior, model, data)
    return fold, (fold.model(model), fold.data(data), weights, prior)


def _of_record(found: Record, fold: Fold, model: PyTree) -> Record:
    """Errors of a folded model's parameters at the paths of the record's own."""
    if not fold.groups:
        return found
    vector, build = parameters(found.model_)
    places = fold.unfolded(build(jnp.arange(vector.size, dtype=vector.dtype)), model)
    order = np.asarray(parameters(places)[0]).astype(int)
    held = None if found.held_ is None else found.held_[order]
    return Record(model, found.columns_[order], found.result, held, found.summed_)


@brief
def _errors(model, data, weights, prior, kind):
    at = chart(model, data, weights, prior)
    information = louis_information if kind == "louis" else observed_information
    root, result = inverse_root(at, information(at))
    if kind in ("sandwich", "influence"):
        each = scores(at)
        if kind == "sandwich" and weights is not None:
            each = each * weights[:, None]
        moved = jnp.dot(each, root, precision="highest")
        # The columns I^-1 s_n; I^-1 (sum_n s_n s_n') I^-1 is theirs, summed in squares.
        root = jnp.dot(root, (moved if kind == "influence" else jnp.linalg.qr(moved, "r")).T)
    if kind == "sandwich":
        # Scores at the rows' own estimate are too small: of few rows, or series, it shows.
        rows = num_rows(data) if weights is None else jnp.sum(weights > 0)
        rows, free = jnp.asarray(rows, root.dtype), jnp.sum(at.live).astype(root.dtype)
        root = root * jnp.sqrt(rows / (rows - free))
        result = RESULTS.where(rows > free, result, RESULTS.singular_information)
    return Record(model, at.pushed(root), result, at.held, kind != "influence")


@takes(kind=named("observed", "louis", "sandwich"))
@on_automatic_axes
def standard_errors(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    kind: str = "observed",
) -> Record:
    """Standard errors of a fit's parameters in their usual scales, at the model's own paths.

    The inverse of the observed information, minus the second derivative of the log-likelihood in
    free coordinates (K - 1 for K weights), carried to each parameter by the delta method (Efron
    and Hinkley 1978, doi:10.1093/biomet/65.3.457).

    Warning: intervals of two errors are right for many data and separate components: of 500
    simulated data sets, 1,000 rows and 2 or 3 components 3 standard deviations apart, 94 to 95 %
    cover; of 200 rows, 2 components, 92.3 % (93.0 % of the bootstrap's). Where 2 components are
    2 standard deviations apart, 87.7 % of 1,000 rows cover, and 73.5 % of 200 (79.0 % of the
    bootstrap's): trust neither there. `python -m benchmarks.em.intervals` gives the figures.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), counts of equal rows.
        prior: pseudo-statistics, if the fit used any.
        kind: "observed"; "louis", the same by Louis's identity, as a check for mixtures; or
            "sandwich" for errors that hold when the model is wrong (Huber 1967), the variance
            times n / (n - p) for n rows and p free parameters (MacKinnon and White 1985, HC1),
            a row of sequences being one.

    Returns:
        A `Record`: `errors.components.mean`, `errors.weights`, any other property of the model;
        its `result` tells of a singular information matrix, whose errors are NaN. What sits on a
        boundary (a probability of 0, a density on its floor or without data) is held, and named
        by `errors.at_boundary`; its error is 0, and the others are given it.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> errors = jm.em.standard_errors(jm.Normal(0, 1), x)
        >>> errors.mean.round(4), errors.scale.round(4)
        (Array(0.5, dtype=float32), Array(0.3536, dtype=float32))
    """
    if kind == "louis" and not isinstance(model, Labelled):
        raise ValueError(f"Louis's identity is for mixtures; {type(model).__name__} is none.")
    fold, given = _entered(model, data, weights, prior)
    return _of_record(_errors(*given, kind), fold, model)


@on_automatic_axes
def influence(
    model: PyTree, data: PyTree, *, weights: Array | None = None, prior: Prior | None = None
) -> Record:
    """The derivative of each fitted parameter in each row's weight: who moves what.

    I^-1 s_n with the observed information I and row n's score s_n (Cook 1986); times the rows'
    number it is the empirical influence function.

    Returns:
        A `Record` whose values have a last axis of rows.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> jm.em.influence(jm.Normal(0, 1), x).mean.tolist()
        [-0.250, 0.250, -0.250, 0.250]
    """
    fold, given = _entered(model, data, weights, prior)
    return _of_record(_errors(*given, "influence"), fold, model)


class Interval(NamedTuple):
    """A profile interval: an end that was not reached is NaN, and the result says why."""

    lower: Array
    upper: Array
    result: RESULTS


@takes(function=given_function, level=real(0, 1), max_steps=whole(1, traced=True))
@on_automatic_axes
def profile(
    model: PyTree,
    data: PyTree,
    function: Callable[[PyTree], Array],
    *,
    level: float = 0.95,
    weights: Array | None = None,
    prior: Prior | None = None,
    max_steps: int = 30,
) -> Interval:
    """The profile-likelihood interval of a scalar function of the model.

    The ends at which the log-likelihood, maximised over everything else, has fallen by half the
    chi-squared quantile: Newton steps on its Lagrange conditions (Venzon and Moolgavkar 1988,
    doi:10.2307/2347496). Unlike errors it does not depend on the scale of the parameter.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        function: from the model to a scalar, such as `lambda m: m.components.mean[1]`.
        level: the interval's level.
        weights: case weights (rows,).
        prior: pseudo-statistics, if the fit used any.
        max_steps: Newton steps for each end.

    Returns:
        An `Interval`; an end that no number of steps reaches (a mean is free to go anywhere once
        its component may empty) is NaN, with `max_steps_reached` or `singular_information`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0] * 20)
        >>> jm.em.profile(jm.Normal(0, 1), x, lambda m: m.mean).upper.round(2)
        Array(0.32, dtype=float32)
    """
    fold, given = _entered(model, data, weights, prior)
    made = eqx.filter_eval_shape(function, model)
    if getattr(made, "shape", None) != () or not jnp.issubdtype(made.dtype, jnp.floating):
        raise ValueError(
            f"The function of profile gives one real number of a model, such as `lambda m: m.mean`; "
            f"it gave {made}."
        )
    if fold.groups:
        of, like = function, model
        function = jax.tree_util.Partial(lambda like, m: of(fold.unfolded(m, like)), like)
    at = jnp.asarray(level, float_of(model))  # a number in the program would be compiled anew
    return _profile(*given, function, at, max_steps)


@brief
def _profile(model, data, weights, prior, function, level, max_steps) -> Interval:
    at = chart(model, data, weights, prior)
    origin, target = at.origin, lambda free: function(at.own(free))
    # A difference of running sums: a drop of two nats is less than float32 holds of many rows.
    top = at.level(origin)
    value = lambda free: difference(at.level(free), top)
    information = observed_information(at)
    sound = inverse_root(at, information)[1]
    quantile = jax.scipy.special.ndtri(jnp.asarray(0.5 + level / 2, origin.dtype))
    drop = 0.5 * quantile * quantile
    along = jnp.linalg.solve(information, slope := jax.grad(target)(origin))
    width = jnp.sqrt(jnp.sum(slope * along))

    def conditions(point):
        free, pull = point[:-1], point[-1]
        steady = jax.grad(value)(free) - pull * jax.grad(target)(free)
        return jnp.append(steady, value(free) + drop)

    def newton(_, point):
        step = jnp.linalg.solve(jax.jacfwd(conditions)(point), conditions(point))
        # No further than the whole half-width at once, in the information's own metric.
        free = step[:-1]
        length = jnp.sqrt(jnp.sum(free * jnp.dot(information, free, precision="highest")))
        return point - step * jnp.minimum(1, quantile / jnp.where(length > 0, length, 1))

    def end(side):
        start = jnp.append(side * quantile * along / width, -side * quantile / width)
        point = _loops.fori_loop(0, max_steps, newton, start)
        missed = jnp.abs(conditions(point)[-1])
        reached = missed <= drop * jnp.sqrt(jnp.finfo(origin.dtype).eps)
        return jnp.where(reached, target(point[:-1]), jnp.nan)

    lower, upper = end(-1), end(1)
    missed = jnp.isnan(lower) | jnp.isnan(upper)
    code = RESULTS.where(missed, RESULTS.max_steps_reached, RESULTS.successful)
    return Interval(lower, upper, RESULTS.where(sound == RESULTS.successful, code, sound))


class Posterior(eqx.Module):
    """Log-likelihood plus log-prior about a fit, in free coordinates; the fit itself is at 0.

    The coordinates are linear in the unconstrained parameters (means, logarithms of scales, K - 1
    for K weights), and the log-density is with respect to them: where the prior is flat, it is
    flat in these.

    - `origin`: zeros (r,).
    - `covariance`: (r, r), the inverse of the observed information, a metric for a sampler; NaN
      with `singular_information` as the `result` where there is none.
    """

    chart: Chart
    covariance: Float[Array, "r r"]
    result: RESULTS
    given: PyTree
    fold: Fold = eqx.field(static=True)

    @property
    def origin(self) -> Float[Array, " r"]:
        return self.chart.origin

    def log_density(self, position: Float[Array, " r"]) -> Scalar:
        """Log-likelihood of the data plus log-density of the prior, in nats."""
        return _log_density(self, position)

    def model(self, position: Float[Array, " r"]) -> PyTree:
        """The model at a position."""
        return self.fold.unfolded(self.chart.own(position), self.given)


def posterior(
    model: PyTree, data: PyTree, *, weights: Array | None = None, prior: Prior | None = None
) -> Posterior:
    """The log-posterior about a fit, for a sampler such as those of blackjax.

    Components that may change places make the posterior multimodal, and without a prior it may be
    improper: a chain that starts at the fit explores the mode it is in.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        weights: case weights (rows,).
        prior: pseudo-statistics, if the fit used any.

    Returns:
        A `Posterior`.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> post = jm.em.posterior(jm.Normal(0, 1), x)
        >>> post.log_density(post.origin).round(3), post.covariance.shape
        (Array(-5.676, dtype=float32), (2, 2))
    """
    fold, given = _entered(model, data, weights, prior)
    at, covariance, result = _covariance(*given)
    _, data, weights, prior = given
    at = dataclasses.replace(at, data=data, weights=weights, prior=prior)
    return Posterior(at, covariance, result, model, fold)


@on_automatic_axes
@brief
def _covariance(model, data, weights, prior):
    at = chart(model, data, weights, prior)
    root, result = inverse_root(at, observed_information(at))
    # Without the data, of which a program would give back a copy.
    about = dataclasses.replace(at, data=None, weights=None, prior=None)
    return about, jnp.dot(root, root.T, precision="highest"), result


_log_density = on_automatic_axes(
    Quick(
        lambda about, position: about.chart.level(position).value,
        lambda about, _: is_brief(about.chart.model, about.chart.data),
    )
)
