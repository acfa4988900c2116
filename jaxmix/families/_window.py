"""Integrals of a normal density over an interval, right to the last digits in the far tails.

Everything is relative to the density at its highest place in the interval (the end nearest to the
location, or the location itself), and distances from there are no differences of large numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

NODES, SIZES = (0.5 * a for a in np.polynomial.legendre.leggauss(10))
NODES = NODES + 0.5  # on the unit interval
ROOT_HALF = float(np.sqrt(0.5))
ALL = 12.0
# Chebyshev coefficients of `log_mills`, in (x - 2) / (x + 2).
# fmt: off
MILLS = (
    0.9795421564827952, 0.01326269704041784, 0.0199525902806492, -0.01477636889517514,
    0.0006454561406060013, 0.00169344606537678, -0.0001626986903930942, -0.0002004839498087266,
    2.605325179785145e-05, 2.291212068803223e-05, -4.145777268485898e-06, -2.407167184155755e-06,
    6.867484321212177e-07, 2.191312065861839e-07, -1.142745412361125e-07, -1.442819270101496e-08,
    1.820188928960559e-08, -1.722412805228364e-10, -2.684375048539598e-09, 3.290259399490395e-10,
    3.589468731933013e-10, -8.994594072609557e-11, -4.239926617774543e-11, 1.874970705918216e-11,
    4.096977853797611e-12, -3.399916621809849e-12, -2.155006327447391e-13, 5.546607565074317e-13,
    -3.417520547517385e-14, -8.218928209118353e-14, 1.554166958967927e-14,
)
# fmt: on
# Of single and of double precision, as powers: no longer than the series, so that nothing cancels.
POWERS = [np.polynomial.chebyshev.cheb2poly(MILLS[:n]).tolist() for n in (14, len(MILLS))]


def log_mills(x: Array) -> Array:
    """Logarithm of (1 - Phi(x)) / phi(x) for x >= 0, with derivatives as right as its values.

    Sampford's bound 2 / (x + sqrt(x^2 + 8 / pi)) lies within 3 % of it, and the quotient is a
    polynomial: nothing cancels where it is differentiated.
    """
    t = (x - 2) / (x + 2)
    *coefficients, ratio = POWERS[t.dtype.itemsize > 4]
    for c in reversed(coefficients):
        ratio = t * ratio + c
    unit = jax.lax.stop_gradient(jnp.maximum(x, jnp.ones_like(x)))  # else the square may overflow
    share = x / unit
    bound = share + jnp.sqrt(share * share + (8 / np.pi) / unit / unit)
    return jnp.log(2 * ratio) - jnp.log(bound) - jnp.log(unit)


class Window(NamedTuple):
    """An interval as a normal density sees it from the highest place there, in units of its scale.

    The density at a distance d from the place is exp(-d^2 / 2 - slope d) times that at the place.
    """

    place: Array
    slope: Array
    low: Array  # the ends' distances: low <= 0 <= high
    high: Array
    side: Array  # -1 where the location lies below the interval, 1 above, 0 inside


def window(loc: Array, scale: Array, low, high, finite: tuple[bool, bool]) -> Window:
    """The window from low to high, of which some may be infinite (and are read by nobody)."""
    no = jnp.zeros(jnp.shape(loc), bool)
    below, above = (loc < low) if finite[0] else no, (loc > high) if finite[1] else no
    place = jnp.where(below, low, jnp.where(above, high, loc))
    zero = jnp.zeros_like(place)
    slope = jnp.where(below | above, (place - loc) / scale, zero)
    width = (high - low) / scale if all(finite) else zero
    down, up = ((e - loc) / scale if f else zero for e, f in zip((low, high), finite, strict=True))
    side = jnp.where(below, -jnp.ones_like(place), jnp.where(above, jnp.ones_like(place), zero))
    return Window(
        place,
        slope,
        jnp.where(below, zero, jnp.where(above, -width, down)),
        jnp.where(above, zero, jnp.where(below, width, up)),
        side,
    )


def fall(seen: Window, distance: Array) -> Array:
    """Logarithm of the density at a distance from the place, relative to that there."""
    return -distance * (0.5 * distance + seen.slope)


def log_integral(seen: Window, finite: tuple[bool, bool]) -> Array:
    """Logarithm of the integral of the relative density over the interval."""
    inside = seen.side == 0
    if not any(finite):
        return 0.5 * seen.slope**2 + 0.5 * float(np.log(2 * np.pi))
    one = jnp.ones_like(seen.slope)
    # From an end: what lies beyond it, less what lies beyond the other one.
    steep = jnp.where(inside, one, -seen.side * seen.slope)
    # From inside: two sides, of which neither is negative. Beyond ALL of the scale there is nothing,
    # whose derivatives in a far end would be 0 times infinity.
    heights = [
        jax.scipy.special.erf(
            ROOT_HALF * jnp.where(inside, jnp.minimum(side * (end + seen.slope), ALL), one)
        )
        if there
        else one
        for side, end, there in ((-1, seen.low, finite[0]), (1, seen.high, finite[1]))
    ]
    both = heights[0] + heights[1]
    if not all(finite):
        around = 0.5 * float(np.log(np.pi / 2)) + jnp.log(both) + 0.5 * seen.slope**2
        return jnp.where(inside, around, log_mills(steep))
    width = seen.high - seen.low
    curve = (jnp.abs(seen.slope) + 0.5 * width) * width
    narrow = curve < 1
    wide = jnp.where(inside | narrow, one, width)
    from_end, beyond = log_mills(jnp.stack([steep, steep + wide]))
    lost = -wide * (0.5 * wide + steep) + beyond - from_end
    from_end = from_end + jnp.log1p(-jnp.exp(jnp.where(inside | narrow, -one, lost)))
    around = 0.5 * float(np.log(np.pi / 2)) + 0.5 * seen.slope**2
    around = around + jnp.log(jnp.where(narrow, one, both))
    # Where the density is all but flat, by quadrature.
    low, high = (jnp.where(narrow, end, 0 * end) for end in (seen.low, seen.high))
    nodes, sizes = (jnp.asarray(a, low.dtype) for a in (NODES, SIZES))
    away = low[..., None] + nodes * (high - low)[..., None]
    level = jnp.sum(sizes * jnp.exp(-away * (0.5 * away + seen.slope[..., None])), -1)
    flat = jnp.log(level) + jnp.log(jnp.where(narrow, width, one))
    return jnp.where(narrow, flat, jnp.where(inside, around, from_end))
