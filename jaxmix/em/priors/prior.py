"""A prior as pseudo-statistics, and the default one: a floor under every density's variance."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ... import _loops
from ..._refittable import Refittable
from ..._stand_ins import Blank
from ..._trees import float_of, num_rows, take
from ...combinators._columns import Fold, fold_of
from ..chunks import SYMBOLIC, over_chunks
from ..parts import is_part, take_apart

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
    drawn = levels = none = [None] * len(parts.leaves)
    origins = none if origins is None else origins  # each leaf's own
    if seeds is not None:
        wide = lambda leaf: jnp.broadcast_to(jnp.asarray(level, float_of(leaf)), leaf.stack_shape)
        drawn, levels = seeds, list(map(wide, parts.leaves))

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

    sums = lambda rows, weights: jax.grad(loss)(tilts, rows, weights)
    return over_chunks(sums, tilts, data, weights, chunk, weights.dtype)


def pooled_stats(
    model: PyTree, data: PyTree, weights: Array | None = None, turns: int = 2
) -> tuple[list[Any], list[Any]]:
    """Every leaf's statistics, and origins, as if all components were alike: the global fit.

    A second pass about the data's own mean: raw moments do not survive float32. Where statistics
    expand a log-likelihood, as many as bring the expansion to the fit itself.
    """
    leaves = take_apart(model).leaves

    def body(_, carry):
        origins = carry[0]
        stats = blank_stats(model, data, origins=origins, weights=weights)
        each = zip(leaves, stats, origins, strict=True)
        return [pooled_origin(*one) for one in each], origins, stats

    origins = [leaf.origin for leaf in leaves]
    begin = (origins, origins, [leaf.zero_stats() for leaf in leaves])
    _, origins, stats = _loops.fori_loop(0, turns, body, begin)
    return stats, origins


def pooled_origin(leaf: Refittable, stats: Any, old: Any) -> Any:
    """The data's own mean, or the one before where no row has its field."""
    if old is None:
        return None
    new = leaf.from_stats(stats, old).origin
    return jax.tree.map(lambda n, o: jnp.where(jnp.isfinite(n), n, o), new, old)


def floor_stats(
    model: PyTree, data: PyTree, weights: Array | None, origins: list | None = None
) -> tuple[list, list]:
    """`pooled_stats` of a bounded number of rows; about given origins by one pass."""
    rows = num_rows(data)
    if not isinstance(rows, int) or rows > FLOOR_ROWS:
        last = jnp.asarray(rows - 1, float)
        index = jnp.round(jnp.linspace(0, last, FLOOR_ROWS)).astype(int)
        data, weights = take((data, weights), index)
    if origins is not None:
        return blank_stats(model, data, origins=origins, weights=weights), origins
    return pooled_stats(model, data, weights)


def floor_prior(
    model: PyTree,
    data: PyTree,
    weights: Array | None,
    share: float | Array,
    origins: list | None = None,
) -> Prior:
    """The default prior: a floor of `share` of the data's own variance under every leaf.

    Differentiable in the data, the weights and the share; the model gives its structure only.
    `origins` are those of the same prior, where they are known.
    """
    parts = take_apart(jax.tree.map(jax.lax.stop_gradient, model))
    leaves = [leaf.bare for leaf in parts.leaves]
    pooled, origins = floor_stats(parts.model(leaves, parts.loose), data, weights, origins)
    return floors_prior(leaves, pooled, jax.lax.stop_gradient(origins), weights, jnp.asarray(share))


def floors_prior(leaves, pooled, origins, weights: Array | None, share: Array) -> Prior:
    """A share of pooled statistics as a prior, in the unit of the case weights."""

    def of(leaf, stats):
        # None where no row has the field: a share of nothing is no number.
        seen = lambda a: jnp.where(jnp.expand_dims(there, range(there.ndim, a.ndim)), a, 0)
        there = stats.count > 0
        return jax.tree.map(seen, leaf.floor(stats, share))

    floors = list(map(of, leaves, pooled))
    if weights is None:
        return Prior(floors, origins)
    # Scatter that the weights' unit does not move, beside statistics that it does.
    unit = jnp.sum(weights) / jnp.maximum(jnp.sum(weights > 0), 1).astype(weights.dtype)
    return Prior(jax.tree.map(lambda a: a * unit.astype(a.dtype), floors), origins, floors=floors)


def about_own_origins(leaves: list[Refittable], prior: Prior, at_mean: bool = True) -> list[Any]:
    """The prior's pseudo-statistics about each leaf's own origin, events `at_mean` among them."""

    def of(leaf, stats, old, many):
        about = leaf.recentre(_in_dtype_of(leaf, stats), old, leaf.origin)
        return about if many is None else about._replace(count=about.count + many)

    still = prior.at_mean if at_mean and prior.at_mean else [None] * len(leaves)
    return list(map(of, leaves, prior.stats, prior.origins, still))


def _in_dtype_of(leaf: Refittable, stats: Any) -> Any:
    kind = float_of(leaf)
    return jax.tree.map(lambda s: s.astype(kind), stats)


def floors_of(prior: Prior) -> list[Any]:
    """The part of a prior that keeps densities off their boundary."""
    return prior.stats if prior.floors is None else prior.floors


def log_prior(model: PyTree, prior: Prior | None) -> Array:
    """Log-density of the prior at a model's parameters, up to a constant, in nats."""
    if prior is None:
        return jnp.zeros(())
    leaves = take_apart(model).leaves

    def of(leaf, about, stats, origin):
        if leaf.ascends:
            return expected_under(leaf, about)
        # An expansion of a log-likelihood is worth 0 at its own point: it is held against its old.
        return expected_under(leaf, _in_dtype_of(leaf, stats), origin)

    about = about_own_origins(leaves, prior)
    terms = list(map(of, leaves, about, prior.stats, prior.origins))
    return sum(terms[1:], terms[0]) if terms else jnp.zeros(())


def expected_under(leaf: Refittable, stats: Any, origin: Any = None) -> Array:
    return jnp.sum(leaf.expected_log_prob(stats, origin))


def check_prior(prior: Any, leaves: list[Refittable]) -> None:
    """Refuse what is no prior of a model with these leaves."""
    if prior is None:
        return
    shapes = lambda stats: jax.tree.map(lambda a: getattr(a, "shape", ()), stats)
    wanted = [shapes(jax.eval_shape(leaf.zero_stats)) for leaf in leaves]
    if isinstance(prior, Prior) and shapes(prior.stats) == wanted:
        return
    raise ValueError(
        f"The prior, a {type(prior).__name__}, is none of this model's: give what "
        "jm.em.conjugate_prior(template, data, rules) gives of the same template."
    )


def folded(prior: Prior | None, model: PyTree, data: PyTree) -> tuple[Fold, Prior | None]:
    """How like columns of a record are stacked, and a prior of the stacked record.

    As they are where like ones have unlike priors: pseudo-events at the mean of some, say.
    """
    fold, parts = fold_of(model, data), take_apart(model)
    check_prior(prior, parts.leaves)
    if not fold.groups or prior is None:
        return fold, prior
    none = [None] * len(prior.stats)
    each = (prior.stats, prior.origins, prior.at_mean or none, prior.floors or none)
    try:
        columns = fold.model(model, parts.model(list(zip(*each, strict=True)), parts.loose))
    except ValueError:  # of trees that don't match
        return Fold(), prior
    nodes, structure = jax.tree.flatten(fold.model(model), is_leaf=is_part)
    places = zip(nodes, structure.flatten_up_to(columns), strict=True)
    found = [place for node, place in places if isinstance(node, Refittable)]
    stats, origins, at_mean, floors = map(list, zip(*found, strict=True))
    return fold, Prior(stats, origins, at_mean, floors if prior.floors else prior.floors)
