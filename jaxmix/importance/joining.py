"""Totals of blocks of draws joined to those of all of them: over blocks, files or devices.

Means and centred squares join as Chan, Golub and LeVeque (1983) do, associatively up to rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arguments import made_by, takes
from .totals import Totals

_MADE = made_by(Totals, "jm.importance.block_totals")


@takes(a=_MADE, b=_MADE)
def merge(a: Totals, b: Totals) -> Totals:
    """Totals of the draws of both, which must be of the same proposals, targets and weights."""
    unreached = a.unreached if b.unreached is None else b.unreached
    a, b = a._replace(unreached=None), b._replace(unreached=None)
    heads = jax.tree.map(lambda *x: jnp.stack(x), _heads(a), _heads(b))
    shift, scale, mass_shift, mass_scale = _common_scales(*heads)
    scaled = [_scaled(t, scale[i], mass_scale[i]) for i, t in enumerate((a, b))]
    # Pairs of arrays: a stack of two would copy both before they are added.
    pairs = jax.tree.map(lambda *fields: fields, *scaled)
    each = lambda function, *pairs: tuple(map(function, *pairs))
    joined = _joined(pairs, each, lambda op, pair: op(*pair))
    hits = a.hits + b.hits
    return joined._replace(shift=shift, mass_shift=mass_shift, hits=hits, unreached=unreached)


def gathered(blocks: Totals, size: int) -> Totals:
    """Totals of all draws of `size` proposals, from those of blocks (b, ...) in their order.

    A block holds all draws of some proposals, or some draws of one; all blocks are alike.
    """
    shift, scale, mass_shift, mass_scale = _common_scales(*_heads(blocks))
    scaled = jax.vmap(_scaled)(blocks, scale, mass_scale)
    parts = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[2:]), scaled)
    each = lambda function, *parts: jax.vmap(function, 1, 1)(*parts)
    joined = _joined(parts, each, lambda op, parts: op.reduce(parts, 1))
    return joined._replace(shift=shift, mass_shift=mass_shift, hits=jnp.sum(blocks.hits, 0))


def _heads(t: Totals):
    """The scales of terms and masses, and which are known: all that is small."""
    return t.shift, t.shift > -jnp.inf, t.mass_shift, jnp.any(t.mass > 0, -2)


def _common_scales(shift, hit, mass_shift, inside):
    mass_top, mass_over = _common(mass_shift, inside)
    return *_common(shift, hit), jnp.where(mass_top > -jnp.inf, mass_top, 0), mass_over


def _common(shift: Array, known: Array) -> tuple[Array, Array]:
    """The largest scale of the blocks, -inf of none, and each over it: 0 without terms."""
    top = jnp.max(jnp.where(known, shift, -jnp.inf), 0)
    safe = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    over = jnp.exp(jnp.where(known, shift - safe[None], jnp.zeros_like(shift)))
    return top, jnp.where(known, over, jnp.zeros_like(over))


def _scaled(t: Any, scale: Array, mass_scale: Array) -> Any:
    """One block's totals over the common scales, without what has no axis of proposals."""
    terms, mass = scale[None], mass_scale[None, :]
    return t._replace(
        shift=None,
        mass_shift=None,
        hits=None,
        mean=t.mean * terms,
        square=t.square * terms**2,
        size=t.size * terms,
        largest=t.largest * terms,
        mass=t.mass * mass,
        mass_square=t.mass_square * mass**2,
        cross=t.cross * terms * mass[:, :, None],
    )


def _joined(t: Any, each: Callable, fold: Callable) -> Totals:
    """Totals of scaled parts.

    Args:
        t: totals whose fields are the parts.
        each: `each(function, *fields)` gives the function of every part.
        fold: `fold(op, field)` gives the parts added, or the largest.
    """
    add = lambda field: fold(jnp.add, field)
    total = add(t.counts)
    share = each(lambda c: c / jnp.maximum(total, jnp.ones_like(total)), t.counts)

    def pooled(means):  # and each part's distance from the pooled mean
        mean = add(each(lambda m, p: _like(p, m) * m, means, share))
        return mean, each(lambda m: m - mean, means)

    def about(inner, one, other):
        return add(each(lambda i, x, y, c: i + _like(c, i) * x * y, inner, one, other, t.counts))

    mean, off = pooled(t.mean)
    mass, mass_off = pooled(t.mass)
    return t._replace(
        counts=total,
        mean=mean,
        square=about(t.square, off, off),
        size=pooled(t.size)[0],
        largest=fold(jnp.maximum, t.largest),
        mass=mass,
        mass_square=about(t.mass_square, mass_off, mass_off),
        cross=about(t.cross, off, each(lambda m: m[:, :, None], mass_off)),
    )


def _like(by_proposal: Array, values: Array) -> Array:
    """An array (k,) with as many axes as `values`."""
    return by_proposal.reshape(-1, *(1,) * (values.ndim - 1))
