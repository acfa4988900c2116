"""Integrals of a normal density over an interval, right to the last digits in the far tails.

Everything is relative to the density at its highest place in the interval (the end nearest to the
location, or the location itself), and distances from there are no differences of large numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._special import REACH, unit_nodes

# Gauss's: of either side of a normal density, down to REACH nats, they keep 14 digits.
NODES, SIZES = unit_nodes(24)


class Window(NamedTuple):
    """An interval as a normal density sees it from the highest place there, in units of its scale.

    The density at a distance d from the place is exp(-d^2 / 2 - slope d) times that at the place.
    Ends are no farther than anything is left of it.
    """

    place: Array
    slope: Array
    low: Array  # the ends' distances: low <= 0 <= high
    high: Array


def window(loc: Array, scale: Array, low, high) -> Window:
    """The window from low to high, which may be infinite where they are the host's numbers."""
    below, above = loc < low, loc > high
    place = jnp.where(below, low, jnp.where(above, high, loc))
    slope = jnp.where(below | above, (place - loc) / scale, jnp.zeros_like(place))
    steep = jnp.abs(jax.lax.stop_gradient(slope))
    reach = 2 * REACH / (steep + jnp.hypot(steep, jnp.full_like(steep, (2 * REACH) ** 0.5)))

    def away(end, farthest):
        if isinstance(end, float) and not np.isfinite(end):
            return farthest
        distance = end - place
        far = jnp.abs(distance) > jnp.abs(farthest) * scale
        return jnp.where(far, farthest, jnp.where(far, jnp.zeros_like(place), distance) / scale)

    return Window(place, slope, away(low, -reach), away(high, reach))


def fall(seen: Window, distance: Array) -> Array:
    """Logarithm of the density at a distance from the place, relative to that there."""
    return -distance * (0.5 * distance + seen.slope)


def log_integral(seen: Window) -> Array:
    """Logarithm of the integral of the relative density over the interval."""
    nodes, sizes = (jnp.asarray(a, seen.slope.dtype) for a in (NODES, SIZES))

    def side(end):
        distance = nodes * end[..., None]
        level = fall(seen._replace(slope=seen.slope[..., None]), distance)
        return jnp.abs(end) * jnp.sum(sizes * jnp.exp(level), -1)

    return jnp.log(side(seen.low) + side(seen.high))
