"""EM to rest: Anderson acceleration that keeps a jump only where the objective does not fall."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._numerics import Sum, difference
from .gradient_step import GradientState, init_gradient_state
from .maximise import log_prior
from .parts import take_apart
from .residual import Sums, evaluate, parameters, sums

MEMORY = 6  # differences of steps that the acceleration combines
PATIENCE = 16  # steps without progress after which rounding is all that moves


class Search(NamedTuple):
    """Between two passes over the data."""

    trial: Array  # the point to evaluate next
    plain: Array  # whether it is a plain EM step, taken even if it falls
    point: Array  # the last point taken, and the step from it
    change: Array
    sunk: Array  # parameters that this step takes to -inf
    sums: Sums  # what the step is made of
    objective: Sum
    penalty: Array
    scale: Array  # the largest change of each parameter so far: steps are measured in it
    points: Array  # (MEMORY, p) differences of points and of steps, rows of zeros where unused
    changes: Array
    move: GradientState | None
    best: Array  # the smallest step and the highest objective so far
    top: Sum
    top_penalty: Array
    since: Array
    num_steps: Array
    num_emptied: Array
    status: Array  # 0 goes on, 1 at rest, 2 not finite


def _combine(change, points, changes, scale):
    """Anderson's step (1965; Walker and Ni 2011, type II): F(x) less what the memory explains."""
    unit = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    basis, target = changes / unit[None], change / unit
    lengths = jnp.sqrt(jnp.sum(basis * basis, axis=1))
    used = lengths > 0
    lengths = jnp.where(used, lengths, jnp.ones_like(lengths))
    basis = basis / lengths[:, None]
    gram = jnp.dot(basis, basis.T, precision="highest")
    # Parallel differences carry no news: rounding in the normal equations bounds their use.
    ridge = MEMORY * jnp.finfo(gram.dtype).eps
    gram = gram + jnp.diag(jnp.where(used, jnp.full_like(lengths, ridge), jnp.ones_like(lengths)))
    shares = jnp.linalg.solve(gram, jnp.dot(basis, target, precision="highest")) / lengths
    step = change - jnp.dot(shares, points + changes, precision="highest")
    return jnp.where(jnp.all(jnp.isfinite(step)), step, change)


def to_rest(model, data, weights, prior, max_steps) -> Search:
    """Run until a further step changes nothing but rounding, or for `max_steps` passes."""
    start, build = parameters(model)
    smooth = not take_apart(model).loose
    size = start.shape[0]

    def look(search: Search) -> Search:
        candidate = build(search.trial)
        seen = evaluate(candidate, data, weights, prior, search.move)
        penalty = jnp.asarray(log_prior(candidate, prior), search.penalty.dtype)
        total = seen.expected.objective
        noise = jnp.finfo(start.dtype).eps * jnp.abs(total.value)
        rise = difference(total, search.objective) + (penalty - search.penalty)
        sound = jnp.isfinite(total.value) & jnp.all(jnp.isfinite(seen.change))
        sound = sound & jnp.isfinite(penalty)
        first = search.num_steps == 0
        taken = sound & (search.plain | (rise >= -noise))
        change, scale = seen.change, jnp.maximum(search.scale, jnp.abs(seen.change))
        rows = lambda memory, new: jnp.concatenate([memory[1:], new[None]])
        moved = _finite_difference(search.trial, search.point)
        points = rows(search.points, jnp.where(first, jnp.zeros_like(moved), moved))
        changes = rows(
            search.changes, jnp.where(first, jnp.zeros_like(moved), change - search.change)
        )
        step = _combine(change, points, changes, scale) if smooth else change
        relative = jnp.where(scale > 0, jnp.abs(change) / jnp.where(scale > 0, scale, 1), 0)
        size_now = jnp.max(relative, initial=0.0)
        gain = difference(total, search.top) + (penalty - search.top_penalty)
        higher = (gain > noise) | first
        news = (size_now < search.best) | higher
        since = jnp.where(news, 0, search.since + 1)
        eps = jnp.finfo(start.dtype).eps
        rest = jnp.all(jnp.abs(change) <= 2 * eps * jnp.abs(finite(search.trial)))
        rest = rest & ~jnp.any(seen.sunk & jnp.isfinite(search.trial))
        goes_on = Search(
            trial=jnp.where(seen.sunk, -jnp.inf, search.trial + step),
            plain=jnp.asarray(not smooth),
            point=search.trial,
            change=change,
            sunk=seen.sunk,
            sums=sums(seen.expected),
            objective=total,
            penalty=penalty,
            scale=scale,
            points=points,
            changes=changes,
            move=seen.maximised.state,
            best=jnp.minimum(search.best, size_now),
            top=jax.tree.map(lambda new, old: jnp.where(higher, new, old), total, search.top),
            top_penalty=jnp.where(higher, penalty, search.top_penalty),
            since=since,
            num_steps=search.num_steps + 1,
            num_emptied=seen.maximised.num_emptied,
            status=jnp.where(rest | (since >= PATIENCE), 1, 0),
        )
        # A jump that falls is taken back: a plain step from the last point, and a fresh memory.
        retreat = search._replace(
            trial=jnp.where(search.sunk, -jnp.inf, search.point + search.change),
            plain=jnp.ones_like(search.plain),
            points=jnp.zeros_like(points),
            changes=jnp.zeros_like(changes),
            since=search.since + 1,
            num_steps=search.num_steps + 1,
            status=jnp.where(search.plain, 2, jnp.where(search.since >= PATIENCE, 1, 0)),
        )
        return jax.tree.map(lambda new, old: jnp.where(taken, new, old), goes_on, retreat)

    shapes = jax.eval_shape(lambda: evaluate(model, data, weights, prior).expected)
    dtype = shapes.objective.high.dtype
    unseen = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), sums(shapes))
    zero, infinite = jnp.zeros((), dtype), jnp.full((), jnp.inf, start.dtype)
    memory = jnp.zeros((MEMORY, size), start.dtype)
    begun = Search(
        start, jnp.ones((), bool), start, jnp.zeros_like(start), jnp.isneginf(start), unseen,
        Sum(zero, zero), zero,
        jnp.zeros_like(start), memory, memory, init_gradient_state(model), infinite,
        Sum(zero, zero), zero,
        jnp.zeros((), int), jnp.zeros((), int), jnp.zeros((), int), jnp.zeros((), int),
    )  # fmt: skip
    return jax.lax.while_loop(lambda s: (s.status == 0) & (s.num_steps < max_steps), look, begun)


def finite(x):
    return jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x))


def _finite_difference(new, old):
    return finite(jnp.where(new == old, jnp.zeros_like(new), new - old))
