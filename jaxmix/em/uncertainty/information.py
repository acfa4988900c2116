"""The observed information of a fit, in free coordinates about it."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from ..._numerics import or_one
from ..._results import RESULTS
from ..._stack import stack_axes
from ..._trees import num_rows, spread
from ...combinators._labels import posterior_of
from ..chunks import chunk_rows, map_rows
from ..expected import expect, log_likelihood
from ..m_step import sound
from ..parts import free_parameters, parameters, take_apart
from ..priors.prior import (
    DEFAULT_FLOOR,
    Prior,
    about_own_origins,
    floor_prior,
    floors_of,
    log_prior,
)


class Directions(NamedTuple):
    """Free directions of the parameters (p, r), which of them are there (r,), and what is held."""

    basis: Array
    live: Array
    held: Array  # parameters (p,) on a boundary: no error is known of them
    kinks: Array  # what the information (p,) has besides second derivatives


def tangent_basis(
    model: PyTree, stats: list[Any], prior: Prior | None, floors: list[Any], weight: Array
) -> Directions:
    """Directions in which the refitted parameters can move: a chart of free coordinates.

    Unconstrained parameters are redundant (K logits for K - 1 weights, the unused half of a
    triangle); the M-step's values are not. The columns span the range of its derivative in the
    statistics, orthonormal for each leaf in units of its own coordinates. What sits on a boundary
    (a probability of 0, a density on its floor, an emptied one) has no direction: its columns
    are 0.
    """
    parts = take_apart(model)
    pseudo = [None] * len(parts.leaves) if prior is None else about_own_origins(parts.leaves, prior)
    blocks, live, held, kinks = [], [], [], []
    for leaf, s, extra, floor in zip(parts.leaves, stats, pseudo, floors, strict=True):
        total = s if extra is None else jax.tree.map(jnp.add, s, extra)
        flat, unravel = ravel_pytree(total)
        image = lambda v, leaf=leaf, u=unravel: parameters(leaf.from_stats(u(v), leaf.origin))[0]
        moves = jax.jacfwd(image)(flat)
        moves = jnp.where(jnp.isfinite(moves), moves, jnp.zeros_like(moves))
        off = leaf.on_boundary(floor) | ~sound(leaf, total, weight)
        still, lost = _held(leaf, off, leaf.from_stats(total, leaf.origin), leaf.limits(total))
        moves = jnp.where(still[:, None], jnp.zeros_like(moves), moves)
        # Directions mix coordinates: in each one's own unit, or the smallest would be lost.
        rows = _units(leaf, total)
        moves = moves / rows
        # Statistics have units too, and those of a rare outcome a slope whose square may overflow.
        moves = moves / or_one(jnp.max(jnp.abs(moves), axis=0, keepdims=True))
        # Vectors of equal singular values have no derivative: no two columns have one length.
        apart = jnp.linspace(1, 2, moves.shape[1], dtype=moves.dtype)[None]
        left = jnp.linalg.svd(moves / (_lengths(moves, 0) * apart), full_matrices=False)[0]
        left = left[:, : free_parameters(leaf)]
        # Singular values come largest first: those of the directions lost are the last.
        there = jnp.arange(left.shape[1]) < left.shape[1] - lost
        blocks.append(jnp.where(there[None], left * rows, jnp.zeros_like(left)))
        live.append(there)
        held.append(still)
        kinks.append(ravel_pytree(leaf.curvature_of_kinks(s))[0])
    for loose in parts.loose:
        blocks.append(jnp.eye(loose.size, dtype=loose.dtype))
        live.append(jnp.ones(loose.size, bool))
        held.append(jnp.zeros(loose.size, bool))
        kinks.append(jnp.zeros(loose.size, loose.dtype))
    return Directions(
        jax.scipy.linalg.block_diag(*blocks), *map(jnp.concatenate, (live, held, kinks))
    )


def _units(leaf: Any, stats: Any) -> Array:
    """What each parameter (p, 1) is known to within by complete data; 1 where they don't tell."""
    flat, build = parameters(leaf)
    second = jax.hessian(lambda v: build(v).expected_log_prob(stats, leaf.origin))
    told = -jnp.diagonal(second(flat))
    told = jnp.where((told > 0) & jnp.isfinite(told), told, jnp.ones_like(told))
    return 1 / jnp.sqrt(jax.lax.stop_gradient(told))[:, None]  # what they span has none of it


def _held(leaf: Any, off: Array, again: Any, limits: dict[str, Array]) -> tuple[Array, Array]:
    """Which parameters of a leaf are held, given its densities that are, and directions lost.

    What is infinite in the leaf refitted is so too: a probability too small for its dtype.
    """
    arrays, axes = eqx.filter(leaf, eqx.is_inexact_array), stack_axes(leaf)
    lost = jnp.sum(off) * leaf.num_parameters

    def of(own, array):
        if array is None:
            return None
        # What a stack shares is held where any of its densities is.
        there = jnp.any(off, axis=tuple(range(own, off.ndim)))
        return jnp.broadcast_to(spread(there, array.ndim), array.shape)

    whole = jax.tree.map(of, axes, arrays, is_leaf=lambda n: n is None)
    gone = jax.tree.map(jnp.isinf, eqx.filter(again, eqx.is_inexact_array))
    infinite = jax.tree.map(jnp.logical_or, _infinite(arrays, limits), gone)
    lost = lost + sum(
        jnp.sum(i & ~w)
        for i, w in zip(jax.tree.leaves(infinite), jax.tree.leaves(whole), strict=True)
    )
    if leaf.num_shared_parameters:
        outer = jnp.any(off, axis=-1) if off.ndim else off
        lost = lost + jnp.sum(outer) * leaf.num_shared_parameters
    still = jax.tree.map(jnp.logical_or, whole, infinite)
    return ravel_pytree(jax.tree.map(lambda a: a.astype(jnp.float32), still))[0] > 0, lost


def _infinite(arrays: PyTree, limits: dict[str, Array]) -> PyTree:
    """Which of a leaf's parameters are infinite, or mean nothing where the family is its limit."""
    infinite = jax.tree.map(jnp.isinf, arrays)
    for field, ran in limits.items():
        name = lambda m, f=field: getattr(getattr(m, "part", m), f)
        if name(infinite) is None:  # it is shared
            name, ran = lambda m, f=field: getattr(m.once, f), jnp.any(ran, -1)
        infinite = eqx.tree_at(name, infinite, name(infinite) | ran)
    return infinite


def _lengths(matrix, axis):
    """Lengths of rows or columns, 1 for a zero one: coordinates and statistics have units."""
    return or_one(jnp.sqrt(jnp.sum(matrix * matrix, axis=axis, keepdims=True)))


class Chart(eqx.Module):
    """Free coordinates about a model: parameters = `vector` + `basis` @ free, free = 0."""

    model: PyTree
    vector: Float[Array, " p"]
    basis: Float[Array, "p r"]
    live: Bool[Array, " r"]
    held: Bool[Array, " p"]
    kinks: Float[Array, " p"]
    finite: Bool[Array, ""]  # whether the log-likelihood is

    def at(self, free: Float[Array, " r"]) -> PyTree:
        step = jnp.dot(self.basis, free, precision="highest")
        # A parameter at -inf (a weight of 0) has no free direction, and stays.
        return parameters(self.model)[1](self.vector + step)

    @property
    def origin(self) -> Float[Array, " r"]:
        return jnp.zeros(self.basis.shape[1], self.basis.dtype)


def chart(model, data, weights=None, prior=None) -> Chart:
    """The free coordinates about a model."""
    expected = expect(model, data, weights)
    default = floor_prior(model, data, weights, DEFAULT_FLOOR) if prior is None else prior
    floors = floors_of(default) or [leaf.zero_stats() for leaf in take_apart(model).leaves]
    found = tangent_basis(model, expected.stats, prior, floors, expected.weight)
    finite = jnp.isfinite(expected.log_likelihood.value)
    return Chart(model, parameters(model)[0], *found, finite)


def objective(model, data, weights=None, prior=None, chunk_size=None) -> Array:
    """Log-likelihood plus the prior's log-density, in nats."""
    total = log_likelihood(model, data, weights, chunk_size).value
    return total + jnp.asarray(log_prior(model, prior), total.dtype)


def observed_information(chart: Chart, data, weights=None, prior=None) -> Float[Array, "r r"]:
    """Minus the second derivative of the objective in the free coordinates."""
    rows = chunk_rows(chart.model, data, None)
    chunk = max(16, rows // max(1, chart.basis.shape[1]))
    value = lambda free: objective(chart.at(free), data, weights, prior, chunk)
    hessian = jax.jacfwd(jax.grad(value))(chart.origin)
    return with_unit(chart, -0.5 * (hessian + hessian.T))


def with_unit(chart: Chart, information: Float[Array, "r r"]) -> Float[Array, "r r"]:
    """The information, kinks in it, with 1 on the diagonal for directions that are not there."""
    information = information + jnp.dot(
        chart.basis.T * chart.kinks[None], chart.basis, precision="highest"
    )
    both = chart.live[:, None] & chart.live[None]
    return jnp.where(both, information, jnp.eye(len(chart.live), dtype=information.dtype))


def scores(chart: Chart, data: PyTree) -> Float[Array, "n r"]:
    """The gradient of each row's log-density in the free coordinates."""
    one = jax.grad(lambda free, x: chart.at(free).log_prob(x))
    chunk = chunk_rows(chart.model, data, None)
    return map_rows(lambda x: one(chart.origin, x), data, chunk)


def louis_information(chart: Chart, data, weights=None, prior=None) -> Float[Array, "r r"]:
    """The same matrix by Louis's identity: what complete data would tell less what is missing.

    I = sum_n E[-d2 log p(x_n, z)] - sum_n Var[d log p(x_n, z)], both over the posterior of the
    component z (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x).
    """
    origin, rows = chart.origin, chunk_rows(chart.model, data, None)
    joint = lambda free, x: chart.at(free).joint_log_probs(x)
    case = jnp.ones(num_rows(data), origin.dtype) if weights is None else weights

    def row(x):
        share = posterior_of(chart.model, x)
        score = jax.jacfwd(joint)(origin, x)
        return share, jnp.where(share[:, None] > 0, score, jnp.zeros_like(score))

    shares, each = map_rows(row, data, rows)

    def complete(free):
        def expected(x, share):
            level = joint(free, x)
            return jnp.sum(jnp.where(share > 0, share * level, jnp.zeros_like(level)))

        values = map_rows(lambda args: expected(*args), (data, shares), rows)
        penalty = jnp.asarray(log_prior(chart.at(free), prior), values.dtype)
        return jnp.sum(values * case) + penalty

    mean = jnp.sum(shares[..., None] * each, 1)
    square = jnp.einsum("nk,nki,nkj->ij", case[:, None] * shares, each, each, precision="highest")
    missing = square - jnp.einsum("n,ni,nj->ij", case, mean, mean, precision="highest")
    return with_unit(chart, -jax.jacfwd(jax.grad(complete))(origin) - missing)


def inverse_root(chart: Chart, information: Float[Array, "r r"]) -> tuple[Array, RESULTS]:
    """R (r, r) with R R' the inverse, NaN where it is not positive definite; what that comes to."""
    scale = or_one(jnp.sqrt(jnp.abs(jnp.diagonal(information))))
    scaled = information / scale[:, None] / scale[None]
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(scaled))
    least = information.shape[0] * jnp.finfo(information.dtype).eps * jnp.max(values)
    regular = jnp.all(jnp.isfinite(values)) & (values[0] > least)
    # Vectors of equal eigenvalues have no derivative; a triangle has.
    triangle, one = jnp.linalg.cholesky(scaled), jnp.eye(len(scaled), dtype=scaled.dtype)
    root = jax.scipy.linalg.solve_triangular(triangle, one, lower=True).T / scale[:, None]
    code = RESULTS.where(regular, RESULTS.successful, RESULTS.singular_information)
    code = RESULTS.where(chart.finite, code, RESULTS.nonfinite)
    return jnp.where(regular & chart.finite, root, jnp.full_like(root, jnp.nan)), code
