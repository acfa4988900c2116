"""Log-densities of many events under a stack of densities in product form: one matrix product."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._exponential import ProductForm


def common_origin(stack: ProductForm) -> Array:
    """The middle of a stack's means; broadcast it to `stack.origin.shape` for `spread`."""
    return jax.lax.stop_gradient(jnp.mean(stack.origin, tuple(range(len(stack.stack_shape)))))


def is_near(stack: ProductForm) -> Array:
    """Whether about one origin the rounding error of a log-density stays near 1e-5.

    It grows with the means' distance from the origin, in units of the scales.
    """
    wide = jnp.broadcast_to(common_origin(stack), stack.origin.shape)
    spread = jax.lax.stop_gradient(stack.spread(wide))
    return jnp.all(spread <= 2e-5 / jnp.finfo(spread.dtype).eps)


def features(stack: ProductForm, events: Array, origin: Array) -> Array:
    """Features of events (rows, ...): laid out (features, rows), or (rows, features)."""
    residuals = events - origin[None]
    if stack.rows_last:
        return stack.features(jnp.moveaxis(residuals, 0, -1))
    return jax.vmap(stack.features)(residuals)


def log_probs(
    stack: ProductForm, natural: tuple[Array, Array], features: Array
) -> Float[Array, "rows *stack"]:
    """Log-densities, from `stack.product_natural` about the origin of the features."""
    head, weights = natural
    linear = _product(weights, -1, features, 0 if stack.rows_last else 1)
    return jnp.moveaxis(head[..., None] + linear, -1, 0)


def feature_sums(
    stack: ProductForm, features: Array, responsibilities: Float[Array, "rows *stack"]
) -> Float[Array, "*stack features"]:
    """Features summed over the rows, each weighed by its responsibilities."""
    # Matrix libraries on a CPU multiply operands in this order at the machine's peak.
    if stack.rows_last:
        return jnp.moveaxis(_product(features, 1, responsibilities, 0), 0, -1)
    return _product(responsibilities, 0, features, 0)


def _product(a: Array, a_axis: int, b: Array, b_axis: int) -> Array:
    # Accelerators multiply float32 matrices with fewer digits unless asked.
    return jnp.tensordot(a, b, (a_axis, b_axis), precision=jax.lax.Precision.HIGHEST)
