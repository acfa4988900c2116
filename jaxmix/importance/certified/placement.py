"""Proposals for a region: a little outside of its hull, and where f is not 0."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ..._arguments import function, optional, real, takes, whole
from ..._arguments import key as key_of_one
from ..._k_means import lloyd, plus_plus
from ..draws import allocate, draw
from ..family import family_size
from ..weights import optimal_weights
from .cells import Region
from .coordinates import Coordinates, in_doubles, proposal_rows
from .sweep import Hits

DIRECTIONS = 64  # in which the region's extreme members are looked for
FAR = 1.0  # nats from the nearest proposal, beyond which a vertex is made one
MOST_ADDED = 32
LARGE, MOST_LARGE = 0.7, 24  # vertices whose second moments count: of these shares of the largest


class Placement(eqx.Module):
    """Proposals for a region, and the shares of the draws that they should have.

    Attributes:
        proposals: a stack of members of the region's family: give them to `draw`.
        weights: their shares: give them to `allocate`, or to `draw_labelled`.
        calls: evaluations of f.
    """

    proposals: PyTree
    weights: Array
    calls: int = eqx.field(static=True)


@takes(
    "place the proposals before.", key=key_of_one, f=function, num_draws=whole(1),
    num_components=optional(whole(1)), margin=real(0), defensive=real(0, 1),
)  # fmt: skip
def place(
    key: Key[Array, ""],
    f: Callable,
    grid: PyTree,
    *,
    num_draws: int = 4000,
    num_components: int | None = None,
    margin: float = 0.25,
    defensive: float = 0.15,
) -> Placement:
    """Place proposals so that a certificate over a region is tight.

    The region's extreme members, moved `margin` standard deviations (of the Fisher information)
    outward, so that every weight is bounded; and members tilted to where f is not 0 under the
    vertex of the largest expectation, one for each cluster of such events (cross-entropy). Where
    the region is wide, vertices further than a nat from all of these are added. Shares minimise the
    relative second moments of the vertices of large expectations, `defensive` of them left even.
    The draws made here are no part of the certificate.

    Args:
        key: a typed random key.
        f: as in `certify`, one value.
        grid: as in `certify`.
        num_draws: draws in each of the two rounds.
        num_components: members tilted to f; None for one more than the region's axes.
        margin: how far outside of the hull, in standard deviations.
        defensive: share of the draws that is spread evenly.

    Raises:
        ValueError: if no draw hits: raise num_draws.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = lambda means: jax.vmap(jm.Normal, (0, None))(means, 1.0)
        >>> placement = jm.importance.place(
        ...     jax.random.key(0), lambda x: x > 1.96, family(jnp.linspace(-1, 0, 5))
        ... )
        >>> means = placement.proposals.mean
        >>> bool(means.min() < -1 and means.max() > 1.5)
        True
    """
    k_first, k_second = jax.random.split(key)
    region = Region(grid)
    natural = region.natural
    outer = _covering(region.coordinates, natural, _outside(region.coordinates, natural, margin))
    count = num_components or len(np.atleast_1d(region.cell_shape)) + 1
    # Some hits from the region alone, then from members tilted to them: rare ones come nearer. Both
    # rounds are of one size, and their sampling is compiled once.
    tilted = np.tile(natural.mean(0), (count, 1))
    for k_round in (k_first, k_second):
        stack = _members(region, np.concatenate([outer, tilted]))
        even = allocate(jnp.ones(len(outer) + len(tilted)), num_draws)
        drawn = draw(k_round, stack, even)
        tilted, values = _tilted(region, f, drawn, natural, count)
    both = _members(region, np.concatenate([outer, tilted]))
    return Placement(both, _shares(region, f, drawn, values, both, defensive), 2 * num_draws)


def _outside(coordinates: Coordinates, natural, margin) -> np.ndarray:
    """Extreme members in many directions, moved outward while the family lasts."""
    middle = natural.mean(0)
    spread = natural.std(0)
    moving = spread > 1e-12 * (1 + np.abs(middle))
    if not moving.any():
        return natural[:1]
    rng = np.random.default_rng(0)
    ways = rng.normal(size=(DIRECTIONS, moving.sum()))
    if moving.sum() <= 6:
        signs = np.meshgrid(*[[-1, 1]] * int(moving.sum()))
        ways = np.concatenate([np.stack(signs, -1).reshape(-1, len(signs)), ways])
    scores = (natural[:, moving] / spread[moving]) @ ways.T
    extreme = natural[np.unique(scores.argmax(0))]
    out = []
    for t in extreme:
        way = t - middle
        step = margin / max(np.sqrt(way @ _derivatives(coordinates, t)[2] @ way), 1e-12)
        while not np.isfinite(_derivatives(coordinates, t + step * way)[0]):
            step *= 0.5
        out.append(t + step * way)
    return np.array(out)


def _covering(coordinates: Coordinates, natural, outer) -> np.ndarray:
    """The outer members, and vertices so that each has one of them within a nat of divergence."""
    levels, means = _levels(coordinates, natural)
    ends = _levels(coordinates, outer)[0]
    own = levels - (natural * means).sum(1)
    apart = np.min(ends[None] - means @ outer.T - own[:, None], axis=1)
    added = []
    while apart.max() > FAR and len(added) < MOST_ADDED:
        k = int(np.argmax(apart))
        added.append(natural[k])
        apart = np.minimum(apart, levels[k] - means @ natural[k] - own)
    return np.concatenate([outer, np.array(added).reshape(-1, outer.shape[1])])


@in_doubles
def _levels(coordinates, natural):
    return jax.vmap(jax.value_and_grad(coordinates.log_normaliser))(natural)


def _members(region: Region, natural: np.ndarray) -> PyTree:
    """A stack of the members of these natural parameters, in the grid's own dtypes."""
    like = region.coordinates.member
    made = _built(region.coordinates, natural)
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), made, like)


@in_doubles
def _built(coordinates, natural):
    return jax.vmap(coordinates.densities)(natural)


def _tilted(region: Region, f, drawn, natural, count) -> tuple[np.ndarray, np.ndarray]:
    """Members whose mean statistics are those of each cluster of hits; estimates at the vertices."""
    hits = Hits(f, region.coordinates, drawn.events)
    values, features = hits.column(0)
    if not len(values):
        raise ValueError(f"None of {hits.count} draws hit f: raise num_draws.")
    own, logs = proposal_rows(region.coordinates, drawn)
    log_q = np.logaddexp.reduce(features @ own.T + logs, axis=1)
    weights = values[:, None] * np.exp(features @ region.rows.T - log_q[:, None])
    best = int(np.argmax(weights.sum(0)))
    statistics = np.asarray(features[:, len(region.coordinates.parts) :], np.float64)
    moving = np.ptp(natural, axis=0) > 1e-12
    moving = moving if moving.any() else np.ones(natural.shape[1], bool)
    centres = _clusters(statistics[:, moving], np.asarray(weights[:, best], np.float64), count)
    found = [_matched(region.coordinates, natural[best], moving, centre) for centre in centres]
    return np.array(found), weights.sum(0)


def _clusters(x, weights, count) -> np.ndarray:
    """Centres of weighted k-means."""
    unit = x.std(0) + 1e-12
    rows, weights = x[None] / unit, weights[None]
    count = min(count, len(np.unique(rows[0], axis=0)))
    start = rows[0, plus_plus(rows, count, weights, np.random.default_rng(0))]
    return lloyd(rows, start, weights).centres[0] * unit


def _matched(coordinates, start, moving, wanted) -> np.ndarray:
    """The member whose moving statistics have this mean: Newton, halved while it leaves the family."""
    t, some = start.copy(), np.ix_(moving, moving)
    value, slope, bend = _derivatives(coordinates, t)
    for _ in range(30):
        step = np.zeros_like(t)
        step[moving] = -np.linalg.lstsq(bend[some], slope[moving] - wanted, rcond=None)[0]
        for size in 0.5 ** np.arange(20):
            new = t + size * step
            found = _derivatives(coordinates, new)
            if found[0] - value <= (new - t)[moving] @ wanted:
                break
        else:
            return t
        t, (value, slope, bend) = new, found
        if np.abs(step).max() < 1e-8:
            break
    return t


@in_doubles
def _derivatives(coordinates, t):
    level = coordinates.log_normaliser
    return level(t), jax.grad(level)(t), jax.hessian(level)(t)


def _shares(region: Region, f, drawn, estimates, proposals: PyTree, defensive) -> Array:
    """Shares that minimise the relative second moments of the vertices of large expectations."""
    large = np.flatnonzero(estimates >= LARGE * estimates.max())
    large = large[np.linspace(0, len(large) - 1, min(len(large), MOST_LARGE)).astype(int)]
    vertices = _members(region, region.natural[large])
    floor = defensive / family_size(proposals)
    return optimal_weights(f, vertices, drawn, proposals=proposals, floor=floor, tol=1e-2).weights
