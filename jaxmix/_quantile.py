"""Quantiles of any density of a number, from its distribution function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

from . import _loops
from ._hooks import SaysDomain
from ._numerics import as_array
from ._trees import float_of


def _float_at(place: Array, like: Array) -> Array:
    """The float at a place in the order of all floats, 0.0 at 0: its bits, the sign apart."""
    size = jax.lax.bitcast_convert_type(jnp.abs(place), like.dtype)
    return jnp.where(place < 0, -size, size)


def quantile(density: PyTree, p: Float[Array, ""]) -> Scalar:
    """The least x with density.cdf(x) >= p, by bisection in the order of the floats.

    Whatever the support, as many evaluations as a float has bits find it to the last one. The
    derivative, of a continuous density, is that of the implicit function.
    """
    domain: Any = density.domain if isinstance(density, SaysDomain) else None
    low, high = (-np.inf, np.inf) if domain is None else (domain.low, domain.high)
    p = as_array(p)
    if p.shape != () or jnp.issubdtype(p.dtype, jnp.complexfloating):
        raise ValueError(
            f"quantile takes one probability, a real number; shape {p.shape} of dtype {p.dtype} "
            "was given. Many go through jax.vmap(density.quantile)(ps)."
        )
    p = p.astype(float_of(density))
    still, wanted = jax.lax.stop_gradient((density, p))
    largest = jnp.asarray(np.finfo(p.dtype).max, p.dtype)
    top = jax.lax.bitcast_convert_type(largest, jnp.int32 if p.dtype.itemsize == 4 else jnp.int64)

    def halve(_, ends):
        below, above = ends
        middle = (below & above) + ((below ^ above) >> 1)  # their mean, without overflow
        reached = still.cdf(_float_at(middle, p)) >= wanted
        return jnp.where(reached, below, middle), jnp.where(reached, middle, above)

    _, above = _loops.fori_loop(0, 8 * p.dtype.itemsize, halve, (-top, top))
    x = _float_at(above, p)
    if domain is None or not domain.whole:
        # One Newton step, 0 but for rounding, carries the derivative in p and in the parameters.
        slope = jnp.exp(still.log_prob(x))
        flat = ~(slope > 0)
        short = (p - density.cdf(x)) / jnp.where(flat, jnp.ones_like(slope), slope)
        x = x + jnp.where(flat, jnp.zeros_like(x), short - jax.lax.stop_gradient(short))
    x = jnp.where(wanted <= 0, low, jnp.where(wanted >= 1, high, x))
    return jnp.where((wanted >= 0) & (wanted <= 1), x, jnp.nan)
