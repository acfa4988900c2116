"""Where an event is likeliest, by the gradient of its score (the design points of FORM)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compile import of_few_numbers
from .mixtures import Fitted, Frame

STEPS = 7
REACH = 5.0  # of the starts, in units of the targets' scale
APART = 1.0  # two points nearer than this, in units of the targets' scale, are one


@of_few_numbers
def _search(score, frame: Frame, starts: Array, scalar: bool):
    def value_and_grad(u):
        def g(u):
            x = frame.origin + frame.scale * u
            return score(x[0] if scalar else x)

        return jax.value_and_grad(g)(u)

    def step(u, _):
        value, slope = jax.vmap(value_and_grad)(u)
        square = jnp.sum(slope**2, 1)
        usable = (square > 0) & jnp.isfinite(value)
        safe = jnp.where(usable, square, jnp.ones_like(square))
        # Hasofer and Lind (1974), Rackwitz and Fiessler (1978): the nearest point of the
        # tangent plane on which the linearised score is 0.
        factor = (jnp.sum(slope * u, 1) - value) / safe
        moved = jnp.where(usable[:, None], factor[:, None] * slope, u)
        # A step is kept within reach, for scores that are far from linear.
        length = jnp.sqrt(jnp.sum((moved - u) ** 2, 1, keepdims=True))
        reach = jnp.sqrt(jnp.asarray(u.shape[1], u.dtype)) + 4
        shrink = jnp.minimum(reach / jnp.where(length > 0, length, jnp.ones_like(length)), 1)
        return u + shrink * (moved - u), (usable, value)

    points, (usable, _) = jax.lax.scan(step, starts, None, STEPS)
    value, slope = jax.vmap(value_and_grad)(points)
    # On the surface, and the nearest of it: the gradient points along the way from the origin.
    steep = jnp.sqrt(jnp.sum(slope**2, 1))
    miss = jnp.abs(value) / steep
    along = jnp.sum(points * slope, 1) / (steep * jnp.sqrt(jnp.sum(points**2, 1)))
    return points, usable[-1] & jnp.isfinite(miss) & (miss < 0.5) & (along > 0.95)


def design_points(key, score, frame: Frame, num: int, scalar: bool) -> tuple[Fitted | None, int]:
    """Components at the likeliest points of {score > 0}, from random starts, and calls of the score.

    None if it has no usable gradient; each gradient counts as two calls.
    """
    dim = frame.origin.shape[0]
    starts = max(16, 4 * num)
    # Both ends of the axes of random frames: no direction is far from all of them.
    frames = jax.random.orthogonal(
        key, dim, (-(-starts // (2 * dim)),), dtype=frame.origin.dtype
    ).reshape(-1, 1, dim)
    u = REACH * jnp.concatenate([frames, -frames], 1).reshape(-1, dim)[:starts]
    points, good = _search(score, frame, u, scalar)
    calls = 2 * starts * (STEPS + 1)
    points, good = np.asarray(points), np.asarray(good)
    chosen: list[int] = []
    for i in np.argsort((points**2).sum(1)):
        apart = all(((points[i] - points[c]) ** 2).sum() > APART**2 for c in chosen)
        if good[i] and apart and len(chosen) < num:
            chosen.append(int(i))
    if not chosen:
        return None, calls
    turn = np.resize(np.arange(len(chosen)), num)  # points repeat where there are too few
    kept = points[chosen][turn]
    beta = np.sqrt((kept**2).sum(1))
    # The probability of a half-space at this distance, with a bound on the spread of weights.
    share = np.exp(-np.minimum(0.5 * (beta**2 - (beta**2).min()), 3))
    share = share / np.bincount(turn)[turn]
    dtype = frame.origin.dtype
    found = Fitted(
        jnp.asarray(share / share.sum(), dtype),
        frame.origin[None] + frame.scale[None] * jnp.asarray(kept, dtype),
        jnp.broadcast_to(jnp.diag(frame.scale**2)[None], (num, dim, dim)),
        jnp.ones(num, dtype),
    )
    return found, calls
