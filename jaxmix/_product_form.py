"""Log-densities of many events under a stack of densities in product form: one matrix product."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from . import _loops
from ._chunkwise import ProductForm
from ._numerics import largest_mapped
from ._platform import product_precision
from ._stack import over_stack, pick, stack_axes

FEW = 4  # features up to which a product is written out


def common_origin(stack: ProductForm) -> Array:
    """The middle of a stack's means; broadcast it to `stack.origin.shape` for `spread`.

    Their mean, unless some are far from it: then these draw it little, by weights that fall with
    the squared distance, so that the others are near.
    """
    axes = tuple(range(len(stack.stack_shape)))
    stack = jax.tree.map(jax.lax.stop_gradient, stack)
    means = stack.origin
    middle = mean = jnp.mean(means, axes)
    for _ in range(2 if axes else 0):
        pull = 1 / (1 + _spread(stack, middle))
        pull = pull.reshape(pull.shape + (1,) * (means.ndim - pull.ndim))
        nearer = jnp.sum(pull * means, axes) / jnp.sum(pull)
        middle = jnp.where(jnp.isfinite(nearer), nearer, middle)
    return jnp.where(jnp.any(is_far(stack, mean)), middle, mean)


def _spread(stack: ProductForm, origin: Array) -> Float[Array, "*stack"]:
    return stack.spread(jnp.broadcast_to(origin, stack.origin.shape))


def is_far(stack: ProductForm, origin: Array) -> Bool[Array, "*stack"]:
    """Of which densities the rounding error of a log-density about this origin exceeds 1e-5.

    It grows with a mean's distance from the origin, in units of its scale.
    """
    spread = jax.lax.stop_gradient(_spread(stack, origin))
    return ~(spread <= 2e-5 / jnp.finfo(spread.dtype).eps)


class Far(NamedTuple):
    """Which densities of a stack (in one axis) are far, and their places in blocks, the far first.

    A loop goes over as many blocks as hold any, under `vmap` as any lane has: so a pass costs the
    more, the more are far. What else is in its last block is evaluated to no harm.
    """

    is_far: Bool[Array, " k"]
    blocks: Int[Array, "steps size"]
    count: Int[Array, ""]


STEPS = 64  # blocks into which a stack is cut at most


def sorted_by(far: Bool[Array, "*stack"]) -> Far:
    """The blocks of a stack's far densities."""
    far = far.ravel()
    order, size = jnp.argsort(~far), -(-far.size // STEPS)
    blocks = jnp.pad(order, (0, -far.size % size), mode="edge").reshape(-1, size)
    return Far(far, blocks, largest_mapped(-(-jnp.sum(far) // size)))


def _over_far(far: Far, stack: ProductForm, write: Callable, start: PyTree) -> PyTree:
    """`write(carry, densities, places)` for each block in turn."""

    def step(i, carry):
        return write(carry, pick(stack, far.blocks[i]), far.blocks[i])

    return _loops.fori_loop(0, far.count, step, start)


def _where_far(far: Far, own: Array, other: Array) -> Array:
    return jnp.where(far.is_far.reshape((-1,) + (1,) * (own.ndim - 1)), own, other)


# The two rules below are those of what the loops compute, written for all densities at once: a loop
# of unknown length has no reverse derivative.


@jax.custom_jvp
def far_log_probs(
    far: Far, near: Float[Array, "k rows"], stack: ProductForm, events: Array
) -> Array:
    """The log-densities of the near as given, those of the far about their own origins."""
    write = lambda values, part, places: values.at[places].set(own_log_probs(part, events))
    return _over_far(far, stack, write, near)


def own_log_probs(stack, events):
    return over_stack(lambda density: density.own_log_probs(events), stack)


@far_log_probs.defjvp
def _(primals, tangents):
    far = primals[0]
    whole = lambda near, stack, events: _where_far(far, own_log_probs(stack, events), near)
    return far_log_probs(*primals), jax.jvp(whole, primals[1:], tangents[1:])[1]


@jax.custom_jvp
def far_stats(far: Far, shares: Float[Array, "k rows"], stack: ProductForm, events: Array) -> Any:
    """Statistics of the far about their own origins, weighed by responsibilities; else 0."""

    def write(totals, part, places):
        own = own_stats(part, events, shares[places])
        return jax.tree.map(lambda total, one: total.at[places].set(one), totals, own)

    return _over_far(far, stack, write, stack.zero_stats())


def own_stats(stack, events, shares):
    return over_stack(lambda density, share: density.weighed_stats(events, share), stack, shares)


@far_stats.defjvp
def _(primals, tangents):
    far = primals[0]

    def whole(shares, stack, events):
        own = own_stats(stack, events, shares)
        return jax.tree.map(lambda a: _where_far(far, a, jnp.zeros_like(a)), own)

    return far_stats(*primals), jax.jvp(whole, primals[1:], tangents[1:])[1]


def in_one_axis(stack: ProductForm) -> ProductForm:
    """A stack of one axis, its densities in the order of the rows of the given one."""
    shape = stack.stack_shape

    def flat(own, array):
        core = array.shape[own:]
        wide = array.reshape(*array.shape[:own], *(1,) * (len(shape) - own), *core)
        return jnp.broadcast_to(wide, (*shape, *core)).reshape(-1, *core)

    return stack if len(shape) == 1 else jax.tree.map(flat, stack_axes(stack), stack)


def log_probs(
    stack: ProductForm, natural: tuple[Array, Array], features: Array
) -> Float[Array, " rows *stack"]:
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
    stack: ProductForm, features: Array, responsibilities: Float[Array, " rows *stack"]
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
    return jnp.tensordot(a, b, (a_axis, b_axis), precision=product_precision(a))
