"""The M-step: each leaf from its own statistics, loose arrays by a guarded gradient step."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _loops
from .._exponential import ExponentialFamily, Refittable
from .._numerics import tree_vdot
from .._stack import stack_axes
from .._stand_ins import Blank
from .._trees import float_of, num_rows, take
from .chunks import SYMBOLIC, take_chunk
from .expected import Expected, log_likelihood
from .gradient_step import GradientState, climb, gradient_state
from .parts import take_apart

DEFAULT_FLOOR = 1e-9  # least variance of a component, as a share of the data's
FLOOR_ROWS = 4096
STATS_ELEMENTS = 1 << 20  # rows of a chunk times statistics of the whole model


class Prior(NamedTuple):
    """Pseudo-statistics of each leaf, about given origins: they join S, their density joins Q.

    A floor is a prior too: scatter without count, worth -floor tr(precision) / 2 nats.
    `jm.em.conjugate_prior` builds one.

    - `at_mean`: for each leaf a number of pseudo-events that sit at the density's own mean,
      wherever that is (log-determinants without scatter), or None.
    - `floors`: the part of `stats` that is a floor; None where all of it is, [] for none.
    """

    stats: list[Any]
    origins: list[Any]
    at_mean: list[Any] | None = None
    floors: list[Any] | None = None


class Maximised(NamedTuple):
    """What the M-step did."""

    model: PyTree
    state: GradientState | None
    gain: Array  # of the expected complete-data log-density, under the old statistics
    num_emptied: Array  # densities that kept their parameters for want of data
    num_collapsed: Array  # densities without a finite estimate


def blank_stats(
    model: PyTree,
    data: PyTree,
    seeds: list[Array] | None = None,
    level: float | Array = 0.0,
    *,
    origins: list[Any] | None = None,
    weights: Array | None = None,
) -> list[Any]:
    """Statistics under random log-densities, drawn from the seeds and each event's content.

    Without seeds there is no noise: as if all components were alike.
    `weights` (rows,) are case weights; (rows, k) are a mixture's responsibilities.
    """
    parts = take_apart(model)
    tilts = [leaf.zero_stats() for leaf in parts.leaves]
    origins = [leaf.origin for leaf in parts.leaves] if origins is None else origins
    drawn = [None] * len(parts.leaves) if seeds is None else seeds
    levels = [
        jnp.broadcast_to(jnp.asarray(level, float_of(leaf)), leaf.stack_shape)
        for leaf in parts.leaves
    ]

    def loss(tilts, data, weights):
        blanks = [
            Blank(*each) for each in zip(parts.leaves, tilts, origins, drawn, levels, strict=True)
        ]
        blank = parts.model(blanks, parts.loose)
        if weights.ndim == 2:
            values = jax.vmap(blank.joint_log_probs)(data)
        else:
            values = jax.vmap(blank.log_prob)(data)
        return jnp.sum(jnp.where(weights > 0, values, jnp.zeros_like(values)) * weights)

    rows = num_rows(data)
    weights = jnp.ones(rows, float_of(model)) if weights is None else weights
    size = sum(a.size for a in jax.tree.leaves(tilts))
    most = max(16, STATS_ELEMENTS // max(1, size))
    chunk = max(1, min(rows, most)) if isinstance(rows, int) else min(most, SYMBOLIC)

    def body(totals, index):
        sums = jax.grad(loss)(tilts, *take_chunk(data, weights, index, chunk))
        return jax.tree.map(jnp.add, totals, sums), None

    return _loops.scan(body, tilts, jnp.arange(-(-rows // chunk)))[0]


def pooled_stats(
    model: PyTree, data: PyTree, weights: Array | None = None
) -> tuple[list[Any], list[Any]]:
    """Every leaf's statistics, and origins, as if all components were alike: the global fit."""
    parts = take_apart(model)
    first = blank_stats(model, data, weights=weights)
    # A second pass about the data's own mean: raw moments do not survive float32.
    origins = [_pooled_origin(leaf, s) for leaf, s in zip(parts.leaves, first, strict=True)]
    return blank_stats(model, data, origins=origins, weights=weights), origins


def _pooled_origin(leaf: Refittable, stats: Any) -> Any:
    """The data's own mean, or the leaf's where no row has its field."""
    old = leaf.origin
    if old is None:
        return None
    new = leaf.from_stats(stats, old).origin
    return jax.tree.map(lambda n, o: jnp.where(jnp.isfinite(n), n, o), new, old)


def if_seen(floor: Any, count: Array) -> Any:
    """A floor, or none where no row has the field: a share of nothing is no number."""
    return jax.tree.map(lambda a: keep(count > 0, a, jnp.zeros_like(a)), floor)


def floor_stats(model: PyTree, data: PyTree, weights: Array | None) -> tuple[list, list]:
    """`pooled_stats` of a bounded number of rows."""
    rows = num_rows(data)
    if not isinstance(rows, int) or rows > FLOOR_ROWS:
        last = jnp.asarray(rows - 1, float)
        index = jnp.round(jnp.linspace(0, last, FLOOR_ROWS)).astype(int)
        data = take(data, index)
        weights = None if weights is None else weights[index]
    return pooled_stats(model, data, weights)


def floor_prior(model: PyTree, data: PyTree, weights: Array | None, share: float | Array) -> Prior:
    """The default prior: a floor of `share` of the data's own variance under every leaf.

    Differentiable in the data, the weights and the share; the model gives its structure only.
    """
    parts = take_apart(jax.tree.map(jax.lax.stop_gradient, model))
    leaves = [leaf.bare for leaf in parts.leaves]
    pooled, origins = floor_stats(parts.model(leaves, parts.loose), data, weights)
    return floors_prior(leaves, pooled, jax.lax.stop_gradient(origins), weights, jnp.asarray(share))


def floors_prior(leaves, pooled, origins, weights: Array | None, share: Array) -> Prior:
    """A share of pooled statistics as a prior, in the unit of the case weights."""
    floors = [
        if_seen(leaf.floor(s, share), s.count) for leaf, s in zip(leaves, pooled, strict=True)
    ]
    if weights is None:
        return Prior(floors, origins)
    # Scatter that the weights' unit does not move, beside statistics that it does.
    unit = jnp.sum(weights) / jnp.maximum(jnp.sum(weights > 0), 1).astype(weights.dtype)
    return Prior(jax.tree.map(lambda a: a * unit.astype(a.dtype), floors), origins, floors=floors)


def about_own_origins(leaves: list[Refittable], prior: Prior) -> list[Any]:
    """The prior's pseudo-statistics about each leaf's own origin, events at the mean among them."""
    about = _without_means(leaves, prior)
    if prior.at_mean is None:
        return about
    return [
        s if many is None else s._replace(count=s.count + many)
        for s, many in zip(about, prior.at_mean, strict=True)
    ]


def _without_means(leaves: list[Refittable], prior: Prior) -> list[Any]:
    """The same, the pseudo-events that sit at the mean left out."""
    return [
        leaf.recentre(_in_dtype_of(leaf, s), old, leaf.origin)
        for leaf, s, old in zip(leaves, prior.stats, prior.origins, strict=True)
    ]


def _in_dtype_of(leaf: Refittable, stats: Any) -> Any:
    return jax.tree.map(lambda s, zero: s.astype(zero.dtype), stats, leaf.zero_stats())


def floors_of(prior: Prior) -> list[Any]:
    """The part of a prior that keeps densities off their boundary."""
    return prior.stats if prior.floors is None else prior.floors


def log_prior(model: PyTree, prior: Prior | None) -> Array:
    """Log-density of the prior at a model's parameters, up to a constant, in nats."""
    if prior is None:
        return jnp.zeros(())
    leaves = take_apart(model).leaves
    # An expansion of a log-likelihood is worth 0 at its own point, and is held against its old one.
    terms = [
        _expected(leaf, about_own, leaf.origin)
        if leaf.ascends
        else _expected(leaf, _in_dtype_of(leaf, own), origin)
        for leaf, about_own, own, origin in zip(
            leaves, about_own_origins(leaves, prior), prior.stats, prior.origins, strict=True
        )
    ]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros(())


def _expected(leaf: Refittable, stats: Any, origin: Any) -> Array:
    return jnp.sum(leaf.expected_log_prob(stats, origin))


def keep(use: Array, new: Array, old: Array) -> Array:
    """The new statistics for the densities of a stack to use, the old ones for the others."""
    return jnp.where(use.reshape(use.shape + (1,) * (new.ndim - use.ndim)), new, old)


def keep_densities(use: Array, new: PyTree, old: PyTree) -> PyTree:
    """The new parameters for the densities of a stack to use; what these share, for any of them."""

    def choose(own, n, o):
        if not eqx.is_array(n):
            return n
        return keep(jnp.any(use, axis=tuple(range(own, use.ndim))), n, o)

    return jax.tree.map(choose, stack_axes(old), new, old)


def finite(leaf: Refittable, use: Array) -> Array:
    """Densities of a stack without NaN, or infinite parameters where these mean nothing."""
    owned = jax.tree.leaves(stack_axes(leaf))
    for own, array in zip(owned, jax.tree.leaves(leaf), strict=True):
        if not eqx.is_inexact_array(array):
            continue
        fine = jnp.isfinite(array)
        if leaf.zero_is_valid:
            fine = fine | jnp.isinf(array)
        fine = jnp.all(fine, axis=tuple(range(own, array.ndim)))
        use = use & fine.reshape(fine.shape + (1,) * (use.ndim - own))
    return use


def sound(leaf: Refittable, total: Any, weight: Array) -> Array:
    """Densities of a stack that have data to be refitted to, and a finite estimate from them."""
    return finite(leaf.from_stats(total, leaf.origin), _alive(total, weight))


def _alive(total: Any, weight: Array) -> Array:
    # Less than a rounding error of the whole: nothing to fit to.
    return total.count > jnp.finfo(total.count.dtype).eps * weight


def refit(
    leaf: Refittable, stats: Any, pseudo: Any | None, weight: Array, at_mean: Array | None = None
) -> tuple[Any, Array, Array]:
    """One leaf (or a stack of them) from its statistics, and how many were emptied or collapsed.

    Both keep their parameters: the emptied have no data, the collapsed no finite estimate.
    `at_mean` counts pseudo-events that sit at the new mean.
    """
    origin = leaf.origin
    total = stats if pseudo is None else jax.tree.map(jnp.add, stats, pseudo)
    new = leaf.from_stats(total, origin)
    if at_mean is not None:
        still = jax.tree.map(jnp.zeros_like, total)._replace(count=at_mean)
        more = leaf.recentre(still, new.origin, origin)
        new = leaf.from_stats(jax.tree.map(jnp.add, total, more), origin)
    alive = _alive(total, weight)
    use = finite(new, alive)
    return keep_densities(use, new, leaf), jnp.sum(~alive), jnp.sum(alive & ~use)


def refit_all(
    leaves: list[Refittable], stats: list[Any], weight: Array, prior: Prior | None
) -> tuple[list[Any], Array, Array, Array]:
    """Every leaf refitted, what the step gains, and how many densities were emptied, collapsed."""
    none = [None] * len(leaves)
    pseudo = none if prior is None else _without_means(leaves, prior)
    still = none if prior is None or prior.at_mean is None else prior.at_mean
    new_leaves, gains = [], []
    emptied = collapsed = jnp.zeros((), int)
    for leaf, own, extra, many in zip(leaves, stats, pseudo, still, strict=True):
        many = None if many is None else many.astype(own.count.dtype)
        new, empty, collapse = refit(leaf, own, extra, weight, many)
        new_leaves.append(new)
        emptied, collapsed = emptied + empty, collapsed + collapse
        gains.append(expected_gain(new, leaf, own))
    gain = sum(gains[1:], gains[0]) if gains else jnp.zeros(())
    return new_leaves, gain, emptied, collapsed


def maximise(
    model: PyTree,
    expected: Expected,
    data: PyTree,
    weights: Array | None = None,
    prior: Prior | None = None,
    state: GradientState | None = None,
) -> Maximised:
    """The M-step: refit every leaf; move the loose arrays uphill, never below."""
    parts = take_apart(model)
    new_leaves, gain, emptied, collapsed = refit_all(
        parts.leaves, expected.stats, expected.weight, prior
    )
    loose = parts.loose
    if loose:
        build = lambda loose: parts.model(new_leaves, loose)
        value = lambda loose: log_likelihood(build(loose), data, weights).value
        slope = jax.tree.map(lambda g: g / expected.weight.astype(g.dtype), expected.gradient)
        state = gradient_state(loose) if state is None else state
        loose, state = climb(value, slope, loose, state)
    return Maximised(parts.model(new_leaves, loose), state, gain, emptied, collapsed)


def expected_gain(new: Refittable, old: Refittable, stats: Any) -> Array:
    """Q(new) - Q(old) under the old statistics: parameters are subtracted before the product."""
    origin = old.origin
    if not (isinstance(new, ExponentialFamily) and isinstance(old, ExponentialFamily)):
        return _expected(new, stats, origin) - _expected(old, stats, origin)
    # Of what no datum has, the logarithm may be -inf: 0 log 0 is 0.
    seen = lambda s, n, o: jnp.where(s == 0, jnp.zeros_like(n), n - o)
    change = jax.tree.map(seen, stats, new.natural(origin), old.natural(origin))
    return tree_vdot(change, stats)
