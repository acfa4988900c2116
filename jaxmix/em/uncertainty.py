"""How sure a fit is: errors from the information, influence of rows, bootstrap, profiles."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from .._numerics import logsumexp
from .._results import RESULTS
from .expected import num_rows
from .information import (
    Record,
    chart,
    inverse_root,
    objective,
    observed_information,
    scores,
)
from .maximise import Prior
from .solve import fixed_point


@eqx.filter_jit
def _errors(model, data, weights, prior, kind):
    at = chart(model, data, weights, prior)
    information = observed_information(at, data, weights, prior)
    root, regular = inverse_root(information)
    if kind == "sandwich":
        each = scores(at, data)
        each = each if weights is None else each * weights[:, None]
        # I^-1 (sum_n s_n s_n') I^-1 through its own root: the columns I^-1 s_n, summed in squares.
        root = jnp.dot(root, jnp.linalg.qr(jnp.dot(each, root, precision="highest"), "r").T)
    code = RESULTS.where(regular, RESULTS.successful, RESULTS.singular_information)
    return Record(model, jnp.dot(at.basis, root, precision="highest"), code)


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

    The intervals of two errors are right for many data and separate components; for components
    that overlap, or some 200 rows, they cover too seldom: compare with `bootstrap`.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), counts of equal rows.
        prior: pseudo-statistics, if the fit used any.
        kind: "observed", or "sandwich" for errors that hold when the model is wrong (Huber 1967).

    Returns:
        A `Record`: `errors.components.mean`, `errors.weights`, any other property of the model;
        its `result` tells of a singular information matrix, whose errors are NaN.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> errors = jm.em.standard_errors(jm.Normal(0, 1), x)
        >>> errors.mean.round(4), errors.scale.round(4)
        (Array(0.5, dtype=float32), Array(0.3536, dtype=float32))
    """
    if kind not in ("observed", "sandwich"):
        raise ValueError(f'kind must be "observed" or "sandwich"; it was {kind!r}.')
    weights = None if weights is None else jnp.asarray(weights)
    return _errors(model, data, weights, prior, kind)


@eqx.filter_jit
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
        >>> jm.em.influence(jm.Normal(0, 1), x).mean.round(4)
        Array([-0.25,  0.25, -0.25,  0.25], dtype=float32)
    """
    at = chart(model, data, weights, prior)
    root, regular = inverse_root(observed_information(at, data, weights, prior))
    moves = jnp.dot(root, jnp.dot(scores(at, data), root, precision="highest").T)
    code = RESULTS.where(regular, RESULTS.successful, RESULTS.singular_information)
    return Record(model, jnp.dot(at.basis, moves, precision="highest"), code, summed_=False)


class Bootstrap(NamedTuple):
    """Refits to resampled data: a stack of models, and each one's outcome."""

    models: PyTree
    result: RESULTS

    def values(self, function: Callable[[PyTree], Array]) -> Array:
        """A function of the model, one value a resample."""
        return jax.vmap(function)(self.models)

    def std(self, function: Callable[[PyTree], Array]) -> Array:
        """Its standard deviation over the resamples."""
        return jnp.std(self.values(function), axis=0, ddof=1)

    def interval(self, function: Callable[[PyTree], Array], level: float = 0.95) -> Array:
        """Its percentile interval, lower and upper along a leading axis."""
        tails = jnp.array([0.5 - level / 2, 0.5 + level / 2])
        return jnp.quantile(self.values(function), tails, axis=0)


def bootstrap(
    key: Key[Array, ""],
    model: PyTree,
    data: PyTree,
    *,
    num: int = 200,
    prior: Prior | None = None,
    max_steps: int = 500,
) -> Bootstrap:
    """Refit to `num` resamples of the rows at once, components matched to the model's own.

    Each resample is a vector of multinomial weights (Efron 1979), solved from the model; the
    components of a stacked mixture are permuted to agree best with the model's responsibilities.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.linspace(-1.0, 1.0, 50)
        >>> model = jm.em.solve(jm.Normal(0, 1), x)
        >>> boot = jm.em.bootstrap(jax.random.key(0), model, x, num=20)
        >>> boot.models.mean.shape
        (20,)
    """
    rows = num_rows(data)
    drawn = jax.random.randint(key, (num, rows), 0, rows)
    dtype = jnp.result_type(*(a for a in jax.tree.leaves(model) if eqx.is_inexact_array(a)))

    def refit(index):
        weights = jnp.zeros((rows,), dtype).at[index].add(1)
        found = fixed_point(model, data, weights=weights, prior=prior, max_steps=max_steps)
        return matched(found.model, model, data), found.result

    return Bootstrap(*jax.vmap(refit)(drawn))


def matched(model: PyTree, reference: PyTree, data: PyTree) -> PyTree:
    """A stacked mixture with its components in the order that agrees best with another's.

    The order that maximises the summed products of both models' responsibilities (the Hungarian
    method); any other model is returned as it is.
    """
    if not hasattr(model, "components") or isinstance(model.components, tuple):
        return model
    if not eqx.is_inexact_array(getattr(model.mixing, "logits", None)):
        return model

    def posteriors(m):
        return jax.vmap(lambda x: _softmax(m.joint_log_probs(x)))(data)

    shared = jnp.dot(posteriors(reference).T, posteriors(model), precision="highest")
    _, order = optax.assignment.hungarian_algorithm(-shared)
    size = order.shape[0]
    names = getattr(model.components, "shared", ())
    kept = {name: getattr(model.components, name) for name in names}
    components = jax.tree.map(
        lambda a: a[order] if a.ndim and a.shape[0] == size else a, model.components
    )
    for name, value in kept.items():
        components = eqx.tree_at(lambda c, n=name: getattr(c, n), components, value)
    changed = (model.mixing.logits[order], components)
    return eqx.tree_at(lambda m: (m.mixing.logits, m.components), model, changed)


def _softmax(joint):
    return jnp.exp(joint - logsumexp(joint))


def profile(
    model: PyTree,
    data: PyTree,
    function: Callable[[PyTree], Array],
    *,
    level: float = 0.95,
    weights: Array | None = None,
    prior: Prior | None = None,
    max_steps: int = 30,
) -> Float[Array, "2"]:
    """The profile-likelihood interval of a scalar function of the model.

    The ends at which the log-likelihood, maximised over everything else, has fallen by half the
    chi-squared quantile: Newton steps on its Lagrange conditions (Venzon and Moolgavkar 1988,
    doi:10.2307/2347496). An end that is not reached is NaN.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        function: from the model to a scalar, such as `lambda m: m.components.mean[1]`.
        level: the interval's level.
        weights: case weights (rows,).
        prior: pseudo-statistics, if the fit used any.
        max_steps: Newton steps for each end.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0] * 20)
        >>> jm.em.profile(jm.Normal(0, 1), x, lambda m: m.mean).round(2)
        Array([-0.32,  0.32], dtype=float32)
    """
    at = chart(model, data, weights, prior)
    target = lambda free: function(at.at(free))
    value = lambda free: objective(at.at(free), data, weights, prior)

    @jax.jit
    def ends():
        top, origin = value(at.origin), at.origin
        information = observed_information(at, data, weights, prior)
        quantile = jax.scipy.special.ndtri(jnp.asarray(0.5 + level / 2, top.dtype))
        drop = 0.5 * quantile * quantile
        slope = jax.grad(target)(origin)
        along = jnp.linalg.solve(information, slope)
        width = jnp.sqrt(jnp.dot(slope, along))

        def conditions(point):
            free, pull = point[:-1], point[-1]
            steady = jax.grad(value)(free) - pull * jax.grad(target)(free)
            return jnp.append(steady, value(free) - top + drop)

        def newton(_, point):
            step = jnp.linalg.solve(jax.jacfwd(conditions)(point), conditions(point))
            # No further than the whole half-width at once, in the information's own metric.
            free = step[:-1]
            length = jnp.sqrt(jnp.dot(free, jnp.dot(information, free)))
            return point - step * jnp.minimum(1, quantile / jnp.where(length > 0, length, 1))

        def end(side):
            start = jnp.append(side * quantile * along / width, -side * quantile / width)
            point = jax.lax.fori_loop(0, max_steps, newton, start)
            missed = jnp.abs(conditions(point)[-1])
            reached = missed <= drop * jnp.sqrt(jnp.finfo(top.dtype).eps)
            return jnp.where(reached, target(point[:-1]), jnp.nan)

        return jnp.stack([end(-1), end(1)])

    return ends()
