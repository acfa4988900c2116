"""Why a loop of EM stops: too little is gained, or is still to come, or only rounding is left."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._results import RESULTS
from .._trees import Sum, difference, zero_sum
from .accelerate import finite_change
from .parts import parameters, take_apart
from .priors.prior import Prior, floors_of
from .solver import Rules

PATIENCE = 16  # steps without progress after which rounding is all that moves
MEMORY = 0.8  # of the running mean of gains, a step
MUCH, NATS = 100, 1.0  # to come, in tolerances a datum and in nats of all data, where a fit is slow


class Nearness(NamedTuple):
    """How near a fit is to rest, where only a step that changes nothing ends it."""

    change: Array  # of the parameters by the EM step from here; 0 where not finite
    scale: Array  # its largest so far, a parameter: steps are measured in it
    best: Array  # the smallest step and the highest objective so far
    top: Sum
    top_penalty: Array
    since: Array  # passes since either was bettered
    is_over: Array  # whether here is where it ends


def far(params: Array, level: Array) -> Nearness:
    """Before the first pass: nothing is known."""
    still, most = jnp.zeros_like(params), jnp.full((), jnp.inf, params.dtype)
    none = jnp.zeros((), int)
    return Nearness(still, still, most, zero_sum(level), level, none, jnp.asarray(False))


def nearness(state: Any, plain: Any) -> Nearness:
    """How near the state is to rest, once the EM step from it is known."""
    before, total = state.nearness, state.expected.objective
    here, there = parameters(state.model)[0], parameters(plain.model)[0]
    change = finite_change(there, here)
    scale = jnp.maximum(before.scale, jnp.abs(change))
    relative = jnp.where(scale > 0, jnp.abs(change) / jnp.where(scale > 0, scale, 1), 0)
    size = jnp.max(relative, initial=0.0)
    gain = difference(total, before.top) + (state.penalty - before.top_penalty)
    eps = jnp.finfo(here.dtype).eps
    seen = state.num_steps >= 0
    higher = seen & ((gain > eps * jnp.abs(total.value)) | (state.num_steps == 0))
    inside = jnp.where(jnp.isfinite(here), jnp.abs(here), 0)
    # Steps as small as this are mostly rounding, and get smaller by chance: only halves count.
    tiny = jnp.all(jnp.abs(change) <= 64 * eps * jnp.maximum(1, inside))
    smaller = seen & (size < jnp.where(tiny, before.best / 2, before.best))
    since = jnp.where(higher | smaller | ~seen, 0, before.since + 1)
    still = jnp.all(jnp.abs(change) <= 2 * eps * inside)
    still = still & ~jnp.any(jnp.isinf(there) & jnp.isfinite(here))
    return Nearness(
        jnp.where(seen, change, before.change),
        jnp.where(seen, scale, before.scale),
        jnp.where(smaller, size, before.best),
        Sum(*(jnp.where(higher, *pair) for pair in zip(total, before.top, strict=True))),
        jnp.where(higher, state.penalty, before.top_penalty),
        since,
        seen & (still | (since >= jnp.where(tiny, PATIENCE // 2, PATIENCE))),
    )


def noise_of(expected: Any) -> Array:
    """Rounding error of a mean log-density, were its rows' errors independent, nats a datum."""
    total = expected.objective
    eps = jnp.finfo(total.high.dtype).eps
    return eps * jnp.abs(total.value) / (expected.weight * jnp.sqrt(jnp.maximum(expected.rows, 1)))


def to_come(gain: Array, before: Array) -> Array:
    """Gains still to come if they go on falling geometrically: gain a / (1 - a), a = gain / before.

    Aitken's extrapolation (Böhning et al. 1994, Ann. Inst. Stat. Math. 46:373). Infinite where
    gains grow: the fit is leaving a plateau.
    """
    rate = jnp.where(before > 0, gain / jnp.where(before > 0, before, 1), jnp.inf)
    falls = (rate < 1) & (before < jnp.inf)
    rest = gain * rate / jnp.where(falls, 1 - rate, 1)
    return jnp.where(gain <= 0, gain, jnp.where(falls, rest, jnp.inf))


def followed(trend: Array, gain: Array) -> Array:
    """The running mean of gains a step further, at most twice the last: large ones are forgotten."""
    mean = jnp.minimum(MEMORY * trend + (1 - MEMORY) * gain, 2 * gain)
    return jnp.where(gain > 0, mean, jnp.inf)


def is_slow(state: Any, rules: Rules) -> Array:
    """Whether small gains are so nearly constant that much is still to come, or even grow.

    Their rate is that of the geometric sequence whose running mean stands to its last term as here,
    less what rounding may feign.
    """
    if rules.stopping != "gain":
        return jnp.asarray(False)
    gain, expected = state.gain, state.expected
    share = (1 - MEMORY) * gain / state.trend
    rate = MEMORY / jnp.maximum(1 - share, 0) - noise_of(expected) / gain
    rest = jnp.where(rate < 1, gain * rate / (1 - rate), jnp.inf)
    return (gain > 0) & (rest > MUCH * rules.tol) & (rest * expected.rows > NATS)


def ends(left, gain, expected, rules: Rules) -> Array:
    """Whether too little is left, or gains can no longer be told from rounding."""
    if rules.stopping == "rest":
        return jnp.asarray(False)
    noise = noise_of(expected)
    # Without a tolerance nothing but the number of steps (or NaN) ends the loop.
    return (rules.tol > -jnp.inf) & ((left < rules.tol) | (gain < noise))


def result_of(state: Any, rules: Rules) -> RESULTS:
    """Why a loop stopped."""
    expected = state.expected
    bad = ~jnp.isfinite(expected.objective.value) | jnp.isnan(state.gain)
    # Where gains have ended in rounding, a tolerance below it has not been met.
    noise = noise_of(expected)
    met = (state.left < rules.tol) & ((state.left > 0) | (rules.tol >= noise))
    code = RESULTS.where(
        state.running | ~ends(state.left, state.gain, expected, rules),
        RESULTS.max_steps_reached,
        RESULTS.where(met, RESULTS.successful, RESULTS.tolerance_below_noise),
    )
    code = RESULTS.where((code == RESULTS.successful) & is_slow(state, rules), RESULTS.slow, code)
    code = RESULTS.where(
        (code != RESULTS.max_steps_reached) & at_limit(state.model), RESULTS.drifting, code
    )
    collapsed = on_boundary(state.model, rules.prior) | (state.num_collapsed > 0)
    code = RESULTS.where(collapsed, RESULTS.degenerate, code)
    return RESULTS.where(bad, RESULTS.nonfinite, code)


def at_limit(model: PyTree) -> Array:
    """Whether any leaf's parameters have run to where its family is a simpler one."""
    leaves = take_apart(model).leaves
    found = [jnp.any(leaf.at_limit()) for leaf in leaves if leaf.drifts]
    return functools.reduce(jnp.logical_or, found, jnp.asarray(False))


def on_boundary(model: PyTree, prior: Prior | None) -> Array:
    """Whether any leaf sits on its floor."""
    found = jnp.asarray(False)
    if prior is not None:
        leaves = take_apart(model).leaves
        for leaf, floor in zip(leaves, floors_of(prior), strict=False):
            found = found | jnp.any(leaf.on_boundary(floor))
    return found
