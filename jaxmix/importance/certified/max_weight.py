"""The largest weight p / q of a target over a mixture of proposals, with a proof by duality."""

import numpy as np
from jaxtyping import PyTree

from ..._arguments import made_by, takes
from ..draws import Draws
from .coordinates import Coordinates, check_inside, proposal_rows
from .support import boxes_of, statistics_box

MOST_STEPS = 200
ROUNDING = 1e-9  # of a slope, relative to its terms, that is no slope


def largest_log_weights(
    targets: np.ndarray, proposals: np.ndarray, log_shares: np.ndarray, low, high
) -> np.ndarray:
    """Upper bounds of log sup p_t / q over the rows of statistics between `low` and `high`.

    For shares pi of the proposals, log(p_t / q)(T) <= sum_k pi_k {log(pi_k / a_k) + (t - t_k)'T},
    by Jensen's inequality, and its largest value over the box is known. The least is searched for
    by Newton's method on the convex primal, min over T of log(q / p_t); every pi gives a bound.
    """
    parts = np.array_split(targets, -(-len(targets) // 512))
    return np.concatenate([_bounds(p, proposals, log_shares, low, high) for p in parts])


def _bounds(targets, proposals, log_shares, low, high):
    fixed = low == high  # the numbers of observations
    gaps = proposals[None] - targets[:, None]  # (v, k, c)
    base = log_shares[None] + gaps[:, :, fixed] @ low[fixed]
    slopes, low, high = gaps[:, :, ~fixed], low[~fixed], high[~fixed]
    moving = np.abs(slopes).max((0, 1), initial=0) > 1e-13 * (1 + np.abs(targets[:, ~fixed]).max(0))
    slopes, low, high = slopes[:, :, moving], low[moving], high[moving]
    if not slopes.shape[2]:
        return -_logsumexp(base)[0]
    best = _dual(_minimise(base, slopes, low, high), base, slopes, low, high)
    # A target that is itself a proposal, without a search.
    same = np.abs(slopes).max(2) <= 1e-13 * np.abs(slopes).max()
    alone = np.where(same, -base, np.inf).min(1)
    return np.minimum(best, alone)


def _logsumexp(table):
    peak = table.max(1)
    terms = np.exp(table - peak[:, None])
    total = terms.sum(1)
    return np.log(total) + peak, terms / total[:, None]


def _minimise(base, slopes, low, high):
    """Shares at the least over the box of logsumexp_k(base + slopes'T), a row a target."""
    scale = np.abs(slopes).max((0, 1))
    ended = np.isfinite(low) & np.isfinite(high)
    middle = np.where(ended, 0.5 * (np.where(ended, low, 0) + np.where(ended, high, 0)), 0.0)
    at = np.clip(np.tile(middle, (len(base), 1)), low, high)
    damping = np.full(len(base), 1e-3)
    evaluate = lambda at: _logsumexp(base + np.einsum("vkc,vc->vk", slopes, at))
    value, shares = evaluate(at)
    eye = np.eye(slopes.shape[2])
    for _ in range(MOST_STEPS):
        slope = np.einsum("vk,vkc->vc", shares, slopes)
        stuck = ((at <= low) & (slope > 0)) | ((at >= high) & (slope < 0))
        bend = np.einsum("vk,vkc,vkd->vcd", shares, slopes, slopes, optimize=True)
        bend -= slope[:, :, None] * slope[:, None, :]
        free = np.where(stuck, 0.0, slope)
        rest = np.abs(free / scale).max(1)
        if (rest < 1e-14).all():
            break
        matrix = np.where(stuck[:, :, None] | stuck[:, None, :], 0, bend)
        extra = damping[:, None] * np.diagonal(bend, axis1=1, axis2=2) + 1e-15 * scale**2
        matrix = matrix + (extra + np.where(stuck, scale**2, 0))[:, :, None] * eye
        step = np.clip(
            -np.linalg.solve(matrix, free[:, :, None])[:, :, 0], -1e3 / scale, 1e3 / scale
        )
        new = np.clip(at + step, low, high)
        new_value, new_shares = evaluate(new)
        # Enough of what the slope promised: far out the mixture is flat, and steps are too long.
        promised = np.einsum("vc,vc->v", slope, new - at)
        better = new_value <= value + 0.1 * np.minimum(promised, 0)
        at = np.where(better[:, None], new, at)
        value = np.where(better, new_value, value)
        shares = np.where(better[:, None], new_shares, shares)
        damping = np.where(better, 0.1 * damping, np.minimum(10 * damping + 1e-6, 1e12))
        damping = np.where(damping < 1e-14, 0, damping)
    return shares


def _dual(shares, base, slopes, low, high):
    """The bound that these shares prove, moved so that no slope is left where T has no end."""
    at_low, at_high = np.isfinite(low), np.isfinite(high)
    for _ in range(4):
        slope = np.einsum("vk,vkc->vc", shares, slopes)
        # -slope'T must have an end above: no slope below 0 without an upper end, nor above without
        # a lower one.
        wrong = ((slope < 0) & ~at_high) | ((slope > 0) & ~at_low)
        bend = np.einsum("vk,vkc,vkd->vcd", shares, slopes, slopes, optimize=True)
        ones = np.einsum("vk,vkc->vc", shares, slopes)
        size = slopes.shape[2]
        matrix = np.zeros((len(base), size + 1, size + 1))
        matrix[:, :size, :size], matrix[:, :size, size] = bend, ones
        matrix[:, size, :size], matrix[:, size, size] = ones, 1
        keep = np.concatenate([wrong, np.ones((len(base), 1), bool)], 1)
        matrix = np.where(keep[:, :, None] & keep[:, None, :], matrix, 0)
        wanted = np.concatenate([np.where(wrong, -slope, 0), np.zeros((len(base), 1))], 1)
        move = np.einsum("vcd,vd->vc", np.linalg.pinv(matrix, hermitian=True), wanted)
        factor = 1 + np.einsum("vkc,vc->vk", slopes, move[:, :size]) + move[:, size:]
        shares = shares * np.maximum(factor, 0)
        shares = shares / shares.sum(1, keepdims=True)
    slope = np.einsum("vk,vkc->vc", shares, slopes)
    rounding = ROUNDING * np.einsum("vk,vkc->vc", shares, np.abs(slopes))
    with np.errstate(invalid="ignore"):
        ends = np.where(slope > 0, -slope * low, -slope * high)
    ends = np.where(slope == 0, 0.0, ends)
    ends = np.where((np.abs(slope) <= rounding) & ~np.isfinite(ends), 0.0, ends)
    with np.errstate(divide="ignore"):
        entropy = np.where(shares > 0, shares * (np.log(np.maximum(shares, 1e-300)) - base), 0.0)
    return entropy.sum(1) + ends.sum(1)


@takes("find the largest weights before.", draws=made_by(Draws, "jm.importance.draw"))
def max_weight(targets: PyTree, draws: Draws, *, bound=None) -> np.ndarray:
    """Proved upper bounds of sup_x p(x) / q(x), q the pooled mixture of the draws' proposals.

    log q / p is convex in the sufficient statistics T, and every shares pi of the proposals whose
    natural parameters average to the target's prove, by duality, M <= exp{KL(pi || a) +
    sum_k pi_k KL(p || p_k)}; the least such bound is given, the supremum itself over all T in
    the box that the family's (or the declared) support spans.

    Args:
        targets: a stack of members of one exponential family, or one.
        draws: from `jm.importance.draw`, from members of the family or mixtures of them.
        bound: declared support, a `jm.importance.Box` or a list of them: only x in it count.

    Returns:
        One number a target; inf where no proposal's tail covers the target's.

    Raises:
        ValueError: if targets or proposals are not of one exponential family.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = lambda m: jax.vmap(jm.Normal, (0, None))(m, 1.0)
        >>> draws = jm.importance.draw(
        ...     jax.random.key(0), family(jnp.array([-1.2, 0.2, 2.2])), jnp.array([100, 400, 500])
        ... )
        >>> jm.importance.max_weight(family(jnp.array([-1.0, 0.0])), draws).round(4).tolist()
        [6.1372, 2.1823]
    """
    coordinates = Coordinates.of(targets)
    rows = coordinates.rows(targets)
    check_inside(rows, "Target")
    boxes = boxes_of(bound, draws.events)
    found = log_weights_over(coordinates, rows, *proposal_rows(coordinates, draws), boxes)
    return np.exp(found).reshape(targets.stack_shape)


def log_weights_over(coordinates, rows, proposals, logs, boxes) -> np.ndarray:
    """Logarithms of the largest weights over the union of the boxes."""
    found = [
        largest_log_weights(rows, proposals, logs, *statistics_box(coordinates, box))
        for box in boxes
    ]
    return np.max(found, 0)
