"""The observed information of a fit, in free coordinates about it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from ..._numerics import or_one
from ..._results import RESULTS
from ..._stack import stack_axes
from ..._trees import Sum, add, spread
from ...combinators._labels import posterior_of
from ...regression.centred import Centre, centred
from ..chunks import chunk_rows, map_rows, over_chunks
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


class Chart(eqx.Module):
    """Free coordinates about a model: parameters = `vector` + `basis` @ free, free = 0.

    - `model`: of covariates about `centre`, as the parameters are; `data` are the caller's own.
    - `live`: which directions are there; `held`: parameters on a boundary, which have none.
    - `kinks`: what the information of each parameter has besides second derivatives.
    - `finite`: whether the log-likelihood is.
    """

    model: PyTree
    data: PyTree
    weights: Array | None
    prior: Prior | None
    centre: Centre
    vector: Float[Array, " p"]
    basis: Float[Array, "p r"]
    live: Bool[Array, " r"]
    held: Bool[Array, " p"]
    kinks: Float[Array, " p"]
    finite: Bool[Array, ""]

    def at(self, free: Float[Array, " r"]) -> PyTree:
        """The model at free coordinates, of covariates about the centre."""
        step = jnp.dot(self.basis, free, precision="highest")
        # A parameter at -inf (a weight of 0) has no free direction, and stays.
        return parameters(self.model)[1](self.vector + step)

    def own(self, free: Float[Array, " r"]) -> PyTree:
        """The model at free coordinates, of the caller's own covariates."""
        return self.centre.back(self.at(free))

    @property
    def near(self) -> PyTree:
        """The data with their covariates about the centre."""
        return self.centre.data(self.data)

    @property
    def origin(self) -> Float[Array, " r"]:
        return jnp.zeros(self.basis.shape[1], self.basis.dtype)

    def level(self, free: Float[Array, " r"], chunk_size: int | None = None) -> Sum:
        """Log-likelihood plus the prior's log-density, in nats."""
        model = self.at(free)
        total = log_likelihood(model, self.near, self.weights, chunk_size)
        return add(total, jnp.asarray(log_prior(model, self.prior), total.high.dtype))

    def pushed(self, columns: Float[Array, "r m"]) -> Float[Array, "p m"]:
        """Directions of the free coordinates as those of the caller's own parameters."""
        columns = jnp.dot(self.basis, columns, precision="highest")
        if self.centre.at is None:
            return columns
        build = parameters(self.model)[1]
        back = lambda vector: parameters(self.centre.back(build(vector)))[0]
        return jax.vmap(lambda c: jax.jvp(back, (self.vector,), (c,))[1], 1, 1)(columns)


def chart(model, data, weights=None, prior=None) -> Chart:
    """The free coordinates about a model: the directions in which the refitted parameters can move.

    Unconstrained parameters are redundant (K logits for K - 1 weights, the unused half of a
    triangle); the M-step's values are not. The columns span the range of its derivative in the
    statistics, orthonormal for each leaf in units of its own coordinates. What sits on a boundary
    (a probability of 0, a density on its floor, an emptied one) has no direction: its columns
    are 0.
    """
    model, near, centre = centred(model, data, weights)
    expected, parts = expect(model, near, weights), take_apart(model)
    default = floor_prior(model, near, weights, DEFAULT_FLOOR) if prior is None else prior
    floors = floors_of(default) or [leaf.zero_stats() for leaf in parts.leaves]
    own = totals = expected.stats
    if prior is not None:
        totals = jax.tree.map(jnp.add, own, about_own_origins(parts.leaves, prior))
    each = zip(parts.leaves, own, totals, floors, strict=True)
    blocks = [_directions(*of_leaf, expected.weight) for of_leaf in each]
    for array in parts.loose:
        none = jnp.zeros(array.size, array.dtype)
        blocks.append((jnp.diag(none + 1), none == 0, none != 0, none))
    if not blocks:
        raise ValueError(
            f"All of this {type(model).__name__} is frozen: no fit moves it, and it has no errors."
        )
    basis, live, held, kinks = zip(*blocks, strict=True)
    return Chart(
        model, data, weights, prior, centre, parameters(model)[0],
        jax.scipy.linalg.block_diag(*basis), *map(jnp.concatenate, (live, held, kinks)),
        finite=jnp.isfinite(expected.log_likelihood.value),
    )  # fmt: skip


def _directions(leaf: Any, own: Any, total: Any, floor: Any, weight: Array) -> tuple[Array, ...]:
    """Of one leaf: directions, which of them are there, parameters that are held, and kinks."""
    flat, unravel = ravel_pytree(total)
    moves = jax.jacfwd(lambda v: parameters(leaf.from_stats(unravel(v)))[0])(flat)
    moves = jnp.where(jnp.isfinite(moves), moves, jnp.zeros_like(moves))
    off = leaf.on_boundary(floor) | ~sound(leaf, total, weight)
    held, lost = _held(leaf, off, leaf.from_stats(total), leaf.limits(total))
    moves = jnp.where(held[:, None], jnp.zeros_like(moves), moves)
    # Directions mix coordinates: in each one's own unit, or the smallest would be lost.
    units = _units(leaf, total)
    moves = moves / units
    # Statistics have units too, and those of a rare outcome a slope whose square may overflow.
    moves = moves / or_one(jnp.max(jnp.abs(moves), axis=0, keepdims=True))
    lengths = or_one(jnp.sqrt(jnp.sum(moves * moves, axis=0, keepdims=True)))
    # Vectors of equal singular values have no derivative: no two columns have one length.
    apart = jnp.linspace(1, 2, moves.shape[1], dtype=moves.dtype)[None]
    left = jnp.linalg.svd(moves / (lengths * apart), full_matrices=False)[0]
    left = left[:, : free_parameters(leaf)]
    # Singular values come largest first: those of the directions lost are the last.
    there = jnp.arange(left.shape[1]) < left.shape[1] - lost
    basis = jnp.where(there[None], left * units, jnp.zeros_like(left))
    return basis, there, held, ravel_pytree(leaf.curvature_of_kinks(own))[0]


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
    arrays, other = (eqx.filter(one, eqx.is_inexact_array) for one in (leaf, again))

    def of(own, array):
        if array is None:
            return None
        # What a stack shares is held where any of its densities is.
        there = jnp.any(off, axis=tuple(range(own, off.ndim)))
        return jnp.broadcast_to(spread(there, array.ndim), array.shape)

    whole = jax.tree.map(of, stack_axes(leaf), arrays, is_leaf=lambda n: n is None)
    infinite = jax.tree.map(lambda a, b: jnp.isinf(a) | jnp.isinf(b), arrays, other)
    for field, ran in limits.items():  # it means nothing where the family is its limit
        name = lambda m, f=field: getattr(getattr(m, "part", m), f)
        if name(infinite) is None:  # it is shared
            name, ran = lambda m, f=field: getattr(m.once, f), jnp.any(ran, -1)
        infinite = eqx.tree_at(name, infinite, name(infinite) | ran)
    whole, infinite = ravel_pytree(whole)[0], ravel_pytree(infinite)[0]
    lost = jnp.sum(off) * leaf.num_parameters + jnp.sum(infinite & ~whole)
    outer = jnp.any(off, axis=-1) if off.ndim else off
    return whole | infinite, lost + jnp.sum(outer) * leaf.num_shared_parameters


def observed_information(chart: Chart) -> Float[Array, "r r"]:
    """Minus the second derivative of the objective in the free coordinates."""
    rows = chunk_rows(chart.model, chart.data, None)
    chunk = max(16, rows // max(1, chart.basis.shape[1]))
    hessian = jax.hessian(lambda free: chart.level(free, chunk).value)(chart.origin)
    return _with_unit(chart, -0.5 * (hessian + hessian.T))


def louis_information(chart: Chart) -> Float[Array, "r r"]:
    """The same matrix by Louis's identity: what complete data would tell less what is missing.

    I = sum_n E[-d2 log p(x_n, z)] - sum_n Var[d log p(x_n, z)], both over the posterior of the
    component z (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x).
    """
    origin = chart.origin

    def sums(rows, case):
        shares = jax.vmap(lambda x: posterior_of(chart.model, x))(rows)
        seen = lambda a: jnp.where(spread(shares > 0, a.ndim), a, jnp.zeros_like(a))
        levels = lambda free: jax.vmap(chart.at(free).joint_log_probs)(rows)
        complete = lambda free: jnp.sum(seen(case[:, None] * shares * levels(free)))
        score = seen(jax.jacfwd(levels)(origin))
        mean = jnp.einsum("nk,nki->ni", shares, score, precision="highest")
        about = score - mean[:, None]
        many = case[:, None] * shares
        missing = jnp.einsum("nk,nki,nkj->ij", many, about, about, precision="highest")
        return jax.hessian(complete)(origin) + missing

    none = jax.hessian(lambda free: log_prior(chart.at(free), chart.prior))(origin)
    chunk = chunk_rows(chart.model, chart.data, None)
    total = over_chunks(
        sums, none.astype(origin.dtype), chart.near, chart.weights, chunk, origin.dtype
    )
    return _with_unit(chart, -total)


def _with_unit(chart: Chart, information: Float[Array, "r r"]) -> Float[Array, "r r"]:
    """The information, kinks in it, with 1 on the diagonal for directions that are not there."""
    information = information + jnp.dot(
        chart.basis.T * chart.kinks[None], chart.basis, precision="highest"
    )
    both = chart.live[:, None] & chart.live[None]
    return jnp.where(both, information, jnp.eye(len(chart.live), dtype=information.dtype))


def scores(chart: Chart) -> Float[Array, "n r"]:
    """The gradient of each row's log-density in the free coordinates."""
    one = jax.grad(lambda free, x: chart.at(free).log_prob(x))
    chunk = chunk_rows(chart.model, chart.data, None)
    return map_rows(lambda x: one(chart.origin, x), chart.near, chunk)


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
