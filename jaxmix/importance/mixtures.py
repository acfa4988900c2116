"""A mixture proposal from weighted draws: weighted EM, shrunk, widened, with one wide component."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._arguments import named
from .._compile import of_few_numbers
from .._k_means import lloyd, plus_plus
from .._trees import take
from ..combinators import MixtureSameFamily
from ..em.chunks import is_brief
from ..em.priors.prior import floor_prior
from ..em.run import loop
from ..em.search.seeds import generator
from ..em.solver import PlainEM, Rules
from ..em.state import begin
from ..families import DiagonalNormal, MultivariateNormal, Normal, SphericalNormal, StudentT
from .low_rank import LowRankNormal, MultivariateT

SHAPES = ("full", "diagonal", "low_rank")
LOW_RANK_FROM = 50
MAX_ROWS = 8192
MAX_STEPS, TOL = 60, 1e-4
LLOYD_STEPS = 3


class Frame(NamedTuple):
    """Origin and scale of the targets' own draws: the axes in which proposals are made."""

    origin: Array
    scale: Array


class Shape(NamedTuple):
    """How the components of a proposal are made."""

    covariance: str
    inflation: float
    shrinkage: float
    df: float | None


def shape_for(dim: int, covariance: str | None, inflation, shrinkage, df) -> Shape:
    """The default covariance of a dimension, or the one asked for."""
    if covariance is None:
        covariance = "low_rank" if dim >= LOW_RANK_FROM else "full"
    named(*SHAPES)(covariance, "covariance")
    if df is not None and covariance == "low_rank":
        raise ValueError("Student-t proposals have a full or a diagonal covariance, not low_rank.")
    return Shape(covariance, inflation, shrinkage, df)


@of_few_numbers
def frame_of(events: Array, groups: int) -> Frame:
    """Mean of all draws, and their standard deviation within the targets."""
    rows = events.reshape(events.shape[0], -1)  # numbers get one coordinate
    by_target = rows.reshape(groups, -1, rows.shape[1])
    return Frame(jnp.mean(rows, 0), jnp.sqrt(jnp.mean(jnp.var(by_target, 1), 0)))


def systematic(random: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """Row numbers drawn in proportion to weights, by one uniform number."""
    edges = np.cumsum(weights)
    points = (np.arange(size) + random.uniform()) / size
    return np.minimum(np.searchsorted(edges, points * edges[-1]), weights.shape[0] - 1)


class Fitted(NamedTuple):
    """Moments of a fitted mixture: weights (k,), means (k, d), covariances (k, d, d)."""

    weights: Array
    means: Array
    covariances: Array
    effective: Array  # draws behind each component


def joined(a: Fitted, b: Fitted | None, share: float) -> Fitted:
    """Both mixtures as one, b with this share of the weight."""
    if b is None:
        return a
    a = a._replace(weights=(1 - share) * a.weights)
    b = b._replace(weights=share * b.weights)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a, b)


@of_few_numbers
def steadied(fitted: Fitted, before: Array, frame: Frame) -> Fitted:
    """Means whose part across their former direction is shrunk (James and Stein 1961).

    In d coordinates the mean of n draws is off by d / n in squared distance, at random; what of
    the way across is no longer than that is noise.
    """

    def one(mean, old, n):
        u, v = (mean - frame.origin) / frame.scale, (old - frame.origin) / frame.scale
        square = jnp.sum(v * v)
        along = jnp.sum(u * v) / jnp.where(square > 0, square, jnp.ones_like(square)) * v
        across = u - along
        noise = u.shape[0] / n
        length = jnp.sum(across**2)
        kept = jnp.where(length > noise, 1 - noise / jnp.where(length > 0, length, 1), 0)
        return frame.origin + frame.scale * (along + kept * across)

    return fitted._replace(means=jax.vmap(one)(fitted.means, before, fitted.effective))


@of_few_numbers
def _fit(rows: Array, weights: Array, starts: list[Fitted], covariance: str) -> Fitted:
    """Weighted EM of a normal mixture, from each start: the moments of the best."""
    made: Any = {
        "full": MultivariateNormal,
        "diagonal": lambda m, c: DiagonalNormal(m, jnp.sqrt(jnp.diagonal(c))),
        "low_rank": lambda m, c: SphericalNormal(m, jnp.sqrt(jnp.mean(jnp.diagonal(c)))),
    }[covariance]
    models = [
        MixtureSameFamily(start.weights, jax.vmap(made)(start.means, start.covariances))
        for start in starts
    ]

    def climb(model):
        prior = floor_prior(model, rows, weights, 1e-6)
        rules = Rules(PlainEM(), prior, MAX_STEPS, TOL, residual=is_brief(model, rows))
        state = loop(begin(model, rows, weights, rules.solver), rows, weights, rules, block=0)[0]
        return state.model, state.expected.log_likelihood.value

    # One after another, by one loop: two would be twice the program.
    models, levels = jax.lax.map(climb, jax.tree.map(lambda *a: jnp.stack(a), *models))
    best = jnp.where(levels[0] >= levels[-1], 0, len(starts) - 1)
    model = take(models, best)
    share = jax.vmap(model.posterior)(rows) * weights[:, None]
    count = jnp.sum(share, 0)
    used = count > 0
    safe = jnp.where(used, count, jnp.ones_like(count))
    means = jnp.matmul(share.T, rows, precision="highest") / safe[:, None]
    means = jnp.where(used[:, None], means, model.components.mean)

    def spread(s, mean):
        r = rows - mean[None, :]
        return jnp.matmul((s[:, None] * r).T, r, precision="highest")

    covariances = jax.lax.map(lambda a: spread(*a), (share.T, means)) / safe[:, None, None]
    squares = jnp.sum(share**2, 0)
    effective = jnp.where(used, count**2 / jnp.where(used, squares, 1), 1)
    return Fitted(count / jnp.sum(count), means, covariances, effective)


def seeded(random: np.random.Generator, rows: np.ndarray, weights: np.ndarray, num: int) -> Fitted:
    """Clusters of k-means++, each with one more row of the moments of the whole.

    On the host: nothing is compiled for it.
    """
    mean = weights @ rows / weights.sum()
    spread = lambda w, middle: ((rows - middle).T * w) @ (rows - middle)
    whole = spread(weights, mean) / weights.sum()
    scale = np.sqrt(np.diagonal(whole))
    x, w = ((rows - mean) / np.where(scale > 0, scale, 1))[None], weights[None]
    centres = x[0, plus_plus(x, num, w, random, trials=1)]
    labels = lloyd(x, centres, w, max_steps=LLOYD_STEPS).labels[0]
    shares = (labels == np.arange(num)[:, None]) * weights
    count = shares.sum(1)
    known = np.where(count > 0, count, 1)[:, None]
    means = np.where(count[:, None] > 0, shares @ rows / known, mean)
    scatters = np.stack([spread(s, m) for s, m in zip(shares, means, strict=True)])
    covariances = (scatters + whole) / (count + 1)[:, None, None]
    share = (count + 1 / num) / (count.sum() + 1)
    made = (jnp.asarray(a, rows.dtype) for a in (share, means, covariances, count))
    return Fitted(*made)


def refit(
    key, events: Array, log_w: Array, num: int, frame: Frame, start: Fitted | None, covariance: str
) -> tuple[Fitted, Array]:
    """The mixture fitted to weighted draws, and the scale of the wide component."""
    random = generator(key)
    rows, logs = np.asarray(events).reshape(events.shape[0], -1), np.asarray(log_w)
    weights = all_weights = np.exp(logs - logs.max())
    some = rows
    if rows.shape[0] > MAX_ROWS:
        some = rows[systematic(random, weights, MAX_ROWS)]
        weights = np.ones_like(some[:, 0])
    # A weight of mean 1 leaves the floor and the tolerance of EM their meaning.
    weights = weights / weights.mean()
    starts = [] if start is None else [start]
    # Former components keep what is known, new ones find what was missed.
    if start is None or covariance != "low_rank":
        starts.append(seeded(random, some, weights, num))
    fitted = _fit(some, weights, starts, covariance)
    if covariance == "low_rank":
        origin = jnp.broadcast_to(frame.origin[None], fitted.means.shape)
        fitted = steadied(fitted, origin if start is None else start.means, frame)
    return fitted, radius(rows, all_weights, frame)


@of_few_numbers
def radius(rows, weights, frame: Frame) -> Array:
    """Root mean square distance of the elites from the origin a coordinate, at least 1."""
    u = (rows - frame.origin[None]) / frame.scale[None]
    mean = jnp.sum(weights * jnp.mean(u * u, 1)) / jnp.sum(weights)
    return jnp.maximum(jnp.sqrt(mean), jnp.ones_like(mean))


@of_few_numbers
def components_of(fitted: Fitted, frame: Frame, wide: Array, shape: Shape, scalar: bool) -> PyTree:
    """The stack of proposals: the fitted components, shrunk and widened, and the wide one last.

    Args:
        fitted: moments of the mixture.
        frame: origin and scale of the targets.
        wide: scale of the wide component, in units of the targets'.
        shape: how to make them.
        scalar: whether events are numbers.
    """
    own = jnp.diag(frame.scale**2)
    pooled = jnp.sum(fitted.weights[:, None, None] * fitted.covariances, 0)
    # A third part of the targets' own scale keeps a component of few draws from collapsing.
    s = shape.shrinkage
    prior = (pooled + 0.5 * own) / 1.5
    covariances = shape.inflation * ((1 - s) * fitted.covariances + s * prior[None])
    means = jnp.concatenate([fitted.means, frame.origin[None]])
    wide_scale = wide * frame.scale
    if shape.covariance == "low_rank":
        return _low_rank(fitted, means, frame, wide, shape)
    covariances = jnp.concatenate([covariances, jnp.diag(wide_scale**2)[None]])
    if shape.covariance == "diagonal":
        diagonals = jnp.diagonal(covariances, axis1=1, axis2=2)
        covariances = diagonals[:, :, None] * jnp.eye(means.shape[1], dtype=means.dtype)[None]
    if scalar:
        scale = jnp.sqrt(covariances[:, 0, 0])
        if shape.df is None:
            return jax.vmap(Normal)(means[:, 0], scale)
        return jax.vmap(lambda m, c: StudentT(shape.df, m, c))(means[:, 0], scale)
    if shape.df is not None:
        return jax.vmap(lambda m, c: MultivariateT(shape.df, m, c))(means, covariances)
    if shape.covariance == "diagonal":
        scale = jnp.sqrt(jnp.diagonal(covariances, axis1=1, axis2=2))
        return jax.vmap(DiagonalNormal)(means, scale)
    return jax.vmap(MultivariateNormal)(means, covariances)


def _low_rank(fitted: Fitted, means, frame: Frame, wide, shape: Shape):
    """Stretched along the way from the origin to the mean only (El Masri et al. 2021).

    In many coordinates other variances are not learnt from a few hundred draws.
    """

    def direction(mean):
        u = (mean - frame.origin) / frame.scale
        length = jnp.sqrt(jnp.sum(u * u))
        return u / jnp.where(length > 0, length, jnp.ones_like(length))

    axes = jax.vmap(direction)(fitted.means)

    def stretch(axis, covariance):
        v = axis / frame.scale
        return jnp.dot(v, jnp.dot(covariance, v, precision="highest"), precision="highest")

    along = jax.vmap(stretch)(axes, fitted.covariances)
    along = jnp.sqrt(shape.inflation * ((1 - shape.shrinkage) * along + shape.shrinkage))
    first = jnp.zeros_like(frame.origin).at[0].set(1)
    axes = jnp.concatenate([axes, first[None]])[:, :, None]
    num = fitted.weights.shape[0]
    scales = jnp.concatenate([jnp.ones(num, means.dtype), wide[None]])[:, None] * frame.scale[None]
    stretches = jnp.concatenate([along, jnp.ones_like(wide)[None]])[:, None]
    return jax.vmap(LowRankNormal)(means, scales, axes, stretches)
