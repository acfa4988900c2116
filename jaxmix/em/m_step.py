"""The M-step: each leaf from its own statistics, loose arrays by a guarded gradient step."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .. import _loops
from .._exponential import ExponentialFamily
from .._numerics import tree_vdot
from .._refittable import Refittable
from .._sharding import on_automatic_axes
from .._stack import of_arrays, stack_axes
from .expected import Expected, log_likelihood
from .parts import is_part, take_apart
from .priors.prior import Prior, about_own_origins, expected_under


class GradientState(NamedTuple):
    """What the step of loose arrays carries: a quasi-Newton memory and a step length."""

    memory: Any
    length: Array


def gradient_state(loose: list[Array]) -> GradientState | None:
    """A fresh state for the step of some arrays; None where there are none."""
    if not loose:
        return None
    return GradientState(_rule().init(loose), jnp.ones((), loose[0].dtype))


def _rule() -> Any:
    import optax  # when it is used: it takes a tenth of a second

    return optax.scale_by_lbfgs()


def climb(value, gradient, loose, state: Any) -> tuple[list[Array], GradientState]:
    """A quasi-Newton step up a value of some arrays, halved until it does not fall."""
    downhill = jax.tree.map(jnp.negative, gradient)
    direction, memory = _rule().update(downhill, state.memory, loose)
    # Optax's rules give what is to be subtracted; where curvature misleads, the gradient serves.
    misled = ~(tree_vdot(direction, gradient) < 0)
    scale = jnp.sqrt(tree_vdot(gradient, gradient))
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    direction = jax.tree.map(lambda d, g: jnp.where(misled, g / scale, -d), direction, gradient)
    start, moved = value(loose), lambda s: jax.tree.map(lambda p, d: p + s * d, loose, direction)

    def worse(carry):
        _, level, tries = carry
        return ~(level >= start) & (tries < 30)

    def halve(carry):
        length, _, tries = carry
        return length / 2, value(moved(length / 2)), tries + 1

    length, level, _ = _loops.while_loop(
        worse, halve, (state.length, value(moved(state.length)), jnp.zeros((), int))
    )
    better = level >= start
    loose = jax.tree.map(lambda new, old: jnp.where(better, new, old), moved(length), loose)
    longest = jnp.ones_like(length)
    length = jnp.where(better, jnp.minimum(2 * length, longest), longest)
    return loose, GradientState(memory, length)


class Maximised(NamedTuple):
    """What the M-step did."""

    model: PyTree
    state: GradientState | None
    gain: Array  # of the expected complete-data log-density, under the old statistics
    num_emptied: Array  # densities that kept their parameters for want of data
    num_collapsed: Array  # densities without a finite estimate


def keep(use: Array, new: Array, old: Array) -> Array:
    """The new statistics for the densities of a stack to use, the old ones for the others."""
    return jnp.where(jnp.expand_dims(use, range(use.ndim, new.ndim)), new, old)


def keep_densities(use: Array, new: PyTree, old: PyTree, axes: PyTree = None) -> PyTree:
    """The new parameters for the densities of a stack to use; what these share, for any of them."""

    def choose(own, n, o):
        if not eqx.is_array(n):
            return n
        return keep(jnp.any(use, axis=tuple(range(own, use.ndim))), n, o)

    return jax.tree.map(choose, stack_axes(old) if axes is None else axes, new, old)


def finite(leaf: Refittable, use: Array, axes: PyTree = None) -> Array:
    """Densities of a stack without NaN, or infinite parameters where these mean nothing."""
    owned = jax.tree.leaves(stack_axes(leaf) if axes is None else axes)
    for own, array in zip(owned, jax.tree.leaves(leaf), strict=True):
        if not eqx.is_inexact_array(array):
            continue
        fine = ~jnp.isnan(array) if leaf.zero_is_valid else jnp.isfinite(array)
        fine = jnp.all(fine, axis=tuple(range(own, array.ndim)))
        use = use & jnp.expand_dims(fine, range(fine.ndim, use.ndim))
    return use


def sound(leaf: Refittable, total: Any, weight: Array) -> Array:
    """Densities of a stack that have data to be refitted to, and a finite estimate from them."""
    return finite(leaf.from_stats(total), _alive(total, weight))


def _alive(total: Any, weight: Any) -> Array:
    # Less than a rounding error of the whole: nothing to fit to.
    return total.count > jnp.finfo(total.count.dtype).eps * weight


def refit(
    leaf: Refittable, stats: Any, weight: Any = 0.0, pseudo: Any = None, at_mean: Any = None
) -> tuple[Any, Array, Array]:
    """One leaf (or a stack of them) from its statistics, and how many were emptied or collapsed.

    Both keep their parameters: the emptied have no data beside the `weight` of all, the collapsed
    no finite estimate. `at_mean` counts pseudo-events that sit at the new mean.
    """
    total = stats if pseudo is None else jax.tree.map(jnp.add, stats, pseudo)
    new = leaf.from_stats(total)
    if at_mean is not None:
        origin = leaf.origin
        still = jax.tree.map(jnp.zeros_like, total)._replace(count=at_mean)
        more = leaf.recentre(still, new.origin, origin)
        new = leaf.from_stats(jax.tree.map(jnp.add, total, more), origin)
    alive, axes = _alive(total, weight), stack_axes(leaf)
    use = finite(new, alive, axes)
    return keep_densities(use, new, leaf, axes), jnp.sum(~alive), jnp.sum(alive & ~use)


def refit_all(
    leaves: list[Refittable], stats: list[Any], weight: Array, prior: Prior | None
) -> tuple[list[Any], Array, Array, Array]:
    """Every leaf refitted, what the step gains, and how many densities were emptied, collapsed."""
    none = [None] * len(leaves)
    pseudo = none if prior is None else about_own_origins(leaves, prior, at_mean=False)
    still = none if prior is None or prior.at_mean is None else prior.at_mean
    new_leaves, gains = [], []
    emptied = collapsed = jnp.zeros((), int)
    for leaf, own, extra, many in zip(leaves, stats, pseudo, still, strict=True):
        many = None if many is None else many.astype(own.count.dtype)
        new, empty, collapse = refit(leaf, own, weight, extra, many)
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
        value = lambda loose: log_likelihood(parts.model(new_leaves, loose), data, weights).value
        slope = jax.tree.map(lambda g: g / expected.weight.astype(g.dtype), expected.gradient)
        state = gradient_state(loose) if state is None else state
        loose, state = climb(value, slope, loose, state)
    return Maximised(parts.model(new_leaves, loose), state, gain, emptied, collapsed)


def expected_gain(new: Refittable, old: Refittable, stats: Any) -> Array:
    """Q(new) - Q(old) under the old statistics: parameters are subtracted before the product."""
    origin = old.origin
    if not (isinstance(new, ExponentialFamily) and isinstance(old, ExponentialFamily)):
        return expected_under(new, stats, origin) - expected_under(old, stats, origin)
    # Of what no datum has, the logarithm may be -inf: 0 log 0 is 0.
    seen = lambda s, n, o: jnp.where(s == 0, jnp.zeros_like(n), n - o)
    change = jax.tree.map(seen, stats, new.natural(origin), old.natural(origin))
    return tree_vdot(change, stats)


class MStep(NamedTuple):
    """What an M-step made of statistics.

    `num_emptied` and `num_collapsed` count the densities that kept their parameters, for want of
    data, or of a finite estimate.
    """

    model: PyTree
    num_emptied: Array
    num_collapsed: Array


@on_automatic_axes
def m_step(model: PyTree, stats: PyTree, *, prior: Prior | None = None) -> MStep:
    """The model that maximises the expected complete-data log-likelihood for statistics: pure.

    argmax over theta of sum over the densities of <natural(theta), stats> + log prior, as in a step
    of EM; so `em.m_step(model, em.expected_stats(model, data)[1]).model` is that of `em.step`. The
    statistics may be sums or averages over anything: batches, devices, past steps (stepwise EM,
    Cappé and Moulines 2009, arXiv 0712.4273).

    Args:
        model: the density whose origins the statistics are about: that they were taken under, or
            to which `em.recentre` has brought them. What has no data keeps its parameters.
        stats: a tree as `em.expected_stats` gives it, in sums of whatever number of events.
        prior: pseudo-statistics, in the same units: those of one event for averages.

    Returns:
        The model, and how many densities kept their parameters. Frozen parts and arrays without
        statistics (whose entry is their gradient) are left as they are.

    Raises:
        ValueError: for statistics that are not of this model.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> def stepwise(carry, batch):
        ...     model, stats, t = carry
        ...     _, new = jm.em.expected_stats(model, batch)
        ...     share = (t + 2) ** -0.6
        ...     stats = jax.tree.map(lambda s, n: (1 - share) * s + share * n, stats, new)
        ...     after = jm.em.m_step(model, stats).model
        ...     return (after, jm.em.recentre(stats, model, after), t + 1), None
        >>> x = 3 + 2 * jax.random.normal(jax.random.key(0), (200, 50))
        >>> start = jm.Normal(0.0, 1.0)
        >>> first = (start, jm.em.expected_stats(start, x[0])[1], jnp.array(0.0))
        >>> (model, *_), _ = jax.lax.scan(stepwise, first, x)
        >>> model.mean.round(1), model.scale.round(1)
        (Array(3., dtype=float32), Array(2., dtype=float32))
    """
    nodes, given, structure = _matched(of_arrays(model), stats)
    at = [i for i, node in enumerate(nodes) if isinstance(node, Refittable)]
    leaves, sums = [nodes[i] for i in at], [given[i] for i in at]
    # What the whole amounts to, beside which a density is empty: its most frequent part's count.
    totals = [jnp.sum(s.count) for s in sums]
    weight = jnp.max(jnp.stack(totals)) if totals else jnp.zeros(())
    new, _, emptied, collapsed = refit_all(leaves, sums, weight, prior)
    for i, leaf in zip(at, new, strict=True):
        nodes[i] = leaf
    return MStep(structure.unflatten(nodes), emptied, collapsed)


@on_automatic_axes
def recentre(stats: PyTree, old: PyTree, new: PyTree) -> PyTree:
    """Statistics about one model's origins, about those of another.

    Statistics are of residuals from each density's own location, which keeps float32 right; where
    they outlive the model that they were taken under, they are brought to the next.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> old, new = jm.Normal(0.0, 1.0), jm.Normal(1.0, 1.0)
        >>> _, stats = jm.em.expected_stats(old, jnp.array([1.0, 3.0]))
        >>> float(stats.first), float(jm.em.recentre(stats, old, new).first)
        (4.0, 2.0)
    """
    nodes, given, structure = _matched(of_arrays(old), stats)
    if jax.tree.structure(of_arrays(new)) != jax.tree.structure(of_arrays(old)):
        raise ValueError(
            f"new is a model like old, a {type(old).__name__}; it is a {type(new).__name__} or has "
            "other parts."
        )
    after = structure.flatten_up_to(of_arrays(new))
    moved = [
        node.recentre(s, node.origin, other.origin) if isinstance(node, Refittable) else s
        for node, s, other in zip(nodes, given, after, strict=True)
    ]
    return structure.unflatten(moved)


def _matched(model: PyTree, stats: PyTree) -> tuple[list[Any], list[Any], Any]:
    """A model's nodes, what the statistics hold in the place of each, and its structure."""
    nodes, structure = jax.tree.flatten(model, is_leaf=is_part)
    try:
        given = structure.flatten_up_to(stats)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "The statistics have not the structure of the model: give the tree that "
            f"jm.em.expected_stats(model, data) returns beside the log-likelihood. {error}"
        ) from error
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    for node, s in zip(nodes, given, strict=True):
        if isinstance(node, Refittable) and shapes(s) != shapes(zero := node.zero_stats()):
            raise ValueError(
                f"The statistics of a {type(node).__name__} are {type(zero).__name__} of shapes "
                f"{tuple(shapes(zero))}; {type(s).__name__} of shapes "
                f"{tuple(map(jnp.shape, jax.tree.leaves(s)))} were given."
            )
    return nodes, given, structure
