"""Starts that do not weaken with the number of data: seeds are single rows or k-means++ centres."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ... import _loops
from ..._compile import Quick
from ..._hooks import Labelled
from ..._numerics import or_one
from ..._refuse import checked_key
from ..._sharding import on_automatic_axes
from ..._stack import of_arrays
from ..._trees import float_of, num_rows, one_row, spread, take
from ...combinators._columns import ColumnsEvent
from ...regression.centred import centred
from ..chunks import in_blocks, lanes_of
from ..entry import enter
from ..expected import expect
from ..m_step import climb, finite, gradient_state, keep_densities, maximise, refit
from ..parts import recentred, take_apart
from ..priors.prior import blank_stats, pooled_origin

SEED_ROWS = 2048
ROWS_A_COMPONENT = 3
ROWS_ALONE = 32  # from which a model starts that is no mixture
NOISE = 3.0
PSEUDO_ROWS = 0.1  # of the global fit: 1 blurs a start so that few reach the best optimum
PSEUDO_VECTORS = 1.0  # three rows leave most directions of a vector without scatter
NUDGE = 0.1
CLIMBS = 20

_dot = functools.partial(jnp.dot, precision="highest")


def is_vector_event(data: PyTree) -> bool:
    """Whether an event is one floating vector or number, and no record's stacked columns."""
    leaves = jax.tree.leaves(data)
    return (
        len(leaves) == 1
        and not isinstance(data, ColumnsEvent)
        and leaves[0].ndim in (1, 2)
        and jnp.issubdtype(leaves[0].dtype, jnp.inexact)
    )


@on_automatic_axes
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
    inside are drawn at random. A pseudo-row of the global fit (a tenth of one for records)
    smooths every leaf. Arrays without statistics climb to the same rows from a random nudge.

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
    checked_key(key, "init")
    data, weights = enter(template, data, weights, name="template")
    plus_plus = plus_plus if isinstance(plus_plus, jax.Array) else jax.device_put(plus_plus)
    return _init_blocks(key, of_arrays(template), data, weights, plus_plus)


@Quick
def _init_blocks(key, template, data, weights, plus_plus):
    most = lanes_of(template, data, SEED_ROWS)
    return in_blocks(_init, most)(key, template, data, weights, plus_plus)


def _init(key, template, data, weights, plus_plus) -> PyTree:
    template, data, centre = centred(template, data, weights)
    k_rows, k_noise, k_seed, k_loose = jax.random.split(key, 4)
    rows = num_rows(data)
    static = isinstance(rows, int)  # and no symbol, of a program for any number of rows
    wanted = min(rows, SEED_ROWS) if static else SEED_ROWS
    if weights is None:
        index = (
            jax.random.permutation(k_rows, rows)
            if rows == wanted
            else jax.random.randint(k_rows, (wanted,), 0, rows)
        )
    else:
        odds = weights / jnp.sum(weights)
        index = jax.random.choice(k_rows, rows, (wanted,), replace=not static, p=odds)
        # Rows of weight 0 come last, where too few others are left: the first one stands in.
        index = jnp.where(weights[index] > 0, index, index[0])
    sample = take(data, index)
    if components(template, sample) is not None:
        share = _responsibilities(k_seed, template, sample, plus_plus)
    else:
        used = jnp.arange(wanted) < ROWS_ALONE
        share = used.astype(float_of(template))
    parts = take_apart(template)
    seeds = [
        jax.random.key_data(jax.random.split(k, leaf.stack_shape))
        for k, leaf in zip(_keys(k_noise, parts.leaves), parts.leaves, strict=True)
    ]
    noise = [
        NUDGE * jax.random.normal(k, a.shape, a.dtype)
        for k, a in zip(_keys(k_loose, parts.loose), parts.loose, strict=True)
    ]
    start = Start(share, seeds=seeds, noise=noise)
    return centre.back(refitted(*global_fit(template, sample), sample, None, start))


def _keys(key, of: list) -> list:
    return list(jax.random.split(key, len(of))) if of else []


def components(template: PyTree, data: PyTree) -> int | None:
    """How many components a mixture has; None for any other model."""
    if not isinstance(template, Labelled):
        return None
    under = lambda model, row: model.joint_log_probs(row)
    # Under the filter: the `log_prob` of some families takes no constants.
    return eqx.filter_eval_shape(under, template, one_row(data)).shape[0]


class Start(NamedTuple):
    """What a start is made of; of several, each with a leading axis of them.

    - `share` (n, k), or (n,) where the model is no mixture: the weight of a row in a component, 0
      where the component does not start from it.
    - `rows` (n,): which rows these are; None for all, as they stand.
    - `alive` (k,): components that are not padding; None where none is.
    - `seeds`: of the latent variables inside components; None where there are none.
    - `noise`: added to each array without statistics.
    """

    share: Any
    rows: Any = None
    alive: Any = None
    seeds: Any = None
    noise: Any = ()


def started(placed: PyTree, pooled: list, data: PyTree, weights: Any, starts: Start) -> PyTree:
    """Models to start from, stacked: the global fit, with its statistics, refitted to some rows."""

    def one(start: Start):
        # Rows that were drawn were drawn by weight.
        few = (data, weights) if start.rows is None else (take(data, start.rows), None)
        return refitted(placed, pooled, *few, start)

    return jax.vmap(one)(starts)


def refitted(placed: PyTree, pooled: list, sample: PyTree, case: Any, start: Start) -> PyTree:
    """The global fit, with its statistics, refitted to a sample; `case` are weights, or None."""
    smooth = PSEUDO_VECTORS if is_vector_event(sample) else PSEUDO_ROWS
    parts, mixing = take_apart(placed), getattr(placed, "mixing", None)
    share, _, alive, seeds, noise = start
    stats = blank_stats(placed, sample, seeds, NOISE, weights=share)
    leaves = []
    for leaf, s, pool in zip(parts.leaves, stats, pooled, strict=True):
        # A field that no row has is 0 everywhere.
        count = or_one(pool.count)
        one = jax.tree.map(lambda a, n=count: a / spread(n, a.ndim), pool)
        if alive is not None and leaf is mixing:
            outcomes = alive.astype(one.outcomes.dtype)
            one = one._replace(outcomes=outcomes / jnp.sum(outcomes))
        total = jax.tree.map(lambda a, b: a + smooth * b.astype(a.dtype), s, one)
        leaves.append(refit(leaf, total)[0])
    loose = parts.loose
    if loose:
        build = lambda loose: parts.model(leaves, loose)
        noisy = [a + n for a, n in zip(loose, noise, strict=True)]
        loose = climbed(build, noisy, sample, share, case)
    return parts.model(leaves, loose)


def global_fit(template: PyTree, sample: PyTree, case: Array | None = None) -> tuple[PyTree, list]:
    """The model with all its components alike and fitted to the sample, and their statistics.

    The first of three passes finds the origins, since raw moments do not survive float32, and
    the later ones the statistics of leaves with latent variables, which depend on parameters.
    """

    def pass_over(i, carry):
        model, _ = carry
        parts = take_apart(model)
        first = lambda bare, leaf: jax.tree.map(lambda a, b: jnp.where(i == 0, a, b), bare, leaf)
        bare = [leaf if leaf.bare is leaf else first(leaf.bare, leaf) for leaf in parts.leaves]
        stats = blank_stats(parts.model(bare, parts.loose), sample, weights=case)
        leaves = []
        for leaf, s, own in zip(parts.leaves, stats, take_apart(template).leaves, strict=True):
            new = refit(leaf, s)[0]
            begun = own.begun(s, leaf.origin)
            if begun is not None:  # again where the first pass has found the origin
                new = keep_densities(finite(begun, (i < 2) & (s.count > 0)), begun, new)
            # About an origin far away no digit of a scale may be left; a pass later all are.
            leaves.append(new.placed_at(pooled_origin(leaf, s, leaf.origin)))
        return parts.model(leaves, parts.loose), recentred(parts.leaves, stats, leaves)

    arrays, rest = eqx.partition(template, eqx.is_array)
    begin = (arrays, [leaf.zero_stats() for leaf in take_apart(template).leaves])

    def body(i, carry):
        model, stats = pass_over(i, (eqx.combine(carry[0], rest), carry[1]))
        return eqx.filter(model, eqx.is_array), stats

    arrays, stats = _loops.fori_loop(0, 3, body, begin)
    return eqx.combine(arrays, rest), stats


def climbed(build, noisy, sample, share, case=None):
    """Loose arrays climbed to the rows given each component, from a start broken by noise."""
    case = jnp.ones_like(share[:, *(0,) * (share.ndim - 1)]) if case is None else case
    even = share + spread(case / jnp.sum(case), share.ndim)

    def value(loose):
        model = build(loose)
        if share.ndim == 2:
            under = jax.vmap(model.joint_log_probs)(sample)
        else:
            under = jax.vmap(model.log_prob)(sample)
        return jnp.sum(jnp.where(even > 0, under, jnp.zeros_like(under)) * even) / jnp.sum(even)

    def body(_, carry):
        loose, state = carry
        return climb(value, jax.grad(value)(loose), loose, state)

    return _loops.fori_loop(0, CLIMBS, body, (noisy, gradient_state(noisy)))[0]


def has_zeros(models: PyTree) -> bool:
    """Whether some model gives probability 0 to a label: concrete arrays only."""
    leaves = [leaf for leaf in take_apart(models).leaves if leaf.zero_is_valid]
    return any(bool(jnp.any(jnp.isinf(a))) for leaf in leaves for a in jax.tree.leaves(leaf))


def everywhere(template: PyTree, data: PyTree, weights: Array | None) -> PyTree:
    """The template refitted to all rows, all its components alike."""
    return maximise(template, expect(template, data, weights), data, weights).model


def supported(models: PyTree, whole: PyTree) -> PyTree:
    """A stack of starts in which no label that some row has is left with probability 0.

    A start made of a sample lacks the labels that the sample lacked, and EM would keep them at 0.
    They take the logits of the fit to all rows.
    """
    stacked, one = take_apart(models), take_apart(whole)

    def kept(many, single):
        return jnp.where(jnp.isinf(many) & jnp.isfinite(single)[None], single[None], many)

    leaves = [
        jax.tree.map(kept, leaf, other) if leaf.zero_is_valid else leaf
        for leaf, other in zip(stacked.leaves, one.leaves, strict=True)
    ]
    return stacked.model(leaves, stacked.loose)


def _responsibilities(key, template, sample, plus_plus):
    size = components(template, sample)
    assert size is not None
    wanted = num_rows(sample)
    dtype = float_of(template)
    # Rows are in random order already: each component takes the next three, or as few as leave
    # every component rows of its own; beyond the last row they begin anew.
    many = min(ROWS_A_COMPONENT, max(1, wanted // size))
    each = jnp.arange(size * many)
    alone = jnp.zeros((wanted, size), dtype).at[each % wanted, each // many].set(1)
    if not is_vector_event(sample) or size == 1:
        return alone
    labels = _k_means(key, jnp.atleast_2d(jax.tree.leaves(sample)[0].T).T, size)
    spread = (labels[:, None] == jnp.arange(size)[None]).astype(dtype)
    return jnp.where(plus_plus, spread, alone)


def _k_means(key, x, size):
    """k-means++ seeding and three Lloyd steps on coordinates in units of their spread."""
    r = x - jnp.nanmean(x, 0, keepdims=True)
    r = r / or_one(jnp.sqrt(jnp.nanmean(r * r, 0, keepdims=True)))
    r = jnp.where(jnp.isnan(r), jnp.zeros_like(r), r)
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

    noise = jax.random.gumbel(k_rest, (size - 1, r.shape[0]), r.dtype)
    _, others = _loops.scan(seed, (distance(r[first]),), noise)
    centres = jnp.concatenate([r[first][None], others])

    def assign(centres):
        return jnp.argmin(jnp.sum(centres**2, -1)[None] - 2 * _dot(r, centres.T), -1)

    def lloyd(_, centres):
        hot = (assign(centres)[:, None] == jnp.arange(size)[None]).astype(r.dtype)
        counts = jnp.sum(hot, 0)[:, None]
        return jnp.where(counts > 0, _dot(hot.T, r) / or_one(counts), centres)

    return assign(_loops.fori_loop(0, 3, lloyd, centres))
