"""EM as an equation: a model's parameters as one vector, and what one EM step changes in it."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .expected import Expected, chunk_rows, expect, num_rows, take_apart
from .maximise import Maximised, about_own_origins, maximise, refit


def parameters(model: PyTree) -> tuple[Float[Array, " p"], Callable[[Array], PyTree]]:
    """What a fit may change, as one unconstrained vector, and the model for such a vector.

    Frozen parts have no entries, a tied part has its entries once.
    """
    parts = take_apart(model)
    arrays, rest = eqx.partition((parts.leaves, parts.loose), eqx.is_inexact_array)
    vector, unravel = ravel_pytree(arrays)
    return vector, lambda vector: parts.model(*eqx.combine(unravel(vector), rest))


class Evaluated(NamedTuple):
    """One pass over the data under a model, and the step it leads to."""

    change: Float[Array, " p"]
    expected: Expected
    maximised: Maximised


def evaluate(model, data, weights, prior, state=None, chunk_size=None) -> Evaluated:
    """The EM step from a model, as a change of its parameters; 0 where they are not finite."""
    expected = expect(model, data, weights, chunk_size=chunk_size)
    maximised = maximise(model, expected, data, weights, prior, state)
    old, new = parameters(model)[0], parameters(maximised.model)[0]
    both = jnp.isfinite(old) & jnp.isfinite(new)
    change = jnp.where(both, new - jnp.where(both, old, jnp.zeros_like(old)), jnp.zeros_like(old))
    return Evaluated(change, expected, maximised)


def residual(model, data, weights, prior, chunk_size=None) -> Float[Array, " p"]:
    """What vanishes at a fixed point, as a differentiable function of everything it is given.

    For leaves it is the EM map less the identity; for arrays without sufficient statistics the
    gradient of the mean log-likelihood (Fisher's identity). Parameters at -inf (a weight of 0)
    are held where they are.
    """
    expected = expect(model, data, weights, chunk_size=chunk_size)
    parts = take_apart(model)
    pseudo = [None] * len(parts.leaves) if prior is None else about_own_origins(parts.leaves, prior)
    new = [
        refit(leaf, stats, extra, expected.weight)[0]
        for leaf, stats, extra in zip(parts.leaves, expected.stats, pseudo, strict=True)
    ]
    slopes = [
        old + gradient / expected.weight
        for old, gradient in zip(parts.loose, expected.gradient, strict=True)
    ]
    old, new = parameters(model)[0], parameters(parts.model(new, slopes))[0]
    held = ~(jnp.isfinite(old) & jnp.isfinite(new))
    zero = jnp.zeros_like(old)
    return jnp.where(held, zero, new - jnp.where(held, zero, old))


def jacobian(model, data, weights, prior) -> Float[Array, "p p"]:
    """Minus the derivative of the residual in the parameters: I - dEM, invertible at an optimum.

    A parameter that no step moves (an emptied component's, a triangle's lower half) has a row of
    zeros, since the step is the identity there; its own derivative is 0, and its row that of the
    identity matrix.
    """
    vector, build = parameters(model)
    vector = jnp.where(jnp.isfinite(vector), vector, jax.lax.stop_gradient(vector))
    # All directions go through a chunk at once: it holds the fewer rows.
    chunk = max(16, chunk_rows(model, num_rows(data), None) // max(1, vector.size))
    change = jax.jacfwd(lambda v: residual(build(v), data, weights, prior, chunk))(vector)
    unmoved = jnp.all(change == 0, axis=1)
    return jnp.diag(unmoved.astype(vector.dtype)) - change
