"""Special functions without the cancellations of their textbook forms."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LOG_2_PI = float(np.log(2 * np.pi))
LARGE = 8.0  # from here on the Stirling series reach double precision of a few digits less


def _split(x):
    """Where small and where large, each replaced by a harmless value elsewhere; and which."""
    large = x >= LARGE
    return (
        jnp.where(large, jnp.ones_like(x), x),
        jnp.where(large, x, jnp.full_like(x, LARGE)),
        large,
    )


def stirling(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value x log x - x - log Gamma(x), which in that form loses all digits at large x."""
    small, large, which = _split(x)
    direct = small * jnp.log(small) - small - jax.lax.lgamma(small)
    y = 1 / large
    y2 = y * y
    tail = y * (1 / 12 - y2 * (1 / 360 - y2 * (1 / 1260 - y2 * (1 / 1680 - y2 / 1188))))
    series = 0.5 * (jnp.log(large) - LOG_2_PI) - tail
    return jnp.where(which, series, direct)


def log_factorial_gap(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value x log x - x - log x!, 0 at 0, to its own digits at every x >= 0."""
    small, large, which = _split(x)
    positive = jnp.where(small > 0, small, jnp.ones_like(small))
    direct = small * jnp.log(positive) - small - jax.lax.lgamma(small + 1)
    return jnp.where(which, stirling(large) - jnp.log(large), direct)


@jax.custom_jvp
def deviance(x: Float[Array, "..."], log_m: Float[Array, "..."]) -> Float[Array, "..."]:
    """x log(x / m) + m - x for x, m >= 0, m given by its logarithm: not below 0, no digits lost.

    Log-densities of large counts are made of it, where their own terms cancel (Loader 2000, "Fast
    and accurate computation of binomial probabilities").
    """
    m = jnp.exp(log_m)
    none = x == 0
    safe = jnp.where(none, jnp.ones_like(x), x)
    gap = m - x
    share = gap * jnp.where(none, jnp.zeros_like(x), 1 / safe)
    near = jnp.abs(share) < 0.5
    # Near x the logarithm of m / x is as small as the gap, and so is its rounding error.
    log_ratio = jnp.where(near, jnp.log1p(share), log_m - jnp.log(safe))
    return jnp.where(none, m, gap - x * log_ratio)


@deviance.defjvp
def _(primals, tangents):
    x, log_m = primals
    edge = (x == 0) | jnp.isneginf(log_m)
    slope = jnp.log(jnp.where(edge, jnp.ones_like(x), x)) - jnp.where(edge, 0 * x, log_m)
    move = tangents[0] * slope + tangents[1] * (jnp.exp(log_m) - x)
    return deviance(x, log_m), move


def log_minus_digamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The gap log x - digamma(x), positive, about 1 / (2 x) at large x."""
    small, large, which = _split(x)
    direct = jnp.log(small) - jax.lax.digamma(small)
    y = 1 / large
    y2 = y * y
    tail = y2 * (1 / 12 - y2 * (1 / 120 - y2 * (1 / 252 - y2 * (1 / 240 - y2 / 132))))
    return jnp.where(which, 0.5 * y + tail, direct)


def trigamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Second derivative of log Gamma."""
    return jax.lax.polygamma(jnp.ones_like(x), x)


def shape_of(gap: Float[Array, "..."], steps: int = 6) -> Float[Array, "..."]:
    """The x > 0 at which log x - digamma(x) = gap, for gap > 0.

    Newton on the logarithms of both sides, which are all but linear in one another, from the
    start of Minka (2002, "Estimating a Gamma distribution").
    """
    start = (3 - gap + jnp.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    log_x = jnp.log(start)
    for _ in range(steps):
        x = jnp.exp(log_x)
        value = log_minus_digamma(x)
        slope = (1 - x * trigamma(x)) / value
        log_x = log_x - (jnp.log(value) - jnp.log(gap)) / slope
    return jnp.exp(log_x)
