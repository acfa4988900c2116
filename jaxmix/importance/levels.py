"""Weights of a pilot's draws: the optimum for all targets, and levels towards a rare event."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._compile import of_few_numbers
from .._log_sums import logsumexp

ENOUGH = 0.15  # effective share of a level's draws
ARRIVED = 0.07  # the same of those in the event itself


@of_few_numbers
def evaluate(score, events):
    return jax.lax.map(score, events, batch_size=4096)


@of_few_numbers
def log_pooled(log_proposals, counts):
    counts = counts.astype(log_proposals.dtype)
    return logsumexp(log_proposals + jnp.log(counts / jnp.sum(counts))[None, :])


@of_few_numbers
def importance_of(log_f: Array, log_p: Array, log_q: Array) -> tuple[Array, Array]:
    """Log-weights of draws for the common optimum of all targets, and their effective number."""
    joint = log_f[:, None] + log_p
    each = logsumexp(joint - log_q[:, None], 0)  # a target's value, up to the number of draws
    hit = each > -jnp.inf
    relative = jnp.where(
        hit[None, :], joint - jnp.where(hit, each, jnp.zeros_like(each))[None, :], -jnp.inf
    )
    log_w = 0.5 * logsumexp(2 * relative) - log_q
    log_w = jnp.where(jnp.isnan(log_w), -jnp.inf, log_w)
    total, squares = logsumexp(log_w), logsumexp(2 * log_w)
    some = total > -jnp.inf
    return log_w, jnp.where(some, jnp.exp(2 * total - jnp.where(some, squares, 0)), 0)


@of_few_numbers
def smoothed(scores, log_p, log_q, last_width):
    """The smallest width that leaves enough effective draws: 0 if the event itself does."""
    wrong = jnp.isnan(scores)
    finite = jnp.where(wrong | jnp.isinf(scores), jnp.zeros_like(scores), scores)
    largest = jnp.minimum(4 * jnp.max(jnp.abs(finite)), last_width)

    def log_soft(width):
        soft = jax.scipy.stats.norm.logcdf(scores / width)
        return jnp.where(wrong, -jnp.inf, soft)

    def effective(log_h):
        return importance_of(log_h, log_p, log_q)[1]

    hard = jnp.where(scores > 0, jnp.zeros_like(scores), -jnp.inf)
    need = ENOUGH * scores.shape[0]
    final = effective(hard) >= ARRIVED * scores.shape[0]

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        enough = effective(log_soft(jnp.exp(middle))) >= need
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    top = jnp.log(largest)
    _, log_width = jax.lax.fori_loop(0, 20, halve, (top - 12, top))
    width = jnp.exp(log_width)
    log_h = jnp.where(final, hard, log_soft(width))
    log_w, ess = importance_of(log_h, log_p, log_q)
    return log_h, log_w, jnp.where(final, jnp.zeros_like(width), width), ess, final
