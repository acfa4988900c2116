"""How large an expectation can be when no draw hit."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compile import of_few_numbers
from .totals import Summary

LEVEL = 0.05  # the limits hold with probability 1 - LEVEL


def hit_limits(
    counts: Array,
    w: Array,
    summary: Summary,
    log_largest: Array,
    truths: np.ndarray,
    bound: Array,
    r_eff: Array | None = None,
) -> Array:
    """Upper 95 % limits of P_j(A) for events A that no draw was in, (j, m); inf for other f.

    If no draw hit, Q_j(A) <= h_j = -log(0.05) max_k w_jk / n_k, since prod (1 - P_k(A))^n_k is
    at least 0.05 (with one proportion for all, exactly 1 - 0.05^(1/n)). P_j(A) is at most
    M h_j + P_j(p_j / q_j > M) for every M. With M the largest ratio seen, the last mass is at
    most what the draws did not see of the target. Where the target is itself a proposal k,
    M = 1 / w_jk bounds all ratios, and that last mass is 0. Of dependent draws n_k is their
    effective number.
    """
    counts = counts.astype(w.dtype) * (1 if r_eff is None else r_eff)
    total = jnp.sum(counts)
    counts = jnp.where(counts > 0, counts, jnp.ones_like(counts))
    even = jnp.max(w / counts[None, :], 1) * total
    # For pooled weights the exact binomial limit; else the first-order one, which is larger.
    exact = -jnp.expm1(jnp.log(jnp.asarray(LEVEL, w.dtype)) / total)
    first = -jnp.log(jnp.asarray(LEVEL, w.dtype)) * even / total
    hit_rate = jnp.where(even <= 1 + 1e-4, exact, first)
    largest = jnp.exp(log_largest)
    unseen = 1 - summary.mass + 1.6448536 * summary.mass_error
    seen = largest * hit_rate + jnp.clip(unseen, 0, 1)
    bound = jnp.minimum(seen, bound * hit_rate)
    bound = jax.lax.stop_gradient(jnp.minimum(bound, 1))[:, None]
    allowed = jnp.asarray(truths)[None, :] & jnp.isfinite(bound)
    shape = summary.value.shape
    return jnp.where(jnp.broadcast_to(allowed, shape), jnp.broadcast_to(bound, shape), jnp.inf)


@of_few_numbers
def limits(summary: Summary, upper: Array, unbounded) -> tuple[Array, Array]:
    """Standard errors, and 95 % upper limits."""
    nothing = summary.hits == 0
    upper = jnp.where(unbounded, jnp.inf, upper)
    limit = jnp.where(nothing, upper, summary.value + 1.6448536 * summary.std_error)
    return jnp.where(nothing, upper, summary.std_error), limit


@of_few_numbers
def log_limit(value: Array, log_value: Array, relative: Array, limit: Array, hits: Array) -> Array:
    """Logarithm of an upper limit of any size, -inf where that is not positive."""
    # (value + 1.64 error) / |value|, in units of which nothing over- or underflows.
    reach = jnp.copysign(jnp.ones_like(value), value) + 1.6448536 * relative
    positive = (hits > 0) & (reach > 0) & (log_value > -jnp.inf)
    known = log_value + jnp.log(jnp.where(positive, reach, jnp.ones_like(reach)))
    return jnp.where(positive, known, jnp.log(jnp.maximum(limit, jnp.zeros_like(limit))))
