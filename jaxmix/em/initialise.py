"""Starts that do not weaken with the number of data: seeds are single rows or k-means++ centres."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from .expected import num_rows, take_apart
from .maximise import blank_stats, pooled_stats, refit

SEED_ROWS = 2048
ROWS_A_COMPONENT = 3
NOISE = 3.0


def is_vector_event(data: PyTree) -> bool:
    """Whether an event is one floating vector or number."""
    leaves = jax.tree.leaves(data)
    return (
        len(leaves) == 1
        and leaves[0].ndim in (1, 2)
        and jnp.issubdtype(leaves[0].dtype, jnp.inexact)
    )


def init(
    key: Key[Array, ""],
    template: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    plus_plus: bool | Array = True,
) -> PyTree:
    """A start for EM: the template refitted to a few random rows a component.

    The components of a mixture over vectors start from k-means++ centres (Arthur and
    Vassilvitskii 2007) and a few Lloyd steps on a bounded sample, or, with
    `plus_plus=False` and for every other event, from three random rows each; latent variables
    inside are drawn at random. One pseudo-row of the global fit smooths every leaf.

    Args:
        key: a typed key.
        template: a model whose structure matters; its values are placeholders.
        data: events, stacked along a leading axis.
        weights: case weights (rows,); rows are drawn in proportion.
        plus_plus: whether vectors are seeded by k-means++.

    Returns:
        A model of the template's structure.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> template = jm.mixture_of(jm.Normal.template(), 2)
        >>> start = jm.em.init(jax.random.key(0), template, jnp.array([0.0, 0.1, 5.0, 5.1]))
        >>> jnp.sort(start.components.mean).shape
        (2,)
    """
    k_rows, k_noise, k_seed = jax.random.split(key, 3)
    parts = take_apart(template)
    rows = num_rows(data)
    is_mixture = callable(getattr(template, "joint_log_probs", None))
    wanted = min(rows, SEED_ROWS)
    if weights is None:
        index = (
            jax.random.permutation(k_rows, rows)
            if rows == wanted
            else jax.random.randint(k_rows, (wanted,), 0, rows)
        )
    else:
        index = jax.random.choice(k_rows, rows, (wanted,), p=weights / jnp.sum(weights))
    sample = jax.tree.map(lambda a: a[index], data)
    seeds = [
        jax.random.key_data(jax.random.split(k, leaf.stack_shape))
        for k, leaf in zip(
            jax.random.split(k_noise, max(1, len(parts.leaves))), parts.leaves, strict=False
        )
    ]
    pooled, origins = pooled_stats(template, sample)
    if is_mixture:
        share = _responsibilities(k_seed, template, sample, plus_plus)
    else:
        used = jnp.arange(wanted) < 32
        share = used.astype(_float_of(parts.leaves))
    stats = blank_stats(template, sample, seeds, NOISE, origins=origins, weights=share)
    started = []
    for leaf, s, pool, origin in zip(parts.leaves, stats, pooled, origins, strict=True):
        one = jax.tree.map(lambda a, n=pool.count: a / _expand(n, a), pool)
        placed = leaf if origin is None else _about(leaf, one, origin)
        total = jax.tree.map(lambda a, b: a + b.astype(a.dtype), s, one)
        total = total if origin is None else leaf.recentre(total, origin, placed.origin)
        started.append(refit(placed, total, None, jnp.zeros((), total.count.dtype))[0])
    model = parts.model(started, parts.loose)
    return model


def _about(leaf, one, origin):
    """The leaf moved to the data, so that statistics about its origin keep their digits."""
    return refit(
        leaf, leaf.recentre(one, origin, leaf.origin), None, jnp.zeros((), one.count.dtype)
    )[0]


def _expand(count, like):
    return count.reshape(count.shape + (1,) * (like.ndim - count.ndim))


def _float_of(leaves):
    return jnp.result_type(*(leaf.zero_stats().count.dtype for leaf in leaves))


def _responsibilities(key, template, sample, plus_plus):
    size = jax.eval_shape(template.joint_log_probs, jax.tree.map(lambda a: a[0], sample)).shape[0]
    wanted = num_rows(sample)
    dtype = _float_of(take_apart(template).leaves)
    # Rows are in random order already: component k takes rows 3k, 3k + 1, 3k + 2, modulo N.
    each = jnp.arange(size * ROWS_A_COMPONENT)
    alone = jnp.zeros((wanted, size), dtype).at[each % wanted, each // ROWS_A_COMPONENT].set(1)
    if not is_vector_event(sample) or size == 1:
        return alone
    labels = _k_means(key, jnp.atleast_2d(jax.tree.leaves(sample)[0].T).T, size)
    spread = (labels[:, None] == jnp.arange(size)[None]).astype(dtype)
    return jnp.where(plus_plus, spread, alone)


def _k_means(key, x, size):
    """k-means++ seeding and three Lloyd steps on coordinates in units of their spread."""
    missing = jnp.isnan(x)
    count = jnp.sum(~missing, 0, keepdims=True).astype(x.dtype)
    mean = jnp.sum(jnp.where(missing, jnp.zeros_like(x), x), 0, keepdims=True) / count
    r = jnp.where(missing, jnp.zeros_like(x), x - mean)
    scale = jnp.sqrt(jnp.sum(r * r, 0, keepdims=True) / count)
    r = r / jnp.where(scale > 0, scale, jnp.ones_like(scale))
    k_first, k_rest = jax.random.split(key)
    first = jax.random.randint(k_first, (), 0, r.shape[0])

    def distance(centre):
        return jnp.sum((r - centre[None]) ** 2, -1)

    def seed(carry, noise):
        (nearest,) = carry
        # All rows at a centre already: any row will do.
        odds = jnp.where(jnp.any(nearest > 0), jnp.log(nearest), jnp.zeros_like(nearest))
        chosen = r[jnp.argmax(odds + noise)]  # a draw in proportion to the odds
        return (jnp.minimum(nearest, distance(chosen)),), chosen

    if size > 1:
        start = distance(r[first])
        noise = jax.random.gumbel(k_rest, (size - 1, r.shape[0]), r.dtype)
        _, others = jax.lax.scan(seed, (start,), noise)
        centres = jnp.concatenate([r[first][None], others])
    else:
        centres = r[first][None]

    def assign(centres):
        return jnp.argmin(jnp.sum(centres**2, -1)[None] - 2 * jnp.dot(r, centres.T), -1)

    def lloyd(_, centres):
        hot = (assign(centres)[:, None] == jnp.arange(size)[None]).astype(r.dtype)
        counts = jnp.sum(hot, 0)[:, None]
        means = jnp.dot(hot.T, r) / jnp.where(counts > 0, counts, jnp.ones_like(counts))
        return jnp.where(counts > 0, means, centres)

    return assign(jax.lax.fori_loop(0, 3, lloyd, centres))
