"""The Pareto tail of importance weights: its shape k, and smoothing by it (PSIS)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from ._arguments import numbers, real
from ._compile import of_few_numbers
from ._log_sums import finite_or_zero
from ._sharding import gathered
from ._trees import is_traced

LEAST = 25  # terms that are not 0; from fewer no tail can be told
SWAMPED = (
    "the log-density is so large that its rounding alone moves the weights by more than a few per "
    "cent; subtract a constant, or use float64."
)


def swamped(log_size) -> np.ndarray:
    """Whether weights are lost in the rounding of logarithms of this size."""
    moved = np.abs(log_size) * float(jnp.finfo(log_size.dtype).eps)
    return (moved > 0.05) & (moved < np.inf)


def _fit_pareto(excess: Array, valid: Array) -> tuple[Scalar, Scalar]:
    """Shape k and scale of a generalised Pareto fitted to ascending excesses that are valid.

    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto
    distribution", with the weakly informative prior of Vehtari et al. (2024).
    """
    dtype = excess.dtype
    size = jnp.sum(valid).astype(dtype)
    num = 30 + int(math.sqrt(excess.shape[0]))
    points = 1 - jnp.sqrt(num / (jnp.arange(num, dtype=dtype) + 0.5))
    first = excess.shape[0] - jnp.sum(valid)  # the valid ones stand at the end
    quarter = jnp.floor(size / 4 + 0.5).astype(int) - 1
    quartile = jnp.take(excess, first + jnp.maximum(quarter, 0), mode="clip")
    top = excess[-1]
    theta = 1 / top + points / (3 * quartile)

    def mean_log(t):
        return jnp.sum(jnp.where(valid, jnp.log1p(-t * excess), jnp.zeros_like(excess))) / size

    ks = jax.vmap(mean_log)(theta)
    log_lik = size * (jnp.log(-theta / ks) - ks - 1)
    weights = jax.nn.softmax(jnp.where(jnp.isfinite(log_lik), log_lik, -jnp.inf))
    theta_hat = jnp.sum(jnp.where(weights > 0, weights * theta, jnp.zeros_like(theta)))
    k = mean_log(theta_hat)
    scale = -k / theta_hat
    return (k * size + 5) / (size + 10), scale


def _tail(log_weights, r_eff):
    """The largest log-weights ascending, the cut below them, and which of them are tail."""
    n = log_weights.shape[0]
    size = max(1, min(n // 5, math.ceil(3 * math.sqrt(n / r_eff))))
    top, where = jax.lax.top_k(log_weights, size + 1)
    # A barrier keeps XLA on its selection: fused with what follows it sorts all of them. One for
    # each output: around both, the compiler's partitioning over devices aborts the process.
    top, where = jax.lax.optimization_barrier(top), jax.lax.optimization_barrier(where)
    used = jnp.sum(log_weights > -jnp.inf)
    # Few terms that are not 0 have a shorter tail: a fifth of them, at least five.
    length = jnp.minimum(size, jnp.maximum(used // 5, 5))
    valid = jnp.arange(size) < length
    cut = jnp.take(top, length)
    return jnp.flip(top[:-1]), jnp.flip(where[:-1]), cut, jnp.flip(valid), used


class _Fit(NamedTuple):
    """A fitted tail: the largest weights over the largest of all, ascending, and their place."""

    peak: Scalar
    tail: Array
    where: Array
    valid: Array
    floor: Scalar
    k: Scalar
    scale: Scalar


def _fitted(log_weights: Array, r_eff: float) -> _Fit:
    peak = jax.lax.stop_gradient(jnp.max(log_weights))
    peak = finite_or_zero(peak)
    tail, where, cut, valid, used = _tail(log_weights, r_eff)
    tail, cut = tail - peak, cut - peak
    enough = (used >= LEAST) & (tail[-1] > cut)
    valid = valid & enough
    floor = jnp.where(enough, jnp.exp(cut), jnp.zeros_like(cut))
    excess = jnp.where(valid, jnp.exp(tail) - floor, jnp.ones_like(tail))
    # Ties with the cut have no excess; the fit asks for five that have one.
    valid = valid & (excess > 0)
    sure = enough & (jnp.sum(valid) >= 5)
    # Where it is not used it is of other numbers: what is undefined has no derivative beside it.
    other = jnp.arange(1, 1 + tail.shape[0], dtype=tail.dtype)
    k, scale = _fit_pareto(jnp.where(valid & sure, excess, other), valid | ~sure)
    # There the largest alone says how steep the tail is: of m tail weights it is about m^k cuts.
    # A flat top has k = 0.
    length = jnp.sum(jnp.arange(tail.shape[0]) < jnp.maximum(used // 5, 5)).astype(cut.dtype)
    steep = jnp.where(used >= LEAST, (tail[-1] - cut) / jnp.log(length), jnp.inf)
    k, valid = jnp.where(sure, k, steep), valid & sure
    return _Fit(peak, tail, where, valid, floor, k, scale)


def efficiency(r_eff) -> float:
    """Effective draws a draw, known where lengths of tails depend on it."""
    r_eff = real(0)(r_eff, "r_eff, effective draws a draw,")
    if is_traced(r_eff):
        raise TypeError("r_eff must be known, since the length of a tail, a shape, depends on it.")
    return float(r_eff)


def in_full(log_densities: Array) -> Array:
    """Log-densities of half precision in float32: they, and their sums, ask for more digits."""
    half = log_densities.dtype.itemsize < 4
    return log_densities.astype(jnp.float32) if half else log_densities


def _checked(log_weights) -> Array:
    log_weights = gathered(numbers()(log_weights, "log_weights"))
    if log_weights.ndim != 1 or not jnp.issubdtype(log_weights.dtype, jnp.floating):
        raise ValueError(
            "log_weights must be one vector of real numbers; they have shape "
            f"{log_weights.shape} and dtype {log_weights.dtype}. `jax.vmap` takes several."
        )
    refuse_symbolic(log_weights.shape[0])
    if not is_traced(log_weights) and (bad := ~(np.asarray(log_weights) < np.inf)).any():
        raise ValueError(
            f"log_weights hold {log_weights[bad.argmax()]} at place {bad.argmax()}: a log-weight is a "
            "number or -inf."
        )
    return in_full(log_weights)


def refuse_symbolic(n) -> None:
    """A sentence where a number of draws is a symbol (`jax.export`): a tail grows with its root."""
    if not isinstance(n, int):
        raise TypeError(
            f"The number of draws, {n}, must be known, since the tail of their weights is looked at. "
            "jm.importance.block_totals, log_table and log_mixtures take any number."
        )


def pareto_k(log_weights: Float[Array, " n"], *, r_eff: float = 1.0) -> Scalar:
    """Shape k of the tail of importance weights: above 0.7 the mean of them cannot be trusted.

    Weights that are all alike have k = 0, bounded ones a k of 0 or below. It cannot see a region
    that no draw reached.

    Args:
        log_weights: log-weights in nats, -inf for terms that are 0.
        r_eff: effective draws a draw, below 1 for those of a Markov chain: their tail is longer.

    Returns:
        The shape; inf where fewer than 25 terms are not 0 (too few to tell), and only there.

    Example:
        >>> import jax, jaxmix as jm
        >>> tail = -jax.random.uniform(jax.random.key(0), (1000,))  # bounded weights
        >>> bool(jm.importance.pareto_k(tail) < 0.5)
        True
    """
    log_weights, r_eff = _checked(log_weights), efficiency(r_eff)
    if log_weights.shape[0] < LEAST:
        return jnp.asarray(jnp.inf, log_weights.dtype)
    return _shape(log_weights, r_eff)


@of_few_numbers
def _shape(log_weights, r_eff: float) -> Scalar:
    return _fitted(log_weights, r_eff).k


def psis(
    log_weights: Float[Array, " n"], *, r_eff: float = 1.0
) -> tuple[Float[Array, " n"], Scalar]:
    """Smooth the largest importance weights by order statistics of a fitted Pareto tail.

    Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling",
    arXiv:1507.02646. The weights stay unnormalised, so that normalising constants survive; none
    is raised above the largest one drawn.

    Args:
        log_weights: log-weights in nats, -inf for terms that are 0.
        r_eff: effective draws a draw, as in `pareto_k`.

    Returns:
        Smoothed log-weights in the same order, and the shape k.

    Example:
        >>> import jax, jaxmix as jm
        >>> raw = 0.9 * jax.random.exponential(jax.random.key(0), (1000,))  # k = 0.9
        >>> smooth, k = jm.importance.psis(raw)
        >>> bool(abs(k - 0.9) < 0.2), smooth.shape
        (True, (1000,))
    """
    log_weights, r_eff = _checked(log_weights), efficiency(r_eff)
    if log_weights.shape[0] < LEAST:
        return log_weights, jnp.asarray(jnp.inf, log_weights.dtype)
    return _smoothed(log_weights, r_eff)


@of_few_numbers
def _smoothed(log_weights, r_eff: float) -> tuple[Array, Scalar]:
    """The tail in the order of its ranks at the quantiles of its fit, and the shape."""
    peak, tail, where, valid, floor, k, scale = _fitted(log_weights, r_eff)
    size = jnp.sum(valid)
    rank = jnp.arange(tail.shape[0]) - (tail.shape[0] - size)
    p = (rank.astype(tail.dtype) + 0.5) / size.astype(tail.dtype)
    p = jnp.where(valid, p, jnp.full_like(p, 0.5))
    flat = k == 0
    safe = jnp.where(flat, jnp.ones_like(k), k)
    quantile = jnp.where(flat, -jnp.log1p(-p), jnp.expm1(-safe * jnp.log1p(-p)) / safe)
    smoothed = jnp.minimum(jnp.log(floor + scale * quantile), jnp.zeros_like(tail))
    usable = valid & jnp.isfinite(k) & jnp.isfinite(smoothed)
    return log_weights.at[where].set(jnp.where(usable, smoothed, tail) + peak), k
