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
