"""EM to its fixed point: accelerated inside, differentiated by the implicit function theorem."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._results import RESULTS
from .accelerate import solver_of
from .entry import check_start, enter
from .maximise import DEFAULT_FLOOR, Prior, floor_prior
from .parts import parameters, take_apart
from .residual import Sums, jacobian, residual, sums
from .run import loop
from .solver import PlainEM, Solver
from .state import Limits, begin, on_boundary

DENSE = 500  # parameters up to which the implicit equations are solved by a matrix


class FixedPoint(NamedTuple):
    """Where EM came to rest: the model, the size of one further step, and why it stopped.

    `residual` is the largest change of an unconstrained parameter by one further EM step;
    `log_likelihood` is the total in nats; `num_emptied` counts densities that no datum is left
    to: they keep the parameters they had, and their derivatives are 0.
    """

    model: PyTree
    log_likelihood: Array
    residual: Array
    num_steps: Array
    num_emptied: Array
    result: RESULTS


class _Info(NamedTuple):
    log_likelihood: Array
    residual: Array
    moved: Array  # the largest change, relative to the parameter where that is above 1
    num_steps: Array
    num_emptied: Array
    is_over: Array  # whether it came to rest
    is_finite: Array
    sums: Sums


@eqx.filter_custom_jvp
def _rest(model, data, weights, prior, max_steps, method, solver):
    """The parameters at the fixed point, as a vector, and how it was reached."""
    if take_apart(model).loose:  # their own steps are guarded by the value: no jump crosses them
        solver = PlainEM()
    limits = Limits(max_steps, -jnp.inf, "rest")
    state = begin(model, data, weights, solver, "rest")
    state, _ = loop(state, data, weights, prior, solver, limits, block=0)
    point, near = parameters(state.model)[0], state.nearness
    assert near is not None
    size = jnp.abs(near.change)
    inside = jnp.where(jnp.isfinite(point), point, jnp.zeros_like(point))
    moved = jnp.max(size / jnp.maximum(1, jnp.abs(inside)), initial=0.0)
    finite = jnp.isfinite(state.expected.objective.value) & ~jnp.isnan(state.gain)
    return point, _Info(
        state.expected.log_likelihood.value, jnp.max(size, initial=0.0), moved,
        state.num_steps + 1, state.num_emptied, near.is_over, finite, sums(state.expected),
    )  # fmt: skip


@_rest.def_jvp
def _(primals, tangents):
    # At rest G(theta, given) = 0, so that dtheta = -(dG/dtheta)^-1 dG/dgiven . dgiven.
    model, data, weights, prior, _, method, _ = primals
    vector, info = _rest(*primals)
    given, moved = (model, data, weights, prior), tangents[:4]
    still = jax.tree.map(lambda t: t is None, moved, is_leaf=lambda t: t is None)
    fixed, varied = eqx.partition(given, still)
    leaves, structure = jax.tree.flatten(varied)
    directions = tuple(jax.tree.leaves(moved))
    if not leaves:
        return (vector, info), (None, jax.tree.map(lambda _: None, info))
    whole = lambda leaves: eqx.combine(structure.unflatten(leaves), fixed)

    def drift(*leaves):
        model, data, weights, prior = whole(leaves)
        at = parameters(model)[1](vector)
        return residual(at, data, weights, prior, info.sums).change

    def started(*leaves):
        return parameters(whole(leaves)[0])[0]

    build = parameters(model)[1]
    _, force = jax.jvp(drift, tuple(leaves), directions)
    start = jax.jvp(started, tuple(leaves), directions)[1]
    # What no step moves keeps its start (fixed degrees of freedom), unless it was emptied.
    kept = lambda unmoved, idle: jnp.where(unmoved & ~idle, start, jnp.zeros_like(start))
    if method == "dense" or (method == "auto" and vector.shape[0] <= DENSE):
        slope = jacobian(build(vector), data, weights, prior, info.sums)
        force = force + kept(slope.unmoved, slope.idle)
        tangent = jnp.linalg.solve(slope.matrix, force)
    else:
        moves = lambda v: tuple(residual(build(v), data, weights, prior, info.sums))
        tangent = _matrix_free(vector, moves, lambda *still: force + kept(*still))
    return (vector, info), (tangent, jax.tree.map(lambda _: None, info))


def _matrix_free(vector, moves, force):
    """The same equations by GMRES: products with the matrix only, each one EM step's cost."""
    push = lambda v: jax.jvp(moves, (vector,), (v,), has_aux=True)
    _, probed, idle = push(jnp.cos(jnp.arange(vector.shape[0], dtype=vector.dtype)))
    unmoved = jax.lax.stop_gradient(probed) == 0

    def product(v):
        return jnp.where(unmoved, v, jnp.zeros_like(v)) - push(v)[1]

    tolerance = jnp.finfo(vector.dtype).eps ** 0.75
    import lineax as lx  # when it is used: most problems are dense

    operator = lx.FunctionLinearOperator(product, jax.eval_shape(lambda: vector))
    solver = lx.GMRES(rtol=float(tolerance), atol=0.0, restart=60)
    return lx.linear_solve(operator, force(unmoved, idle), solver, throw=False).value


@eqx.filter_jit
def _run(model, data, weights, prior, floor, max_steps, method, solver):
    prior = floor_prior(model, data, weights, floor) if prior is None else prior
    vector, info = _rest(model, data, weights, prior, max_steps, method, solver)
    model = parameters(model)[1](vector)
    stuck = info.moved > jnp.sqrt(jnp.finfo(vector.dtype).eps)
    code = RESULTS.where(stuck, RESULTS.stalled, RESULTS.successful)
    code = RESULTS.where(~info.is_over, RESULTS.max_steps_reached, code)
    code = RESULTS.where(on_boundary(model, prior), RESULTS.degenerate, code)
    code = RESULTS.where(~info.is_finite, RESULTS.nonfinite, code)
    return FixedPoint(
        model, info.log_likelihood, info.residual, info.num_steps, info.num_emptied, code
    )


def fixed_point(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    max_steps: int | Array = 2000,
    linear_solve: str = "auto",
    accelerate: str | Solver | None = "lbfgs",
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
    if linear_solve not in ("auto", "dense", "gmres"):
        raise ValueError(
            f'linear_solve must be "auto", "dense" or "gmres"; it was {linear_solve!r}.'
        )
    data, weights = enter(model, data, weights)
    check_start(model)
    return _run(
        model,
        data,
        weights,
        prior,
        floor,
        jnp.asarray(max_steps),
        linear_solve,
        solver_of(accelerate, model),
    )


def solve(
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    floor: float | Array = DEFAULT_FLOOR,
    max_steps: int | Array = 2000,
    linear_solve: str = "auto",
    accelerate: str | Solver | None = "lbfgs",
) -> PyTree:
    """Run EM from a model to its fixed point, as a differentiable function of all it is given.

    theta = EM(theta; data, weights, prior), by a quasi-Newton method that keeps a jump only where
    the objective does not fall by more than rounding (see `jm.em.LBFGS`), until a further step
    changes nothing but rounding. Derivatives of any order, forward and reverse, are those of
    the fixed point by the implicit function theorem: they cost a linear system in the parameters
    and two or three EM steps (`python -m benchmarks.solve_gradients cost`), and no memory for the
    steps before.

    They are taken in the data, the weights, the prior, the floor, and in what a fit leaves as it
    is: frozen parts and fixed numbers such as a Student-t's degrees of freedom (a frozen part
    stops gradients where it is used; `jm.unwrap` the result to differentiate through it too).
    In the start of what a fit moves the derivative is 0, and so is that of an emptied density.

    Args:
        model: the start; which of several fixed points is found depends on it.
        data: events, stacked along a leading axis.
        weights: case weights (rows,), non-negative.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: that share.
        max_steps: passes over the data, at most. A derivative assumes that they were enough;
            `fixed_point` tells.
        linear_solve: how derivatives solve their linear equations: "dense" by a matrix, "gmres"
            by products with it, each the cost of an EM step; "auto" is dense up to 500 parameters.
        accelerate: None, "squarem", "lbfgs", or a `jm.em.Solver`.

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
        model, data, weights=weights, prior=prior, floor=floor, max_steps=max_steps,
        linear_solve=linear_solve, accelerate=accelerate,
    ).model  # fmt: skip
