"""The compiled part of the estimators: blocks of steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._compile import Quick
from ..em.chunks import is_brief
from ..em.expected import expect
from ..em.m_step import refit
from ..em.parts import take_apart

BLOCK = 100


class Climb(NamedTuple):
    """A mixture between two steps of EM, as scikit-learn counts them.

    `bound` is the mean log-likelihood, in nats, of the mixture before the last step.
    """

    model: PyTree
    bound: Array
    num_steps: Array
    converged: Array
    num_emptied: Array
    num_collapsed: Array


def begin(model: PyTree, bound: float) -> Climb:
    dtype = model.mixing.logits.dtype
    zero = jnp.zeros((), int)
    return Climb(model, jnp.asarray(bound, dtype), zero, jnp.asarray(False), zero, zero)


def _ridge(second: Array, count: Array, dim: int) -> Array:
    """The scatter of `count` events of unit covariance, in the shape of a second moment."""
    if second.ndim == count.ndim:
        return count * dim
    if second.ndim == count.ndim + 1:
        return jnp.broadcast_to(count[..., None], second.shape)
    eye = jnp.broadcast_to(jnp.eye(dim, dtype=second.dtype), second.shape)
    return count[..., None, None] * eye


def _refitted(model, expected, ridge):
    """The M-step with `ridge` added to every covariance's diagonal."""
    parts = take_apart(model)
    mixing: Any
    components: Any
    (mixing, components), (outcomes, moments) = parts.leaves, expected.stats
    extra = jax.tree.map(jnp.zeros_like, moments)
    added = ridge * _ridge(moments.second, moments.count, components.dim)
    mixing, _, _ = refit(mixing, outcomes, expected.weight)
    components, emptied, collapsed = refit(
        components, moments, expected.weight, extra._replace(second=added)
    )
    return parts.model([mixing, components], []), emptied, collapsed


def _climb(state: Climb, data, weights, ridge, tol, max_steps) -> tuple[Climb, Array]:
    """At most BLOCK further steps, and the bound of each, NaN after the last.

    A step that changes the bound by less than `tol` is the last, as scikit-learn has it.
    """
    brief = is_brief(state.model, data)

    def body(carry):
        state, trace, count = carry
        expected = expect(state.model, data, weights, residual=brief)
        model, emptied, collapsed = _refitted(state.model, expected, ridge)
        bound = expected.log_likelihood.value / expected.weight
        settled = jnp.abs(bound - state.bound) < tol
        state = Climb(model, bound, state.num_steps + 1, settled, emptied, collapsed)
        return state, trace.at[count].set(bound), count + 1

    def more(carry):
        state, _, count = carry
        return (count < BLOCK) & ~state.converged & (state.num_steps < max_steps)

    trace = jnp.full((BLOCK,), jnp.nan, state.bound.dtype)
    state, trace, _ = jax.lax.while_loop(more, body, (state, trace, jnp.zeros((), int)))
    return state, trace


climb = Quick(_climb, lambda state, data, *_: is_brief(state.model, data))
