"""Log-densities of many events under a stack of densities in product form: one matrix product."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._exponential import ProductForm

FEW = 4  # features up to which a product is written out


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
    if _written_out(stack, features):
        value = head[..., None]
        for i, feature in enumerate(features):
            value = value + jnp.multiply.outer(weights[..., i], feature)
        return jnp.moveaxis(value, -1, 0)
    if stack.rows_last:
        return jnp.moveaxis(head[..., None] + _product(weights, -1, features, 0), -1, 0)
    # Rows first at once: what follows reads a row at a time, and would read across a transpose.
    return head[None] + _product(features, 1, weights, -1)


def feature_sums(
    stack: ProductForm, features: Array, responsibilities: Float[Array, "rows *stack"]
) -> Array:
    """Features summed over the rows, each weighed by its responsibilities.

    Laid out (features, *stack) or (*stack, features), as `by_density` knows: matrix libraries on
    a CPU multiply operands in the order given here at the machine's peak, in the other at half.
    """
    if _written_out(stack, features):
        return jnp.stack([_product(f, 0, responsibilities, 0) for f in features])
    if stack.rows_last:
        return _product(features, 1, responsibilities, 0)
    return _product(responsibilities, 0, features, 0)


def by_density(stack: ProductForm, sums: Array) -> Float[Array, "*stack features"]:
    """Feature sums, those of each density together."""
    return jnp.moveaxis(sums, 0, -1) if stack.rows_last else sums


def zero_sums(stack: ProductForm, weights: Float[Array, "*stack features"]) -> Array:
    """Zeros laid out as `feature_sums` are."""
    zeros = jnp.zeros_like(weights)
    return jnp.moveaxis(zeros, -1, 0) if stack.rows_last else zeros


def _written_out(stack: ProductForm, features: Array) -> bool:
    """Whether features are so few that sums of products fuse with what is around them."""
    return stack.rows_last and features.shape[0] <= FEW


def _product(a: Array, a_axis: int, b: Array, b_axis: int) -> Array:
    # Accelerators multiply float32 matrices with fewer digits unless asked.
    return jnp.tensordot(a, b, (a_axis, b_axis), precision=jax.lax.Precision.HIGHEST)
