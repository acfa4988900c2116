"""The M-step by itself, from statistics that are values: for a loop of a user's own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._exponential import Refittable
from .._sharding import on_automatic_axes
from .._stack import of_arrays
from .maximise import Prior, refit_all
from .parts import is_part


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
