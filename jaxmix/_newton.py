"""M-steps without a closed form: a damped Newton ascent, differentiable in the statistics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _loops

MOST_STEPS = 60


def newton_maximum(
    value: Callable[[Array, Any], Array],
    start: Float[Array, "*stack d"],
    given: Any,
    derivatives: Callable[[Array, Any], tuple[Array, Array]] | None = None,
) -> Float[Array, "*stack d"]:
    """The maximum of `value(theta, given)` in theta, of one density; leading axes are of a stack.

    `derivatives` gives gradient and Hessian where they are known in a short form.

    Levenberg and Marquardt's damping: a step that would lower the value is not taken, and the
    next is shorter. The search itself is not differentiated: one last Newton step from where it
    ends carries the derivative in `given` (the implicit function theorem).
    """
    if start.ndim > 1:
        one = lambda start, given: newton_maximum(value, start, given, derivatives)
        return jax.vmap(one)(start, given)
    given_still = jax.lax.stop_gradient(given)
    if derivatives is None:
        twice = jax.jacfwd(lambda *args: (jax.grad(value)(*args),) * 2, has_aux=True)
        derivatives = lambda *args: twice(*args)[::-1]
    eye = jnp.eye(start.shape[0], dtype=start.dtype)
    enough = jnp.sqrt(jnp.finfo(start.dtype).eps)

    def body(carry):
        theta, level, damping, _, steps = carry
        gradient, hessian = derivatives(theta, given_still)
        scale = jnp.diag(jnp.abs(jnp.diagonal(hessian)) + enough)
        # Where the value is not concave, what is missing to concavity is damped away.
        least = jnp.maximum(jnp.linalg.eigvalsh(hessian)[-1], jnp.zeros((), start.dtype))
        matrix = -hessian + 2 * least * eye + damping * scale
        step = jnp.linalg.solve(matrix, gradient)
        new = theta + step
        reached = value(new, given_still)
        better = reached >= level
        moved = jnp.max(jnp.abs(step))
        # No curvature at all gives no step: damping, a step along the gradient, comes next.
        lost = ~jnp.all(jnp.isfinite(gradient)) | ~jnp.all(jnp.isfinite(hessian))
        return (
            jnp.where(better, new, theta),
            jnp.where(better, reached, level),
            jnp.where(better, 0.1 * damping, 10 * damping + 1e-3),
            (moved <= enough) | lost,
            steps + 1,
        )

    def more(carry):
        return ~carry[3] & (carry[4] < MOST_STEPS)

    begin = jax.lax.stop_gradient(start)
    zero = jnp.zeros((), start.dtype)
    carry = (begin, value(begin, given_still), zero, jnp.asarray(False), jnp.zeros((), int))
    theta = jax.lax.stop_gradient(_loops.while_loop(more, body, carry)[0])
    gradient, hessian = derivatives(theta, given)
    # One more Newton step, 0 where the value is not strictly concave.
    hessian = jax.lax.stop_gradient(hessian)
    concave = jnp.linalg.eigvalsh(hessian)[-1] < 0
    step = jnp.linalg.solve(jnp.where(concave, hessian, -eye), gradient)
    return theta + jnp.where(concave, -step, jnp.zeros_like(step))
