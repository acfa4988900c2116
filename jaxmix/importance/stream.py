"""Estimates over blocks of draws, in memory that does not grow with their number."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .._arguments import function, made_by, numbers, optional, takes, whole
from .._density import is_normalised
from .._refuse import checked_key
from .._steps import without_slopes
from .._trees import is_traced, one_row
from .blocks import divisor
from .checks import checked_efficiencies, checked_weights
from .draws import Draws, checked_draws, draw
from .family import family_size, is_single, parts_of
from .joining import merge
from .result import HELD, Estimate, make_estimate, of_held
from .sweep import Sample, as_sample, looked_at, of_one_dtype, sweep
from .totals import Totals, summarise
from .upper import hit_limits

OF_SPREAD = ("square", "size", "largest", "mass_square", "cross")


def block_totals(
    f: Callable | PyTree, targets: PyTree, draws: Draws, *, weights: Array | None = None
) -> Totals:
    """Additive totals of one block of draws: merge them over blocks, files or devices.

    Every block must share its draws over the proposals in the same proportions.

    Args:
        f: as in `imp_est`.
        targets: as in `imp_est`.
        draws: the block's.
        weights: as in `imp_est`, the same for every block.

    Example:
        >>> import jax, jaxmix as jm
        >>> imp, target = jm.importance, jm.Normal(0, 1)
        >>> def block(key):
        ...     return imp.block_totals(lambda x: x > 1, target, imp.draw(key, target, 1000))
        >>> a, b = [block(key) for key in jax.random.split(jax.random.key(0))]
        >>> imp.estimate_totals(imp.merge(a, b)).num_draws
        2000
    """
    draws, given = jax.lax.stop_gradient(checked_draws(draws)), draws
    look, values = looked_at(f, targets, draws)
    sample, _, w = as_sample(look, draws.events, values, draws.strata, weights)
    sums = _totals(sample, w)
    spread = {name: getattr(sums, name) for name in OF_SPREAD}
    unreached = None if draws.reached else ()
    return sums._replace(unreached=unreached, **without_slopes(spread, given.proposals, HELD))


@eqx.filter_jit
def _totals(sample: Sample, weights: Array | None) -> Totals:
    sample, weights = of_one_dtype(sample, weights)
    pooled = sample.strata.shares(sample.values.dtype)[None, :]
    return sweep(sample, pooled if weights is None else weights)[0]


@takes(
    sums=made_by(Totals, "jm.importance.block_totals"),
    weights=optional(numbers(2, floating=True)),
)
def estimate_totals(
    sums: Totals,
    *,
    weights: Float[Array, "j k"] | None = None,
    self_normalised: bool = False,
    r_eff: float | Float[Array, " k"] = 1.0,
    like: PyTree | None = None,
    single: bool = False,
) -> Estimate:
    """The estimate of merged totals; its Pareto k is NaN, which only all terms at once give.

    Args:
        sums: from `block_totals` and `merge`.
        weights: the same as there.
        self_normalised: as in `imp_est`.
        r_eff: as in `imp_est`.
        like: one value of f (its shape and dtype matter); None for a truth value or a number.
        single: whether to drop the axis of targets.

    Example:
        >>> import jax, jaxmix as jm
        >>> imp, target = jm.importance, jm.Normal(0, 1)
        >>> draws = imp.draw(jax.random.key(0), target, 1000)
        >>> sums = imp.block_totals(lambda x: x > 1, target, draws)
        >>> imp.estimate_totals(sums).value.shape
        (1,)
    """
    like = jax.tree.map(np.asarray, np.empty((), bool) if like is None else like)
    num, size = sum(leaf.size for leaf in jax.tree.leaves(like)), sums.shift.shape[1]
    if num != size:
        raise ValueError(f"like is one value of f: the totals are of {size} numbers, not of {num}.")
    w = (sums.counts / jnp.sum(sums.counts))[None, :]
    if weights is not None:
        w = checked_weights(weights, (sums.shift.shape[0], sums.counts.shape[0]))
    effect = checked_efficiencies(r_eff, w.shape[1], w.dtype)
    summary = summarise(sums, w, self_normalised=self_normalised, r_eff=effect)
    truths = np.concatenate(
        [np.full(leaf.size, leaf.dtype == bool) for leaf in jax.tree.leaves(like)]
    )
    unknown = jnp.full(sums.mass_shift.shape, jnp.inf, w.dtype)
    upper = hit_limits(sums.counts, w, summary, sums.mass_shift, truths, unknown, effect)
    k = jnp.full_like(summary.value, jnp.nan)
    n = 0 if is_traced(sums.counts) else int(np.sum(np.asarray(sums.counts)))
    reached = sums.unreached is None
    return make_estimate(summary, upper, k, None, like, single, n, reached=reached)


@takes(
    f=function, num_draws=whole(1), block=optional(whole(1)),
    weights=optional(numbers(2, floating=True)),
)  # fmt: skip
def stream(
    key: Key[Array, ""],
    f: Callable,
    targets: PyTree,
    proposals: PyTree,
    num_draws: int,
    *,
    block: int | None = None,
    weights: Float[Array, "j k"] | None = None,
    self_normalised: bool = False,
) -> Estimate:
    """`imp_est` over draws that are made, used and forgotten block by block.

    Memory is that of one block and of the totals (proposals x targets), for gradients too.

    Args:
        key: a typed random key.
        f: as in `imp_est`.
        targets: as in `imp_est`.
        proposals: as in `draw`.
        num_draws: from EACH proposal, a multiple of `block`.
        block: draws of each proposal in a block; None for about 4096 rows in all.
        weights: as in `imp_est`.
        self_normalised: as in `imp_est`.

    Raises:
        ValueError: if `block` does not divide `num_draws`.

    Example:
        >>> import jax, jaxmix as jm
        >>> target, proposal = jm.Normal(0, 1), jm.Normal(2, 1)
        >>> estimate = jm.importance.stream(
        ...     jax.random.key(0), lambda x: x > 2, target, proposal, 4000, block=500
        ... )
        >>> bool(abs(estimate.value - 0.02275) < 4 * estimate.std_error)
        True
    """
    key = checked_key(key, "stream")
    size, parts = family_size(proposals), parts_of(targets, "targets")
    block = divisor(num_draws, 4096 // size) if block is None else block
    if num_draws % block:
        raise ValueError(f"A block of {block} does not divide {num_draws} draws of each proposal.")
    proposals, given = jax.lax.stop_gradient(proposals), proposals
    single = is_single(targets)
    sums = _stream(key, f, targets, proposals, weights, block, num_draws // block)
    events = jax.eval_shape(lambda: draw(key, proposals, 1).events)
    like = jax.eval_shape(f, one_row(events))
    like = jax.tree.map(lambda s: np.empty(s.shape[1:], s.dtype), like)
    out = estimate_totals(
        sums, weights=weights, self_normalised=self_normalised, like=like, single=single
    )
    out = dataclasses.replace(
        out,
        num_draws=num_draws * size,
        normalised=tuple(is_normalised(p.density) for p in parts for _ in range(p.size)),
    )
    return of_held(out, given)


@eqx.filter_jit
def _stream(key, f, targets, proposals, weights, block, num_blocks) -> Totals:
    def one(key):
        return block_totals(f, targets, draw(key, proposals, block), weights=weights)

    # Recomputed in the backward pass: no block's table outlives it.
    one = jax.checkpoint(one)
    k_first, k_rest = jax.random.split(key)
    rest = jax.random.split(k_rest, num_blocks - 1)
    sums, _ = jax.lax.scan(lambda sums, k: (merge(sums, one(k)), None), one(k_first), rest)
    return sums
