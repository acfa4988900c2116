"""Totals of blocks of draws joined to those of all of them: over blocks, files or devices.

Means and centred squares join as Chan, Golub and LeVeque (1983) do, associatively up to rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arguments import made_by, takes
from .._trees import spread
from .totals import Totals

_MADE = made_by(Totals, "jm.importance.block_totals")


@takes(a=_MADE, b=_MADE)
def merge(a: Totals, b: Totals) -> Totals:
    """Totals of the draws of both, which must be of the same proposals, targets and weights."""
    sizes = [f"{t.counts.shape[0]} proposals and {t.shift.shape} terms" for t in (a, b)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            "merge takes totals of the same proposals, targets and values of f; these are of "
            f"{sizes[0]} (targets, values), and of {sizes[1]}."
        )
    unreached = a.unreached if b.unreached is None else b.unreached
    both = jax.tree.map(lambda *x: jnp.stack(x), *(t._replace(unreached=None) for t in (a, b)))
    return _joined(both, lambda x: jnp.moveaxis(x, 0, 1))._replace(unreached=unreached)


def gathered(blocks: Totals, size: int) -> Totals:
    """Totals of all draws of `size` proposals, from those of blocks (b, ...) in their order.

    A block holds all draws of some proposals, or some draws of one; all blocks are alike.
    """
    return _joined(blocks, lambda x: x.reshape(size, -1, *x.shape[2:]))


def _joined(blocks: Totals, parts_of: Any) -> Totals:
    """Totals of blocks (b, ...), whose fields by proposal `parts_of` turns to (k, parts, ...)."""
    # All that is of targets alone is small: common scales, and each block's over them.
    inside = jnp.any(blocks.mass > 0, -2)
    shift, over = _common(blocks.shift, blocks.shift > -jnp.inf)
    mass_shift, mass_over = _common(blocks.mass_shift, inside)
    terms, masses = over[:, None], mass_over[:, None, :]
    scaled = blocks._replace(
        shift=None, mass_shift=None, hits=None,
        mean=blocks.mean * terms, square=blocks.square * terms**2, size=blocks.size * terms,
        largest=blocks.largest * terms, mass=blocks.mass * masses,
        mass_square=blocks.mass_square * masses**2,
        cross=blocks.cross * terms * masses[..., None],
    )  # fmt: skip
    t: Any = jax.tree.map(parts_of, scaled)
    add = lambda a: jnp.sum(a, 1)
    total = add(t.counts)
    share = t.counts / jnp.maximum(total, jnp.ones_like(total))[:, None]

    def pooled(means):  # and each part's distance from the pooled mean
        mean = add(spread(share, means.ndim) * means)
        return mean, means - mean[:, None]

    about = lambda inner, one, other: add(inner + spread(t.counts, inner.ndim) * one * other)
    mean, off = pooled(t.mean)
    mass, mass_off = pooled(t.mass)
    return t._replace(
        counts=total,
        shift=shift,
        mean=mean,
        square=about(t.square, off, off),
        size=pooled(t.size)[0],
        largest=jnp.max(t.largest, 1),
        hits=jnp.sum(blocks.hits, 0),
        mass_shift=jnp.where(mass_shift > -jnp.inf, mass_shift, 0),
        mass=mass,
        mass_square=about(t.mass_square, mass_off, mass_off),
        cross=about(t.cross, off, mass_off[..., None]),
    )


def _common(shift: Array, known: Array) -> tuple[Array, Array]:
    """The largest scale of the blocks, -inf of none, and each over it: 0 without terms."""
    top = jnp.max(jnp.where(known, shift, -jnp.inf), 0)
    safe = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    over = jnp.exp(jnp.where(known, shift - safe[None], jnp.zeros_like(shift)))
    return top, jnp.where(known, over, jnp.zeros_like(over))
