"""Stacks or lists of densities as one numbered family, and the table of their log-densities."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._arguments import rows, shown
from .._chunkwise import ProductForm
from .._compile import of_few_numbers
from .._density import LogDensity, is_density, stack_size
from .._log_sums import logsumexp
from .._numerics import unanimous
from .._product_form import common_origin, far_log_probs, is_far, sorted_by
from .._product_form import log_probs as product_log_probs
from .._sharding import gathered
from .._stack import outcome_log_probs, over_stack
from ..adapters import as_density
from ..combinators import MixtureSameFamily
from ..combinators.constrained import Forwarding
from .blocks import over_blocks


class Unreached(Forwarding):
    """A proposal of an adaptation that did not reach the event; whoever uses it is told."""

    part: PyTree
    forwarded = property(lambda self: self.part)


def all_reached(proposals: PyTree) -> bool:
    """Whether none of the proposals comes from an adaptation that did not reach the event."""
    listed = proposals if isinstance(proposals, list | tuple) else [proposals]
    return not any(isinstance(one, Unreached) for one in listed)


class Part(eqx.Module):
    """Some of the densities of a family: a stack of `size`, or one density if `single`."""

    density: Any
    size: int = eqx.field(static=True)
    single: bool = eqx.field(static=True)


def as_densities(given: PyTree) -> PyTree:
    """The same, distributions of other libraries as densities."""
    if type(given) in (list, tuple):
        return type(given)(as_densities(entry) for entry in given)
    if isinstance(given, Unreached):
        return given.part
    density = as_density(given)
    # Made by `jax.vmap` it does not know of the axis that its parameters have in front.
    stacked = density is not given and tuple(getattr(density.distribution, "batch_shape", ()))
    return jax.vmap(as_density)(given) if stacked else density


def is_single(density: PyTree) -> bool:
    """Whether this is one density and no stack (or list)."""
    if isinstance(density, list | tuple):
        return False
    density = as_densities(density)
    if isinstance(density, LogDensity):
        return density.stack_shape == ()
    return all(a.ndim == 0 for a in jax.tree.leaves(density) if eqx.is_array(a))


def parts_of(densities: PyTree, role: str) -> list[Part]:
    """A stack, one density, or a list of stacks and densities, as numbered parts."""
    densities = gathered(as_densities(densities))
    if isinstance(densities, list | tuple):
        if not densities:
            raise ValueError(f"{role} must hold at least one density; the list is empty.")
        for entry in densities:
            if not is_density(entry):
                kind = type(entry).__name__
                raise ValueError(
                    f"{role} lists a {kind}, which is no density with a method log_prob."
                )
        # A class of the user's own declares no ranks: alone in a list it is one density.
        return [_part(d, role, not isinstance(d, LogDensity) or is_single(d)) for d in densities]
    if not is_density(densities):
        raise ValueError(
            f"{role} must be a density with a method log_prob, a stack of them, or a list; "
            f"it was {shown(densities)}."
        )
    return [_part(densities, role, is_single(densities))]


def _part(density: Any, role: str, single: bool) -> Part:
    size = 1 if single else stack_size(density, role)
    if not size:
        raise ValueError(f"{role} must hold at least one density; this stack holds none.")
    return Part(density, size, single)


def family_size(densities: PyTree, role: str = "proposals") -> int:
    """How many densities a stack or a list of densities and stacks holds."""
    return size_of(parts_of(densities, role))


def size_of(parts: list[Part]) -> int:
    """How many densities these parts hold."""
    return sum(part.size for part in parts)


def _has_product_form(stack) -> bool:
    # Of numbers the product is no faster than the differences themselves.
    return isinstance(stack, ProductForm) and stack.origin.ndim == 2


def _stack_log_probs(stack, events) -> Array:
    if not _has_product_form(stack):
        return jax.vmap(lambda x: over_stack(lambda density: density.log_prob(x), stack))(events)
    origin = common_origin(stack)
    far = is_far(stack, origin)

    def product():
        natural = stack.product_natural(jnp.broadcast_to(origin, stack.origin.shape))
        return product_log_probs(stack, natural, stack.chunk_features(events, origin))

    def apart():  # those that are far, about their own origins
        return far_log_probs(sorted_by(far), product().T, stack, events).T

    return jax.lax.cond(unanimous(~jnp.any(far)), product, apart)


def _part_log_probs(part: Part, events) -> Array:
    density = part.density
    if not part.single:
        return _stack_log_probs(density, events)
    if isinstance(density, MixtureSameFamily) and _has_product_form(density.components):
        share = outcome_log_probs(density.mixing, density.num_components)
        return logsumexp(share[None, :] + _stack_log_probs(density.components, events))[:, None]
    return jax.vmap(density.log_prob)(events)[:, None]


def log_probs(parts: list[Part], events: PyTree) -> Float[Array, "n k"]:
    """Log-densities of one block of events: a matrix product where a stack has such a form."""
    columns = [_part_log_probs(part, events) for part in parts]
    dtype = jnp.result_type(*columns)
    return jnp.concatenate([column.astype(dtype) for column in columns], 1)


def _numbers(parts, events) -> int:
    return size_of(parts) * sum(leaf.size for leaf in jax.tree.leaves(events))


@functools.partial(of_few_numbers, count=_numbers)
def _log_table(parts, events):
    return over_blocks(lambda block: log_probs(parts, block), events)


def log_table(densities: PyTree, events: PyTree, role: str = "densities") -> Float[Array, "n k"]:
    """Table of log p_k(x_n), in nats, a row an event and a column a density.

    Args:
        densities: a stack of densities, one density, or a list of stacks and densities.
        events: events stacked along a leading axis.
        role: the name by which an error calls the densities.

    Raises:
        ValueError: if `densities` is none of these.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Normal)(jnp.zeros(3), jnp.ones(3))
        >>> jm.importance.log_table(family, jnp.zeros(5)).shape
        (5, 3)
    """
    parts = parts_of(densities, role)
    return _log_table(parts, gathered(rows(events, "events")))
