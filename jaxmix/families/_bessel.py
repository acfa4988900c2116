"""Ratios of modified Bessel functions and the normaliser of directions, right in float32."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _loops
from ._special import LOG_2_PI, deviance


def _raised(dtype) -> int:
    """Orders by which the recurrence starts above: the expansion's error falls, rounding grows."""
    return 12 if dtype == jnp.float32 else 32


def _expansion(n, s):
    """Of Debye's uniform expansion at order n, s = sqrt(n^2 + kappa^2): the sum less 1.

    And the share by which the logarithmic derivative falls short of s / kappa, over
    (kappa / s)^2 (Abramowitz and Stegun 1964, 9.7.7 to 9.7.11; DLMF 10.41).
    """
    t = (n / s) ** 2
    rest = (
        (3 - 5 * t) / (24 * s)
        + (81 - t * (462 - 385 * t)) / (1152 * s**2)
        + (30375 - t * (369603 - t * (765765 - 425425 * t))) / (414720 * s**3)
        + (4465125 - t * (94121676 - t * (349922430 - t * (446185740 - 185910725 * t))))
        / (39813120 * s**4)
    )
    short = (
        1 / (2 * s)
        + (216 - 840 * t) / (1152 * s**2)
        + (72900 - t * (748440 - 900900 * t)) / (414720 * s**3)
    )
    return rest, short / (1 + rest)


def _start(order, kappa):
    """I_order / I_(order - 1), and 1 less it."""
    n = order - 1
    s = jnp.hypot(n + jnp.zeros_like(kappa), kappa)
    bend = (kappa / s) * _expansion(n, s)[1]
    return kappa / (s + n) - bend, (n * n / (s + kappa) + n) / (s + n) + bend


def _recurrence(dim, kappa):
    """Ratio and gap at order dim / 2, downwards; and sum of log(2 order + kappa next ratio)."""
    raised = _raised(kappa.dtype)
    ratio, gap = _start(0.5 * dim + raised, kappa)
    total = jnp.zeros_like(kappa)
    for above in reversed(range(raised)):
        order = 0.5 * dim + above
        total = total + jnp.log(2 * order + kappa * ratio)
        c = 2 * order / kappa
        below = c + ratio
        ratio, gap = 1 / below, (c - gap) / below
    return ratio, gap, total


@jax.custom_jvp
def _ratio_and_gap(dim: Array, kappa: Array) -> tuple[Array, Array]:
    return _recurrence(dim, kappa)[:2]


@_ratio_and_gap.defjvp
def _(primals, tangents):
    dim, kappa = primals
    ratio, gap = _ratio_and_gap(dim, kappa)
    slope = gap * (1 + ratio) - (dim - 1) / kappa * ratio
    return (ratio, gap), (slope * tangents[1], -slope * tangents[1])


def mean_length(dim: int | Array, kappa: Float[Array, "*s"]) -> tuple[Array, Array]:
    """A = I_(dim/2)(kappa) / I_(dim/2 - 1)(kappa), and 1 - A to its own digits, for kappa > 0.

    A is the mean resultant length of a von Mises-Fisher density in `dim` dimensions. An order may
    be an array; nothing is differentiated in it.
    """
    return _ratio_and_gap(jnp.asarray(dim, kappa.dtype), kappa)


@jax.custom_jvp
def _log_mass(dim: Array, kappa: Array) -> Array:
    n = 0.5 * dim - 1
    high = n + _raised(kappa.dtype)
    s = jnp.hypot(high + jnp.zeros_like(kappa), kappa)
    tail = jnp.log1p(_expansion(high, s)[0])
    start = high * high / (s + kappa) - high * jnp.log(high + s) - 0.5 * (LOG_2_PI + jnp.log(s))
    total = _recurrence(dim, kappa)[2]
    # The Bessel function of order n over its own leading power, (kappa / 2)^n / Gamma(n + 1).
    return start + tail + total + n * float(np.log(2)) + jax.lax.lgamma(n + 1)


@_log_mass.defjvp
def _(primals, tangents):
    dim, kappa = primals
    gap = _ratio_and_gap(dim, kappa)[1]
    return _log_mass(dim, kappa), -gap * tangents[1]


def log_mass(dim: int | Array, kappa: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Logarithm of the mean over the sphere of exp(kappa (cos - 1)): at most 0."""
    return _log_mass(jnp.asarray(dim, kappa.dtype), kappa)


def concentration_of(
    dim: int, length: Float[Array, "*s"], gap_of_square: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """The kappa at which A is this mean resultant length; 1 - A^2 is given to its own digits.

    Newton on log(A / (1 - A)) against log kappa, whose slope is 1 at both ends and never far
    from it, from the start A (dim - A^2) / (1 - A^2) of Banerjee et al. (2005, JMLR 6).
    """
    wanted = jnp.log(length) - jnp.log(gap_of_square / (1 + length))
    start = jnp.log(length * (dim - length * length)) - jnp.log(gap_of_square)

    def newton(_, log_kappa):
        kappa = jnp.exp(log_kappa)
        ratio, gap = mean_length(dim, kappa)
        slope = (kappa * gap * (1 + ratio) - (dim - 1) * ratio) / (ratio * gap)
        slope = jnp.clip(slope, 0.4, 2.0)
        return log_kappa - (jnp.log(ratio) - jnp.log(gap) - wanted) / slope

    return jnp.exp(_loops.fori_loop(0, 6, newton, start))


def _parts(x, log_up, log_down):
    """|x|, the argument of the Bessel function, and the root of the sum of their squares."""
    size, kappa = jnp.abs(x), 2 * jnp.exp(0.5 * (log_up + log_down))
    return size, kappa, jnp.hypot(size, kappa)


def expected_counts(x, log_up, log_down):
    """Of two Poisson counts, given by the logarithms of their means, whose difference is x."""
    size, kappa, _ = _parts(x, log_up, log_down)
    least = 0.5 * kappa * mean_length(2 * size + 2, kappa)[0]
    return jnp.maximum(x, 0) + least, jnp.maximum(-x, 0) + least


@jax.custom_jvp
def log_mass_of_difference(x, log_up, log_down):
    """Log-probability that two Poisson counts differ by x (Skellam 1946)."""
    size, kappa, s = _parts(x, log_up, log_down)
    log_more, log_less = jnp.where(x < 0, log_down, log_up), jnp.where(x < 0, log_up, log_down)
    # Far out by Debye's expansion, whose exponent is two Poisson deviances; near by the recurrence.
    less = 0.5 * kappa * (kappa / (s + size))
    far = -deviance(less + size, log_more) - deviance(less, log_less)
    far = far - 0.5 * (LOG_2_PI + jnp.log(s)) + jnp.log1p(_expansion(size, s)[0])
    is_far = s > (30 if x.dtype == jnp.float32 else 100)
    n, kappa = jnp.where(is_far, 0 * size, size), jnp.where(is_far, jnp.ones_like(s), kappa)
    rise = jnp.exp(0.5 * log_up) - jnp.exp(0.5 * log_down)
    near = log_mass(2 * n + 2, kappa) + n * log_more - jax.lax.lgamma(n + 1) - rise * rise
    return jnp.where(is_far, far, near)


@log_mass_of_difference.defjvp
def _(primals, tangents):
    x, log_up, log_down = primals
    up, down = expected_counts(*primals)
    slope = (up - jnp.exp(log_up)) * tangents[1] + (down - jnp.exp(log_down)) * tangents[2]
    return log_mass_of_difference(x, log_up, log_down), slope
