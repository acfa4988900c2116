"""What a loop of EM carries from step to step, what a step adds to it, and why it stops."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from equinox import is_array
from jaxtyping import Array, PyTree

from .._numerics import Sum, difference
from .._results import RESULTS
from .expected import Expected, take_apart
from .maximise import GradientState, Prior, about_own_origins, init_gradient_state, log_prior


class History(NamedTuple):
    """Traces, one entry a step: entry t is the model after step t + 1. Totals in nats.

    - `log_likelihood`: of the data under the model (the mixture's own, after hard EM too).
    - `elbo`: under the responsibilities of the model before that step.
    - `kl`: log_likelihood - elbo, from those responsibilities to the model's own; >= 0.
    - `objective`: what the steps optimise: with a prior its log-density is added, with hard
      assignments it is the log-likelihood of the data and their assignments.
    """

    log_likelihood: Array
    elbo: Array
    kl: Array
    objective: Array


class State(NamedTuple):
    """Between two steps: a model, one pass over the data under it, and what is counted."""

    model: PyTree
    expected: Expected
    move: GradientState | None
    penalty: Array
    gain: Array  # of the objective at the last step, nats a datum
    num_steps: Array
    num_emptied: Array
    num_collapsed: Array
    running: Array


def noise_of(total: Sum, weight: Array) -> Array:
    """Rounding error of a mean log-density, were its rows' errors independent, nats a datum."""
    eps = jnp.finfo(total.high.dtype).eps
    return eps * jnp.abs(total.value) / (weight * jnp.sqrt(weight))


def begin(model: PyTree, expected: Expected, prior: Prior | None) -> State:
    """The state of a model over which one pass has been made."""
    dtype = expected.objective.high.dtype
    return State(
        model,
        expected,
        init_gradient_state(model),
        jnp.asarray(log_prior(model, prior), dtype),
        jnp.asarray(jnp.inf, dtype),
        jnp.zeros((), int),
        jnp.zeros((), int),
        jnp.zeros((), int),
        jnp.isfinite(expected.objective.value),
    )


def advance(state: State, maximised: Any, expected: Expected, prior, max_steps, tol):
    """The state after a step, from the new model and the pass over the data under it."""
    old = state.expected
    penalty = jnp.asarray(log_prior(maximised.model, prior), state.penalty.dtype)
    total_gain = difference(expected.objective, old.objective) + (penalty - state.penalty)
    gain = total_gain / expected.weight
    finite = jnp.isfinite(expected.objective.value) & jnp.isfinite(penalty)
    # Without a tolerance nothing but the number of steps (or NaN) ends the loop.
    least = jnp.where(
        tol == -jnp.inf, tol, jnp.maximum(tol, noise_of(expected.objective, expected.weight))
    )
    steps = state.num_steps + 1
    new = State(
        maximised.model,
        expected,
        maximised.state,
        penalty,
        gain,
        steps,
        maximised.num_emptied,
        maximised.num_collapsed,
        finite & (gain >= least) & (steps < max_steps),
    )
    # A step into NaN is taken back: the last finite model is the answer, with its own code.
    back = state._replace(gain=jnp.full_like(gain, jnp.nan), running=jnp.zeros_like(finite))
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o) if is_array(n) else n, new, back)
    likelihood = difference(expected.log_likelihood, old.objective)
    kl = likelihood - maximised.gain
    value = expected.log_likelihood.value
    entry = History(value, value - kl, kl, expected.objective.value + penalty)
    return kept, entry


def result_of(state: State, prior: Prior | None, tol) -> RESULTS:
    """Why a loop stopped."""
    expected = state.expected
    bad = ~jnp.isfinite(expected.objective.value) | jnp.isnan(state.gain)
    noise = noise_of(expected.objective, expected.weight)
    code = RESULTS.where(
        state.running | (state.gain >= jnp.maximum(tol, noise)) | (tol == -jnp.inf),
        RESULTS.max_steps_reached,
        RESULTS.where(
            (state.gain >= tol) & (state.gain < noise),
            RESULTS.tolerance_below_noise,
            RESULTS.successful,
        ),
    )
    collapsed = on_boundary(state.model, prior) | (state.num_collapsed > 0)
    code = RESULTS.where(collapsed, RESULTS.degenerate, code)
    return RESULTS.where(bad, RESULTS.nonfinite, code)


def on_boundary(model: PyTree, prior: Prior | None) -> Array:
    """Whether any leaf sits on its floor."""
    found = jnp.asarray(False)
    if prior is not None:
        leaves = take_apart(model).leaves
        for leaf, floor in zip(leaves, about_own_origins(leaves, prior), strict=True):
            found = found | jnp.any(leaf.on_boundary(floor))
    return found
