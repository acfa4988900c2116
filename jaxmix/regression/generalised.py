"""Generalised linear models: one Newton step on coefficients an M-step, whatever the family.

A conditional family whose local log-density l(y; eta) depends on covariates through linear
predictors eta = B (x, 1) alone. Its score and curvature in B are sums over the data of products
of (x, 1) with the derivatives of l in eta, so they are statistics like any others: additive,
weighed by responsibilities, and the M-step of an EM iteration is a Newton step by them (Lange
1995, "A gradient algorithm locally equivalent to the EM algorithm").
"""

import abc
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from .._chunkwise import ByChunk
from .._platform import product_precision
from ..families._factors import HIGHEST
from ..families._pairs import matrix_of_pairs, products_of_pairs
from .design import (
    Regressed,
    chunk_with_intercept,
    joined,
    response_of,
    solved,
    taken_apart,
    with_intercept,
)

FORETOLD = 1e-2  # curvature of a response in its linear predictor
FAINT = 16  # rounding errors of the information
ADRIFT = 0.5  # of a linear predictor's last step: where rows are foretold, that to infinity is 1


class Point(NamedTuple):
    """Where a log-likelihood is expanded: linear predictors' rows (m, q), and shapes (e,)."""

    linear: Array
    shapes: Array


class Expansion(NamedTuple):
    """Counts, and the derivatives of the log-likelihood to second order about a point.

    `score` (m, q) and `information` (m, m, pairs) are in the rows of the linear predictors,
    `slopes` and `curvatures` (e,) in each shape parameter: shapes are orthogonal to means.
    `idle` (m, pairs) sums the pairs of (x, 1) over the rows whose response is all but foretold.
    """

    count: Array
    score: Array
    information: Array
    slopes: Array
    curvatures: Array
    idle: Array


class Local(NamedTuple):
    """Derivatives of one response's log-density in its linear predictors and in the shapes."""

    score: Array
    information: Array
    slopes: Array
    curvatures: Array


class Chunk(NamedTuple):
    """A chunk: covariates (q, rows), responses and their bases, predictors (k, m, rows)."""

    covariates: Array
    response: Array
    base: Array
    predictors: Array


class GeneralisedLinear(Regressed, ByChunk):
    """The base of regressions whose M-step is a Newton step.

    A family states `law(eta, shapes)`, the support of its responses, `responses`, and which of its
    fields are `shapes`.
    """

    responses: ClassVar[Any]  # the `Domain` of a response
    shapes: ClassVar[tuple[str, ...]] = ()
    ascends: ClassVar[bool] = False

    offset: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def law(self, eta: Float[Array, " m"], shapes: Float[Array, " e"]) -> Any:
        """The density of a response at its linear predictors and shapes."""

    def local_log_prob(self, y: Array, eta: Array, shapes: Array) -> Scalar:
        """The law's log-density, in nats."""
        return self.law(eta, shapes).log_prob(y)

    def response(self, y: Any) -> tuple[Array, Array]:
        """The response of one event, replaced off the support, and 0, -inf or NaN."""
        dtype = self.intercept.dtype
        return self.responses.safe(response_of(y, (), dtype), dtype)

    def given(self, x: Float[Array, " p"], offset: Any = 0.0) -> Any:
        """The density of the response given covariates."""
        return self.law(self.predictors(x, offset), self.origin.shapes)

    _wide = property(lambda self: self.ranks["coefficients"] == 2)  # of several predictors
    num_predictors = property(lambda self: self.coefficients.shape[-2] if self._wide else 1)

    @property
    def origin(self) -> Point:  # pyright: ignore[reportIncompatibleMethodOverride]
        linear = joined(self.coefficients, self.intercept)
        linear = linear if self._wide else linear[..., None, :]
        values = [getattr(self, name)[..., None] for name in self.shapes]
        none = jnp.zeros((*self.stack_shape, 0), linear.dtype)
        return Point(linear, jnp.concatenate([none, *values], -1))

    def predictors(self, x: Float[Array, " p"], offset: Any = 0.0) -> Float[Array, " m"]:
        """The linear predictors at covariates."""
        q = with_intercept(x)
        return jnp.dot(self.origin.linear, q, precision=product_precision(q)) + offset

    def _taken(self, event):
        y, x, offset = taken_apart(event, self.num_features, self.offset, self.intercept.dtype)
        return *self.response(y), offset, x

    def log_prob(self, x) -> Scalar:
        y, base, offset, x = self._taken(x)
        return self.local_log_prob(y, self.predictors(x, offset), self.origin.shapes) + base

    def _derivatives(self, y, eta, shapes) -> Local:
        value = lambda eta, shapes: self.local_log_prob(y, eta, shapes)

        def twice(which):  # of one pass: gradient and Hessian in one argument
            first = jax.grad(value, which)
            return jax.jacfwd(lambda *at: (first(*at),) * 2, which, has_aux=True)(eta, shapes)

        information, score = twice(0)
        curvatures, slopes = twice(1) if self.shapes else (jnp.diag(shapes), shapes)
        return Local(score, -information, slopes, -jnp.diagonal(curvatures))

    def pair(self, t: Expansion, x, origin: Any = None) -> Scalar:
        # Products with what is alike for all densities of a stack: matrix products over the data.
        y, _, offset, x = self._taken(x)
        q = with_intercept(x)
        dot = functools.partial(jnp.dot, precision=product_precision(q))
        pairs = products_of_pairs(q)
        own = self._derivatives(y, dot(origin.linear, q) + offset, origin.shapes)
        linear = jnp.sum(own.score * dot(t.score, q))
        square = jnp.sum(own.information * dot(t.information, pairs))
        square = square + dot(_foretold(jnp.diagonal(own.information)), dot(t.idle, pairs))
        shapes = dot(t.slopes, own.slopes) + dot(t.curvatures, own.curvatures)
        return t.count + linear + square + shapes

    def _each(self, function: Callable, chunk: Chunk) -> Any:
        """A function of a response, its predictors and the shapes: densities first, rows last."""
        rows = jax.vmap(function, in_axes=(0, -1, None), out_axes=-1)
        shapes = self.origin.shapes.reshape(math.prod(self.stack_shape), len(self.shapes))
        return jax.vmap(rows, in_axes=(None, 0, 0))(chunk.response, chunk.predictors, shapes)

    def under(self, events) -> Chunk:
        (y, base, offset), q = chunk_with_intercept(self._taken, events)
        m = self.num_predictors
        rows = self.origin.linear.reshape(-1, q.shape[0])
        eta = jnp.dot(rows, q, precision=product_precision(q))
        return Chunk(q, y, base, eta.reshape(-1, m, q.shape[1]) + offset[None, None])

    def log_probs(self, chunk: Chunk) -> Float[Array, " rows *stack"]:
        value = self._each(self.local_log_prob, chunk) + chunk.base[None]
        return value.T.reshape(-1, *self.stack_shape)

    def weighed_sums(self, chunk: Chunk, weights: Float[Array, " rows *stack"]) -> Expansion:
        q, m = chunk.covariates, self.num_predictors
        shares = weights.reshape(weights.shape[0], -1).T
        local = self._each(self._derivatives, chunk)
        digits = product_precision(q)
        summed = lambda a, b: jnp.einsum("kin,jn->kij", a, b, precision=digits)
        score = summed(shares[:, None] * local.score, q)
        # Of the symmetric matrix of predictors its triangle alone.
        i, j = np.triu_indices(m)
        idle = _foretold(local.information[:, np.arange(m), np.arange(m)])
        squares = jnp.concatenate([local.information[:, i, j], idle], 1)
        triangle = summed(shares[:, None] * squares, products_of_pairs(q))
        place = np.zeros((m, m), int)
        place[i, j] = place[j, i] = np.arange(len(i))
        total = lambda a: jnp.sum(shares[:, None] * a, -1)
        found = Expansion(
            jnp.sum(shares, 1), score, triangle[:, place],
            total(local.slopes), total(local.curvatures), triangle[:, len(i) :],
        )  # fmt: skip
        return Expansion(*(a.reshape(*self.stack_shape, *a.shape[1:]) for a in found))

    def _matrix(self, stats: Expansion) -> Float[Array, "*s mq mq"]:
        m, q = self.num_predictors, self.num_features + 1
        blocks = matrix_of_pairs(stats.information, q)  # (..., m, m, q, q)
        return jnp.swapaxes(blocks, -3, -2).reshape(*stats.count.shape, m * q, m * q)

    def from_stats(self, stats: Expansion, origin: Any = None) -> Self:
        flat = stats.score.reshape(*stats.count.shape, -1, 1)
        # In directions in which all is foretold no digit of the information is left.
        eps = float(jnp.finfo(flat.dtype).eps)
        among = jnp.eye(self.num_predictors, dtype=flat.dtype)
        blur = FAINT * eps * jnp.einsum("...ip,ij->...ijp", stats.idle, among)
        step = solved(self._matrix(stats._replace(information=stats.information + blur)), flat)
        # How far the linear predictors would move, in the mean by their curvature. Newton's step
        # of log-densities whose third derivative is within their second overshoots where that is
        # large; asinh(d) / d of it does not, and is all of it near an optimum.
        turns = _last_square(stats.information, self.num_features + 1)
        moved = jnp.einsum("...qi,...qi->...", step, flat, precision=HIGHEST) / turns
        step = step.reshape(stats.score.shape) * _shortened(moved)[..., None, None]
        away = jnp.abs(stats.slopes) / jnp.where(stats.curvatures > 0, stats.curvatures, 1)
        length = jnp.where(stats.curvatures > 0, away * _shortened(away * away), 1)
        shapes = origin.shapes + jnp.sign(stats.slopes) * length
        return self._replace(**self._fields(Point(origin.linear + step, shapes)))

    def limits(self, stats=None):
        """Coefficients that step on by a constant length where the responses are all foretold.

        And shapes of which the responses tell nothing.
        """
        if stats is None:
            return {}
        step = solved(self._matrix(stats), stats.score.reshape(*stats.count.shape, -1, 1))
        step = step.reshape(stats.score.shape)
        idle = matrix_of_pairs(stats.idle, self.num_features + 1)
        rows = idle[..., -1, -1]
        square = jnp.einsum("...i,...ij,...j->...", step, idle, step, precision=HIGHEST)
        # NaN where no digit of the information is left.
        adrift = (rows > 0) & ~(square <= ADRIFT**2 * rows)
        moved = step**2 * jnp.diagonal(idle, axis1=-2, axis2=-1)
        far = adrift[..., None] & ~(moved <= 0.1 * jnp.max(moved, -1, keepdims=True))
        shapes = stats.curvatures <= 1e-5 * stats.count[..., None]
        return self._fields(Point(far, shapes & (stats.count > 0)[..., None]))

    def _fields(self, point: Point) -> dict[str, Array]:
        """Fields by their names, of rows of linear predictors and shapes."""
        linear = point.linear if self._wide else point.linear[..., 0, :]
        names = ("coefficients", "intercept", *self.shapes)
        values = [linear[..., :-1], linear[..., -1]]
        values += [point.shapes[..., i] for i in range(len(self.shapes))]
        return dict(zip(names, values, strict=True))

    def expected_log_prob(self, stats: Expansion, origin: Any = None) -> Scalar:
        """The expansion at these parameters, up to a constant."""
        shift = Point(*(own - place for own, place in zip(self.origin, origin, strict=True)))
        flat = shift.linear.reshape(*stats.count.shape, -1)
        turned = jnp.einsum("...ij,...j->...i", self._matrix(stats), flat, precision=HIGHEST)
        linear = jnp.sum(shift.linear * stats.score) - 0.5 * jnp.sum(flat * turned)
        shapes = shift.shapes * (stats.slopes - 0.5 * shift.shapes * stats.curvatures)
        return linear + jnp.sum(shapes)

    def recentre(self, stats: Expansion, old, new) -> Expansion:
        """The same parabola about another point."""
        shift = (new.linear - old.linear).reshape(*stats.count.shape, -1)
        turned = jnp.einsum("...ij,...j->...i", self._matrix(stats), shift, precision=HIGHEST)
        score = stats.score - turned.reshape(stats.score.shape)
        slopes = stats.slopes - stats.curvatures * (new.shapes - old.shapes)
        return stats._replace(score=score, slopes=slopes)

    def zero_stats(self) -> Expansion:
        m, q, e = self.num_predictors, self.num_features + 1, len(self.shapes)
        pairs = q * (q // 2 + 1)
        shapes = (), (m, q), (m, m, pairs), (e,), (e,), (m, pairs)
        stack, dtype = self.stack_shape, self.intercept.dtype
        return Expansion(*(jnp.zeros((*stack, *core), dtype) for core in shapes))


def _foretold(curvature: Array) -> Array:
    """1 where a response of this curvature in a linear predictor is all but foretold, else 0."""
    return (curvature < FORETOLD).astype(curvature.dtype)


def _last_square(information: Array, q: int) -> Array:
    """The summed curvature in the intercepts: the trace over predictors, at the pair (1, 1)."""
    return jnp.einsum("...ii->...", information[..., q - 1])


def _shortened(square: Array) -> Array:
    """The share asinh(d) / d, d the root of `square`; a constant of the differentiation.

    Its derivative is 0 at an optimum, where d is 0, and so is that of its first derivative.
    """
    square = jax.lax.stop_gradient(square)
    near = square < 1e-4
    d = jnp.sqrt(jnp.where(near, jnp.ones_like(square), square))
    return jnp.where(near, 1 - square / 6, jnp.arcsinh(d) / d)
