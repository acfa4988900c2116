"""Special functions without the cancellations of their textbook forms."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

LOG_2_PI = float(np.log(2 * np.pi))
REACH = 40.0  # nats of a fall beyond which nothing is left
LARGE = 8.0  # from here on the Stirling series reach double precision of a few digits less


def unit_nodes(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's nodes on the unit interval, and their sizes."""
    nodes, sizes = np.polynomial.legendre.leggauss(number)
    return 0.5 * nodes + 0.5, 0.5 * sizes


def _raised(x):
    """What the series are taken at: x where it is large, else x + 8; and which, and a small x."""
    large = x >= LARGE
    return jnp.where(large, x, x + LARGE), large, jnp.where(large, jnp.ones_like(x), x)


# What lies between x and x + 8 is elementary: Gamma(x + 8) / Gamma(x) = x (x + 1) ... (x + 7), whose
# factors pair to u, u + 6, u + 10, u + 12 with u = x (x + 7). A compiler's own log Gamma and digamma
# take ten times as long, and so do their derivatives.
PAIRS = (6.0, 10.0, 12.0)


def _tail(y):
    y2 = y * y
    return y * (1 / 12 - y2 * (1 / 360 - y2 * (1 / 1260 - y2 * (1 / 1680 - y2 / 1188))))


def stirling(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value x log x - x - log Gamma(x), which in that form loses all digits at large x."""
    raised, large, small = _raised(x)
    log_raised = jnp.log(raised)
    series = 0.5 * (log_raised - LOG_2_PI) - _tail(1 / raised)
    factors = _between(small) * small * (small + 7)
    lower = small * (jnp.log(small) - log_raised) + LARGE - LARGE * log_raised + jnp.log(factors)
    return jnp.where(large, series, series + lower)


def _between(x):
    u = x * (x + 7)
    return functools.reduce(operator.mul, [u + pair for pair in PAIRS])


def log_factorial_gap(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value x log x - x - log x!, 0 at 0, to its own digits at every x >= 0."""
    none = x == 0
    safe = jnp.where(none, jnp.ones_like(x), x)
    return jnp.where(none, jnp.zeros_like(x), stirling(safe) - jnp.log(safe))


def log_gamma_bend(x: Float[Array, "*s"], step: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log Gamma(x + 2 step) - 2 log Gamma(x + step) + log Gamma(x), however small the step.

    By Gauss's quadrature of the second derivative.
    """
    share, sizes = (jnp.asarray(a, step.dtype) for a in unit_nodes(24))
    x, wide = x[..., None], step[..., None]
    each = share * (trigamma(x + wide * share) + trigamma(x + wide * (2 - share)))
    return step * step * jnp.sum(sizes * each, -1)


@jax.custom_jvp
def deviance(x: Float[Array, "..."], log_m: Float[Array, "..."]) -> Float[Array, "..."]:
    """x log(x / m) + m - x for x, m >= 0, m given by its logarithm: not below 0, no digits lost.

    Log-densities of large counts are made of it, where their own terms cancel (Loader 2000, "Fast
    and accurate computation of binomial probabilities").
    """
    m = jnp.exp(log_m)
    # 0 times the logarithm is 0. A selection of all by x == 0 would halve the speed of a step of EM.
    safe = jnp.where(x == 0, jnp.ones_like(x), x)
    gap = m - x
    share = gap * (1 / safe)
    near = jnp.abs(share) < 0.5
    # Near x the logarithm of m / x is as small as the gap, and so is its rounding error.
    log_ratio = jnp.where(near, jnp.log1p(share), log_m - jnp.log(safe))
    return gap - x * log_ratio


@deviance.defjvp
def _(primals, tangents):
    x, log_m = primals
    edge = (x == 0) | jnp.isneginf(log_m)
    slope = jnp.log(jnp.where(edge, jnp.ones_like(x), x)) - jnp.where(edge, 0 * x, log_m)
    move = tangents[0] * slope + tangents[1] * (jnp.exp(log_m) - x)
    return deviance(x, log_m), move


def log_minus_digamma(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The gap log x - digamma(x), positive, about 1 / (2 x) at large x."""
    raised, large, small = _raised(x)
    y = 1 / raised
    y2 = y * y
    tail = y2 * (1 / 12 - y2 * (1 / 120 - y2 * (1 / 252 - y2 * (1 / 240 - y2 / 132))))
    series = 0.5 * y + tail
    u = small * (small + 7)
    inverses = (2 * small + 7) * sum((1 / (u + pair) for pair in PAIRS), 1 / u)
    lower = jnp.log(small / (small + LARGE)) + inverses
    return jnp.where(large, series, series + lower)


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


def farther(log: Array, plain: Array, share: Array, top: Array | float) -> Array:
    """A logarithm after a step of EM, or one of scoring to a share of its inverse if that is longer.

    EM crawls where the parameter is large. It is as good as infinite at the top.
    """
    scored = -jnp.log(jnp.clip(share, 0.25, 2.0))
    step = jnp.where(plain > 0, jnp.maximum(plain, scored), jnp.minimum(plain, scored))
    return jnp.minimum(log + step, jnp.maximum(log, top))


def log_one_less_exp(log_y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithm of 1 - exp(-y) for y > 0 given by its logarithm, however small y is."""
    small = log_y < -10
    y = jnp.exp(log_y)
    safe = jnp.where(small, jnp.ones_like(y), y)
    return jnp.where(small, log_y - 0.5 * y, jnp.log(-jnp.expm1(-safe)))


def log_zeta(excess: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log zeta(1 + excess) by Euler and Maclaurin's sum, to its own digits where zeta is near 1."""
    # Where 2^-s is no number of this precision the logarithm is 0, and powers of s would overflow.
    excess = jnp.minimum(excess, 30 - float(np.log2(float(jnp.finfo(excess.dtype).tiny))))
    s, n = 1 + excess, 12.0
    tail, term = 0.5 * n**-s, s * n ** (-s - 1)
    for j, factor in enumerate((1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)):
        tail = tail + factor * term
        term = term * (s + 2 * j + 1) * (s + 2 * j + 2) / n**2
    rest = sum(float(k) ** -s for k in range(2, int(n))) + tail
    # The sum beyond n is n^-excess / excess; near the pole of zeta 1 / excess is taken out.
    far = excess > 0.5
    safe = jnp.where(far, excess, jnp.ones_like(excess))
    near = jnp.expm1(-excess * float(np.log(n))) + excess * (1 + rest)
    near = jnp.where(far, jnp.zeros_like(near), near)
    return jnp.where(far, jnp.log1p(rest + n**-safe / safe), jnp.log1p(near) - jnp.log(excess))


def log_rest(log_p: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(1 - p), p < 1 given by its logarithm, to its own digits at both ends (Maechler 2012)."""
    steep = log_p < -0.6931472
    far, near = jnp.where(steep, log_p, -1.0), jnp.where(steep, -1.0, log_p)
    return jnp.where(steep, jnp.log1p(-jnp.exp(far)), jnp.log(-jnp.expm1(near)))


def log_hazard(log_p: Float[Array, "*s"], log_rest: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(-log(1 - p)), p and 1 - p given by their logarithms, however small p is."""
    small = log_p < -15
    safe = jnp.where(small, -jnp.ones_like(log_rest), log_rest)
    return jnp.where(small, log_p, jnp.log(-safe))


def scatter_head(log_excess: Float[Array, "*s"], dim: int) -> Float[Array, "*s"]:
    """(df d / 2) (log(df / 2) - 1) - log Gamma_d(df / 2), df the excess over d - 1.

    Nothing large cancels, nor is a small excess lost beside d - 1.
    """
    excess, log_pi = jnp.exp(log_excess), float(np.log(np.pi))
    below = 0.5 * jnp.arange(dim, dtype=excess.dtype)
    each = 0.5 * excess[..., None] + below[::-1]
    log_half = jnp.log(0.5 * (excess + dim - 1))[..., None]
    terms = stirling(each) - deviance(each, log_half) + below * log_half
    return jnp.sum(terms, -1) - 0.25 * dim * (dim - 1) * log_pi
