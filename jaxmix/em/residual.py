"""EM as an equation: a model's parameters as one vector, and what one EM step changes in it."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _loops
from .._trees import num_rows, spread
from ..combinators.frozen import Frozen
from .chunks import BRIEF, chunk_rows, is_brief, width
from .expected import Expected, expect
from .m_step import keep, keep_densities, sound
from .parts import is_part, parameters, take_apart
from .priors.prior import Prior, about_own_origins, floor_stats


class Drift(NamedTuple):
    """What vanishes at a fixed point, and which parameters an emptied density leaves idle."""

    change: Float[Array, " p"]
    idle: Array


class Pass(NamedTuple):
    """What is known, as numbers, of a model over which a pass has been made.

    - `sums`: its weight, statistics and gradient.
    - `used`: for each leaf, its densities that have data to be refitted to.
    - `spare`: harmless statistics, for those that have none.
    - `prior`: under which it was made.
    """

    sums: tuple[Array, list[Any], list[Array]]
    used: list[Array]
    spare: list[Any]
    prior: Prior


def pass_of(model, data, weights, prior, expected: Expected) -> Pass:
    """What a derivative of the residual asks of a pass, found once and not in each derivative."""
    leaves = take_apart(model).leaves
    used = [
        sound(leaf, total, expected.weight)
        for leaf, total in zip(leaves, _totals(leaves, expected.stats, prior), strict=True)
    ]
    spare = _spare(model, used, data, weights, expected.weight)
    return Pass((expected.weight, expected.stats, expected.gradient), used, spare, prior)


def _totals(leaves, stats, prior: Prior) -> list[Any]:
    """Statistics and the prior's own."""
    return jax.tree.map(jnp.add, stats, about_own_origins(leaves, prior))


@eqx.filter_custom_jvp
def _summed(value, model, data, weights, directions):
    """The sums of a pass whose value is at hand: only their derivatives go over the data."""
    del model, data, weights, directions
    return value


@_summed.def_jvp
def _(primals, tangents):
    # `_summed(*primals)` and not the value: else second derivatives would be silently 0.
    _, *given, directions = primals
    is_none = lambda t: t is None
    still = jax.tree.map(is_none, tangents[1:4], is_leaf=is_none)
    model, data, _ = given
    work = num_rows(data) * width(model) * max(16, directions)
    brief = is_brief(model, data) and work <= BRIEF
    # A derivative keeps several times the arrays of a pass, and all directions go through a chunk
    # at once: it holds the fewer rows.
    parts = 1 if brief and directions == 1 else max(8, 2 * directions)
    chunk_size = max(32 if brief else 64, chunk_rows(model, data, None) // parts)
    fixed, varied = eqx.partition(tuple(given), still)
    along = eqx.filter(tangents[1:4], True)

    def again(varied):
        model, data, weights = eqx.combine(varied, fixed)
        found = expect(model, data, weights, chunk_size=chunk_size, cut=True, residual=brief)
        return found.weight, found.stats, found.gradient

    return _summed(*primals), eqx.filter_jvp(again, (varied,), (along,))[1]


def residual(model, data, weights, prior, seen: Pass, directions: int = 1) -> Drift:
    """What vanishes at a fixed point, as a differentiable function of everything it is given.

    For leaves it is the EM map less the identity; for arrays without sufficient statistics the
    gradient of the mean log-likelihood (Fisher's identity). Parameters at -inf (a weight of 0)
    are held where they are. Frozen parts are differentiated: here they are hyperparameters.
    `directions`: in how many at once it will be differentiated.
    """
    model = jax.tree.map(_heeded, model, is_leaf=is_part)
    weight, stats, gradients = _summed(seen.sums, model, data, weights, directions)
    parts = take_apart(model)
    totals = _totals(parts.leaves, stats, prior)
    new, idle = [], []
    for leaf, total, use, instead in zip(parts.leaves, totals, seen.used, seen.spare, strict=True):
        # Selected before the M-step and after it: the derivative of 0 / 0 is NaN, unused or not.
        safe = jax.tree.map(lambda t, s, u=use: keep(u, t, s), total, instead)
        image = leaf.from_stats(safe, leaf.origin)
        new.append(keep_densities(use, image, leaf))
        ones, zeros = (jax.tree.map(like, leaf) for like in (jnp.ones_like, jnp.zeros_like))
        idle.append(keep_densities(use, zeros, ones))
    slopes = [
        old + gradient / weight.astype(gradient.dtype)
        for old, gradient in zip(parts.loose, gradients, strict=True)
    ]
    old, new = parameters(model)[0], parameters(parts.model(new, slopes))[0]
    none = jax.tree.map(jnp.zeros_like, parts.loose)
    idle = jax.lax.stop_gradient(parameters(parts.model(idle, none))[0] > 0)
    held = ~(jnp.isfinite(old) & jnp.isfinite(new))
    zero = jnp.zeros_like(old)
    return Drift(jnp.where(held, zero, new - jnp.where(held, zero, old)), idle | held)


def _heeded(node):
    """A frozen part without the stop on its gradient."""
    return Frozen(node.part, stopped=False) if isinstance(node, Frozen) else node


def _spare(model, used, data, weights, weight):
    """Harmless statistics for emptied densities: a rounding error's worth of all the data's."""
    leaves = take_apart(model).leaves
    zeros = [leaf.zero_stats() for leaf in leaves]
    if not leaves:
        return zeros

    def of_all():
        pooled, origins = floor_stats(model, data, weights)
        out = []
        for leaf, stats, origin in zip(leaves, pooled, origins, strict=True):
            about = leaf.recentre(stats, origin, leaf.origin)
            share = jnp.finfo(stats.count.dtype).eps * weight / stats.count
            scaled = lambda a, s=share: a * spread(s, a.ndim)
            out.append(jax.tree.map(scaled, about))
        return out

    every = jnp.stack([jnp.all(use) for use in used])
    return jax.lax.stop_gradient(_loops.cond(jnp.all(every), lambda: zeros, of_all))


class Slope(NamedTuple):
    """The derivative of the residual in the parameters, and the rows that are not its own."""

    matrix: Any  # (p, p), or its triangles
    unmoved: Array  # parameters that no step changes
    idle: Array  # those of them that belong to an emptied density, or to a weight of 0


def jacobian(model, data, weights, prior, seen: Pass) -> Slope:
    """Minus the derivative of the residual in the parameters: I - dEM, invertible at an optimum.

    A parameter that no step moves (an emptied component's, fixed degrees of freedom, a triangle's
    lower half) has a row of zeros, since the step is the identity there; its row is that of the
    identity matrix.
    """
    vector, build = parameters(model)
    vector = jnp.where(jnp.isfinite(vector), vector, jax.lax.stop_gradient(vector))
    drift = lambda v: tuple(residual(build(v), data, weights, prior, seen, vector.size))
    change, idle = jax.jacfwd(drift, has_aux=True)(vector)
    unmoved = jnp.all(change == 0, axis=1)
    return Slope(jnp.diag(unmoved.astype(vector.dtype)) - change, unmoved, idle)
