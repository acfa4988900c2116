"""The sum over all paths of hidden states, whose gradient is EM's expected transitions.

Two loops of their own rather than the one of `filtering`: nothing is normalised that no item's
density is asked of, which takes a quarter to a half off a pass and its gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from .. import _loops
from .._numerics import logsumexp
from .._platform import product_precision
from ._halving import halved, is_short
from .filtering import is_dense, item_log_densities, level, levelled


def log_sum_over_paths(
    first: Float[Array, " k"],
    following: Float[Array, "*t k k"],
    emitted: Float[Array, "t k"],
    used: Bool[Array, " t"],
) -> Scalar:
    """Log of the sum over all paths; what comes after the length leaves it as it is."""
    if following.ndim == 3:  # transitions that change from item to item
        total = jnp.sum(item_log_densities(first, following, emitted, used))
        return jnp.where(total == -jnp.inf, -jnp.inf, total)  # and no slope
    odds, peaks = levelled(first, emitted)
    fast = halved if is_short(*odds.shape[::-1]) else _scaled
    total = _loops.cond(is_dense(following), fast, _by_logs, following, odds, used)
    return total + jnp.sum(peaks)


def _scaled(following, odds, used) -> Scalar:
    """The forward pass in probabilities that sum to 1 at each item: no logarithm in the loop."""
    likely, transition = jnp.exp(odds), jnp.exp(following)

    def scaled(new):
        sum_ = jnp.sum(new)
        scale = jnp.where(sum_ > 0, sum_, jnp.ones_like(sum_))
        return new / scale, sum_

    def step(state, part):
        likely, there = part
        new, mass = scaled(jnp.dot(state, transition, precision=product_precision(state)) * likely)
        return jnp.where(there, new, state), jnp.where(there, mass, jnp.ones_like(mass))

    state, mass = scaled(likely[0])
    # Differentiated, a step is computed again from the k numbers before it: a third less is kept.
    again = jax.checkpoint(step, prevent_cse=False)
    _, masses = _loops.scan(again, state, (likely[1:], used[1:]))
    masses = jnp.concatenate([mass[None], masses])
    # Items that no state can emit: -inf, and no slope.
    lost = masses == 0
    logs = jnp.log(jnp.where(lost, jnp.ones_like(masses), masses))
    return jnp.where(jnp.any(lost), -jnp.inf, jnp.sum(logs))


def _by_logs(following, odds, used) -> Scalar:
    """The forward pass in logarithms, each sum shifted by its own greatest term."""

    def step(alpha, part):
        odd, there = part
        new, peak = level(logsumexp(alpha[:, None] + following, axis=0) + odd)
        return jnp.where(there, new, alpha), jnp.where(there, peak, jnp.zeros_like(peak))

    # Of the k x k shares of all transitions none are kept: their sum grows in the loop backwards.
    again = jax.checkpoint(step, prevent_cse=False)
    alpha, peaks = _loops.scan(again, odds[0], (odds[1:], used[1:]))
    return logsumexp(alpha) + jnp.sum(peaks)
