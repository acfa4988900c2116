"""Tails of densities that are log-concave in a coordinate without ends, by one quadrature.

Outwards from beyond the density's highest place its logarithm falls, and ever faster: Gauss's nodes,
close together where the fall begins, serve tails from exponential to normal at every scale. All
parameters have derivatives, which a library's incomplete gamma and beta functions lack.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._special import REACH, unit_nodes

NODES, SIZES = unit_nodes(64)
NODES, SIZES = NODES**3, 3 * SIZES * NODES**2
LADDER, RUNGS = 16.0 ** np.arange(-20, 31), 16.0 ** (np.arange(-15, 1) / 16)


def log_sides(head: Array, low: Array, fall: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Logarithms of the probabilities up to an event, and beyond it.

    By the log-density there, whether it is below the highest place, and the fall outwards.
    """
    ladder, rungs, nodes, sizes = (
        jnp.asarray(a, head.dtype) for a in (LADDER, RUNGS, NODES, SIZES)
    )
    held = lambda ends: ends[jnp.minimum(jnp.sum(fall(ends) <= REACH), len(ends) - 1)]
    end = held(held(ladder) * rungs)
    tail = head + jnp.log(end * jnp.sum(sizes * jnp.exp(-fall(end * nodes))))
    tail = jnp.minimum(tail, jnp.zeros_like(tail))
    rest = jnp.log1p(-jnp.exp(tail))
    return jnp.where(low, tail, rest), jnp.where(low, rest, tail)


def gamma_sides(head: Array, shape: Array, x: Array) -> tuple[Array, Array]:
    """Of a gamma density of rate 1, of which the head is x^shape exp(-x) / Gamma(shape)."""
    low = x <= shape
    fall = lambda s: jnp.where(low, shape * s + x * jnp.expm1(-s), x * jnp.expm1(s) - shape * s)
    return log_sides(head, low, fall)


def beta_sides(head: Array, a: Array, b: Array, p: Array, q: Array) -> tuple[Array, Array]:
    """Of a beta density at p = 1 - q, of which the head is p^a q^b / B(a, b)."""
    low = b * p <= a * q
    own, near, far = jnp.where(low, a, b), jnp.where(low, p, q), jnp.where(low, q, p)

    def fall(s):
        short = jnp.minimum(s, jnp.ones_like(s))
        less = jnp.log1p(near * jnp.expm1(-short))
        return own * s + (a + b) * jnp.where(s < 1, less, jnp.log(far + near * jnp.exp(-s)))

    return log_sides(head, low, fall)
