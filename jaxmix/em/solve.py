"""EM to its fixed point: accelerated inside, differentiated by the implicit function theorem."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, PyTree

from .._numerics import Sum, difference
from .._results import RESULTS
from .expected import take_apart
from .maximise import (
    DEFAULT_FLOOR,
    GradientState,
    Prior,
    floor_prior,
    init_gradient_state,
    log_prior,
)
from .residual import evaluate, jacobian, parameters, residual
from .state import on_boundary

MEMORY = 6  # differences of steps that the acceleration combines
PATIENCE = 16  # steps without progress after which rounding is all that moves
DENSE = 500  # parameters up to which the implicit equations are solved by a matrix


class FixedPoint(NamedTuple):
    """Where EM came to rest: the model, the size of one further step, and why it stopped.

    `residual` is the largest change of an unconstrained parameter by one further EM step;
    `log_likelihood` is the total in nats.
    """

    model: PyTree
    log_likelihood: Array
    residual: Array
    num_steps: Array
    result: RESULTS


class Search(NamedTuple):
    """Between two passes over the data."""

    trial: Array  # the point to evaluate next
    plain: Array  # whether it is a plain EM step, taken even if it falls
    point: Array  # the last point taken, and the step from it
    change: Array
    objective: Sum
    penalty: Array
    scale: Array  # the largest change of each parameter so far: steps are measured in it
    points: Array  # (MEMORY, p) differences of points and of steps, rows of zeros where unused
    changes: Array
    move: GradientState | None
    best: Array  # the smallest step and the highest objective so far
    top: Sum
    top_penalty: Array
    since: Array
    num_steps: Array
    status: Array  # 0 goes on, 1 at rest, 2 not finite


def _combine(change, points, changes, scale):
    """Anderson's step (1965; Walker and Ni 2011, type II): F(x) less what the memory explains."""
    unit = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    basis, target = changes / unit[None], change / unit
    lengths = jnp.sqrt(jnp.sum(basis * basis, axis=1))
    used = lengths > 0
    lengths = jnp.where(used, lengths, jnp.ones_like(lengths))
    basis = basis / lengths[:, None]
    gram = jnp.dot(basis, basis.T, precision="highest")
    # Parallel differences carry no news: rounding in the normal equations bounds their use.
    ridge = MEMORY * jnp.finfo(gram.dtype).eps
    gram = gram + jnp.diag(jnp.where(used, jnp.full_like(lengths, ridge), jnp.ones_like(lengths)))
    shares = jnp.linalg.solve(gram, jnp.dot(basis, target, precision="highest")) / lengths
    step = change - jnp.dot(shares, points + changes, precision="highest")
    return jnp.where(jnp.all(jnp.isfinite(step)), step, change)


def _search(model, data, weights, prior, max_steps) -> Search:
    start, build = parameters(model)
    smooth = not take_apart(model).loose
    size = start.shape[0]

    def look(search: Search) -> Search:
        candidate = build(search.trial)
        seen = evaluate(candidate, data, weights, prior, search.move)
        penalty = jnp.asarray(log_prior(candidate, prior), search.penalty.dtype)
        total = seen.expected.objective
        noise = jnp.finfo(start.dtype).eps * jnp.abs(total.value)
        rise = difference(total, search.objective) + (penalty - search.penalty)
        finite = jnp.isfinite(total.value) & jnp.all(jnp.isfinite(seen.change))
        finite = finite & jnp.isfinite(penalty)
        first = search.num_steps == 0
        taken = finite & (search.plain | (rise >= -noise))
        change, scale = seen.change, jnp.maximum(search.scale, jnp.abs(seen.change))
        rows = lambda memory, new: jnp.concatenate([memory[1:], new[None]])
        moved = _finite_difference(search.trial, search.point)
        points = rows(search.points, jnp.where(first, jnp.zeros_like(moved), moved))
        changes = rows(
            search.changes, jnp.where(first, jnp.zeros_like(moved), change - search.change)
        )
        step = _combine(change, points, changes, scale) if smooth else change
        size_now = jnp.max(
            jnp.where(scale > 0, jnp.abs(change) / jnp.where(scale > 0, scale, 1), 0)
        )
        gain = difference(total, search.top) + (penalty - search.top_penalty)
        higher = (gain > noise) | first
        news = (size_now < search.best) | higher
        since = jnp.where(news, 0, search.since + 1)
        eps = jnp.finfo(start.dtype).eps
        rest = jnp.all(jnp.abs(change) <= 2 * eps * jnp.abs(_finite(search.trial)))
        goes_on = Search(
            trial=search.trial + step,
            plain=jnp.asarray(not smooth),
            point=search.trial,
            change=change,
            objective=total,
            penalty=penalty,
            scale=scale,
            points=points,
            changes=changes,
            move=seen.maximised.state,
            best=jnp.minimum(search.best, size_now),
            top=jax.tree.map(lambda new, old: jnp.where(higher, new, old), total, search.top),
            top_penalty=jnp.where(higher, penalty, search.top_penalty),
            since=since,
            num_steps=search.num_steps + 1,
            status=jnp.where(rest | (since >= PATIENCE), 1, 0),
        )
        # A jump that falls is taken back: a plain step from the last point, and a fresh memory.
        retreat = search._replace(
            trial=search.point + search.change,
            plain=jnp.ones_like(search.plain),
            points=jnp.zeros_like(points),
            changes=jnp.zeros_like(changes),
            since=search.since + 1,
            num_steps=search.num_steps + 1,
            status=jnp.where(search.plain, 2, jnp.where(search.since >= PATIENCE, 1, 0)),
        )
        return jax.tree.map(lambda new, old: jnp.where(taken, new, old), goes_on, retreat)

    dtype = jax.eval_shape(
        lambda: evaluate(model, data, weights, prior).expected.objective.high
    ).dtype
    zero, infinite = jnp.zeros((), dtype), jnp.full((), jnp.inf, start.dtype)
    memory = jnp.zeros((MEMORY, size), start.dtype)
    search = Search(
        start, jnp.ones((), bool), start, jnp.zeros_like(start), Sum(zero, zero), zero,
        jnp.zeros_like(start), memory, memory, init_gradient_state(model), infinite,
        Sum(zero, zero), zero,
        jnp.zeros((), int), jnp.zeros((), int), jnp.zeros((), int),
    )  # fmt: skip
    return jax.lax.while_loop(lambda s: (s.status == 0) & (s.num_steps < max_steps), look, search)


def _finite(x):
    return jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x))


def _finite_difference(new, old):
    return _finite(jnp.where(new == old, jnp.zeros_like(new), new - old))


class _Info(NamedTuple):
    log_likelihood: Array
    residual: Array
    num_steps: Array
    status: Array


@eqx.filter_custom_jvp
def _rest(model, data, weights, prior, max_steps):
    """The parameters at the fixed point, as a vector, and how it was reached."""
    found = _search(model, data, weights, prior, max_steps)
    largest = jnp.max(jnp.abs(found.change))
    return found.point, _Info(found.objective.value, largest, found.num_steps, found.status)


@_rest.def_jvp
def _(primals, tangents):
    # At rest G(theta, data) = 0, so that dtheta = -(dG/dtheta)^-1 dG/ddata . ddata.
    model, data, weights, prior, max_steps = primals
    vector, info = _rest(model, data, weights, prior, max_steps)
    _, build = parameters(model)
    given, moved = (data, weights, prior), tangents[1:4]
    still = jax.tree.map(lambda t: t is None, moved, is_leaf=lambda t: t is None)
    fixed, varied = eqx.partition(given, still)
    leaves, structure = jax.tree.flatten(varied)
    directions = jax.tree.leaves(moved)
    if not leaves:
        return (vector, info), (None, jax.tree.map(lambda _: None, info))

    def drift(*leaves):
        return residual(build(vector), *eqx.combine(structure.unflatten(leaves), fixed))

    _, force = jax.jvp(drift, tuple(leaves), tuple(directions))
    if vector.shape[0] <= DENSE:
        matrix = jacobian(build(vector), data, weights, prior)
        tangent = jnp.linalg.solve(matrix, force)
    else:
        tangent = _matrix_free(vector, build, force, given)
    return (vector, info), (tangent, jax.tree.map(lambda _: None, info))


def _matrix_free(vector, build, force, given):
    """The same equations by GMRES: products with the matrix only, each one EM step's cost."""
    moves = lambda v: residual(build(v), *given)
    probe = jnp.cos(jnp.arange(vector.shape[0], dtype=vector.dtype))
    unmoved = jax.lax.stop_gradient(jax.jvp(moves, (vector,), (probe,))[1]) == 0

    def product(v):
        return jnp.where(unmoved, v, jnp.zeros_like(v)) - jax.jvp(moves, (vector,), (v,))[1]

    tolerance = jnp.sqrt(jnp.finfo(vector.dtype).eps) ** 1.5
    operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: vector))
    solver = lx.GMRES(rtol=float(tolerance), atol=0.0, restart=60)
    return lx.linear_solve(operator, force, solver, throw=False).value


@eqx.filter_jit
def _run(model, data, weights, prior, floor, max_steps):
    prior = floor_prior(model, data, weights, floor) if prior is None else prior
    vector, info = _rest(model, data, weights, prior, max_steps)
    model = parameters(model)[1](vector)
    code = RESULTS.where(info.status == 0, RESULTS.max_steps_reached, RESULTS.successful)
    code = RESULTS.where(on_boundary(model, prior), RESULTS.degenerate, code)
    code = RESULTS.where(info.status == 2, RESULTS.nonfinite, code)
    return FixedPoint(model, info.log_likelihood, info.residual, info.num_steps, code)


def fixed_point(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    max_steps: int | Array = 2000,
) -> FixedPoint:
    """As `solve`, with the outcome beside the model.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> x = jnp.array([-1.1, -0.9, 0.9, 1.1])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> found = jm.em.fixed_point(jm.MixtureSameFamily(jnp.ones(2) / 2, parts), x)
        >>> bool(found.result == jm.RESULTS.successful)
        True
    """
    weights = None if weights is None else jnp.asarray(weights)
    return _run(model, data, weights, prior, floor, jnp.asarray(max_steps))


def solve(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    max_steps: int | Array = 2000,
) -> PyTree:
    """Run EM from a model to its fixed point, as a differentiable function of data and weights.

    theta = EM(theta; data, weights, prior), by Anderson acceleration that keeps a jump only where
    the objective does not fall (Henderson and Varadhan 2019, arXiv:1803.06673), until a further
    step changes nothing but rounding. Derivatives, forward and reverse, are those of the fixed
    point by the implicit function theorem: they cost a linear system in the parameters, and no
    memory for the steps. In the start the derivative is 0; frozen parts do not move.

    Args:
        model: the start; which of several fixed points is found depends on it.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), non-negative.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: that share.
        max_steps: passes over the data, at most. A derivative assumes that they were enough;
            `fixed_point` tells.

    Returns:
        The model at the fixed point.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> x = jnp.array([-1.1, -0.9, 0.9, 1.1])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> start = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
        >>> slope = jax.grad(lambda s: jm.em.solve(start, x + s).components.mean.sum())
        >>> slope(0.0).round(3)
        Array(2., dtype=float32, weak_type=True)
    """
    return fixed_point(
        model, data, weights=weights, prior=prior, floor=floor, max_steps=max_steps
    ).model
