"""EM to its fixed point: accelerated inside, differentiated by the implicit function theorem."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, PyTree

from .._arguments import named, takes
from .._compile import FAIR, Quick
from .._platform import with_precision
from .._results import RESULTS
from .._sharding import on_automatic_axes
from ..regression.centred import centred
from .accelerate import solver_of
from .chunks import is_brief
from .entry import check_start, enter
from .parts import parameters, take_apart
from .priors.prior import DEFAULT_FLOOR, Prior, floor_prior
from .residual import Pass, Slope, jacobian, pass_of, residual
from .run import loop
from .solver import PlainEM, Rules, Solver, at_limit, on_boundary
from .state import begin

DENSE = 500  # parameters up to which the implicit equations are solved by a matrix ...
DENSE_BRIEF = 1500  # ... and where a pass over the data takes no time


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


class Problem(NamedTuple):
    """What a fixed point is a function of."""

    model: PyTree
    data: PyTree
    weights: Array | None
    prior: Prior | None
    floor: Any

    def rows(self, known: Prior | None = None) -> tuple[PyTree, Array | None, Prior]:
        """Data, weights and the prior, where none was given that of the floor.

        `known` is its value: its derivatives are taken about the origins found then.
        """
        model, data, weights, prior, floor = self
        if prior is None:
            origins = None if known is None else known.origins
            prior = floor_prior(model, data, weights, floor, origins)
        return data, weights, prior

    def at(self, vector: Array) -> PyTree:
        """The model of these parameters."""
        return parameters(self.model)[1](vector)


def _is_brief(problem: Problem, *_: Any) -> bool:
    return is_brief(problem.model, problem.data)


@functools.partial(Quick, when=_is_brief)
def _search(problem: Problem, max_steps, solver) -> tuple[Array, tuple]:
    """The parameters at the fixed point, as a vector; what was seen there, without derivatives.

    That is the outcome, whose model is still to be built, and the pass.
    """
    model, (data, weights, prior) = problem.model, problem.rows()
    if take_apart(model).loose:  # their own steps are guarded by the value: no jump crosses them
        solver = PlainEM()
    rules = Rules(solver, prior, max_steps, -jnp.inf, "rest", residual=_is_brief(problem))
    start = begin(model, data, weights, solver, rules.stopping)
    state, _ = loop(start, data, weights, rules, block=0)
    point, near = parameters(state.model)[0], state.nearness
    assert near is not None
    size = jnp.abs(near.change)
    inside = jnp.where(jnp.isfinite(point), jnp.abs(point), 0)
    moved = jnp.max(size / jnp.maximum(1, inside), initial=0.0)
    finite = jnp.isfinite(state.expected.objective.value) & ~jnp.isnan(state.gain)
    stuck = moved > jnp.sqrt(jnp.finfo(point.dtype).eps)
    code = RESULTS.where(stuck, RESULTS.stalled, RESULTS.successful)
    code = RESULTS.where(~near.is_over, RESULTS.max_steps_reached, code)
    code = RESULTS.where(at_limit(state.model, state.expected.stats, prior), RESULTS.drifting, code)
    code = RESULTS.where(on_boundary(state.model, prior), RESULTS.degenerate, code)
    code = RESULTS.where(~finite, RESULTS.nonfinite, code)
    outcome = FixedPoint(
        None, state.expected.log_likelihood.value, jnp.max(size, initial=0.0),
        state.num_steps + 1, state.num_emptied, code,
    )  # fmt: skip
    return point, (outcome, pass_of(state.model, data, weights, prior, state.expected))


@eqx.filter_custom_jvp
def _rest(problem: Problem, max_steps, method, solver):
    return _search(problem, max_steps, solver)


@_rest.def_jvp
def _(primals, tangents):
    problem, _, method, _ = primals
    vector, arrival = _rest(*primals)
    none, seen = jax.tree.map(lambda _: None, arrival), arrival[1]
    moved = tangents[0]
    if not jax.tree.leaves(moved):
        return (vector, arrival), (None, none)
    few = vector.shape[0] <= (DENSE_BRIEF if _is_brief(problem) else DENSE)
    slope = None
    if method == "dense" or (method == "auto" and few):
        slope = _factored(*jax.tree.map(jax.lax.stop_gradient, (problem, vector, seen)))
    return (vector, arrival), (_carried(vector, seen, slope, problem, moved), none)


@functools.partial(Quick, when=_is_brief, options=FAIR)
def _factored(problem: Problem, vector, seen: Pass) -> Slope:
    slope = jacobian(problem.at(vector), problem.data, problem.weights, seen.prior, seen)
    return slope._replace(matrix=jax.scipy.linalg.lu_factor(slope.matrix))


@eqx.filter_jit
@functools.partial(eqx.filter_checkpoint, prevent_cse=False)
def _carried(vector, seen: Pass, slope: Slope | None, given: Problem, moved: Problem) -> Array:
    """How the fixed point moves with what is given.

    At rest G(theta, given) = 0, so that dtheta = -(dG/dtheta)^-1 dG/dgiven . dgiven. The matrix is
    the same in derivatives of any order: only products with it are ever differentiated. Backwards
    all of it is computed in one sweep, with nothing kept from a sweep before.
    """
    is_none = lambda node: node is None
    fixed, varied = eqx.partition(given, jax.tree.map(is_none, moved, is_leaf=is_none))
    leaves, structure = jax.tree.flatten(varied)
    directions = tuple(jax.tree.leaves(moved))
    whole = lambda leaves: eqx.combine(structure.unflatten(leaves), fixed)

    def drift(vector, *leaves):
        problem = whole(leaves)
        return tuple(residual(problem.at(vector), *problem.rows(seen.prior), seen))  # pyright: ignore[reportCallIssue]

    def push(v):
        return jax.jvp(lambda u: drift(u, *leaves), (vector,), (v,), has_aux=True)[1:]

    if slope is None:
        probed, idle = push(jnp.cos(jnp.arange(vector.shape[0], dtype=vector.dtype)))
        unmoved = jax.lax.stop_gradient(probed) == 0
    else:
        _, unmoved, idle = slope
    _, force, _ = jax.jvp(
        lambda *leaves: drift(vector, *leaves), tuple(leaves), directions, has_aux=True
    )
    # What no step moves keeps its start (fixed degrees of freedom), unless it was emptied.
    started = lambda *leaves: parameters(whole(leaves).model)[0]
    start = jax.jvp(started, tuple(leaves), directions)[1]
    force = force + jnp.where(unmoved & ~idle, start, jnp.zeros_like(start))

    def product(v):
        return jnp.where(unmoved, v, jnp.zeros_like(v)) - push(v)[0]

    def solved(transposed):
        if slope is not None:
            triangles = slope.matrix
            return lambda _, b: jax.scipy.linalg.lu_solve(triangles, b, trans=int(transposed))
        tol = float(jnp.finfo(vector.dtype).eps ** 0.75)
        return lambda product, b: gmres(product, b, tol=tol, restart=60, maxiter=20)[0]

    return jax.lax.custom_linear_solve(product, force, solved(False), solved(True))


@takes(linear_solve=named("auto", "dense", "gmres"))
@on_automatic_axes
@with_precision
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
    precision: str | None = None,
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
    del precision  # held by the decorator
    data, weights = enter(model, data, weights)
    check_start(model)
    model, data, centre = centred(model, data, weights)
    # Numbers go in as arrays, so that others compile nothing; they yield to the model's dtype.
    array = lambda value: value if isinstance(value, jax.Array) else jax.device_put(value)
    problem = Problem(model, data, weights, prior, array(floor))
    solver = solver_of(accelerate, model)
    vector, (outcome, _) = _rest(problem, array(max_steps), linear_solve, solver)
    return outcome._replace(model=centre.back(problem.at(vector)))


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
    precision: str | None = None,
) -> PyTree:
    """Run EM from a model to its fixed point, as a differentiable function of all it is given.

    theta = EM(theta; data, weights, prior), by a quasi-Newton method that keeps a jump only where
    the objective does not fall by more than rounding (see `jm.em.LBFGS`), until a further step
    changes nothing but rounding. Derivatives of any order, forward and reverse, are those of
    the fixed point by the implicit function theorem: they cost a linear system in the parameters
    and two or three EM steps (`python -m benchmarks.em.gradients cost`), and no memory for the
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
            by products with it, each the cost of an EM step; "auto" is dense up to 500 parameters,
            or 1,500 where a pass over the data takes no time.
        accelerate: None, "squarem", "lbfgs", or a `jm.em.Solver`.
        precision: of float32 matrix products; None for all digits, or see `jm.products_in`.

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
        linear_solve=linear_solve, accelerate=accelerate, precision=precision,
    ).model  # fmt: skip
