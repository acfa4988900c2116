"""What a loop of EM carries from step to step, what a step adds to it, and why it stops."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._trees import difference, one_row, zero_sum
from ..combinators._buckets import Buckets
from .expected import Expected
from .m_step import GradientState, Maximised, expected_gain, gradient_state, maximise
from .parts import asking_of, parameters, take_apart
from .priors.prior import log_prior
from .sharded import opened
from .solver import (
    Nearness,
    PlainEM,
    Point,
    Proposal,
    Rules,
    Solver,
    Verdict,
    checked,
    ends,
    far,
    finite_change,
    followed,
    nearness,
    noise_of,
    to_come,
)


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
    """Between two steps: a model, one pass over the data under it, and what is counted.

    Before the first pass `num_steps` is -1, and the pass is of zeros.
    """

    model: PyTree
    expected: Expected
    move: GradientState | None
    memory: Any  # of the solver
    nearness: Nearness | None
    plain_next: Array  # whether the next step is a plain one
    penalty: Array
    gain: Array  # of the objective at the last step, nats a datum
    left: Array  # what the stopping rule holds against the tolerance: the gain, or what is to come
    trend: Array  # a running mean of gains; infinite where a solver jumps
    num_steps: Array
    num_emptied: Array
    num_collapsed: Array
    running: Array


class Trial(NamedTuple):
    """A model to make a pass under, and how it was come by."""

    maximised: Maximised
    memory: Any
    proposal: Proposal | None  # None where a solver makes plain steps alone
    nearness: Nearness | None


def begin(
    model: PyTree, data: PyTree, weights: Any, solver: Solver, stopping: str = "gain"
) -> State:
    """The state before the first pass over data and weights of these shapes."""
    expected = _unseen(model, data, weights)
    dtype = expected.objective.high.dtype
    zero, infinite, none = jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype), jnp.zeros((), int)
    near = far(parameters(model)[0], zero) if stopping == "rest" else None
    move, memory = gradient_state(take_apart(model).loose), solver.init(_steered(model)[0])
    return State(
        model, expected, move, memory, nearness=near, plain_next=jnp.asarray(False), penalty=zero,
        gain=infinite, left=infinite, trend=infinite, num_steps=none - 1, num_emptied=none,
        num_collapsed=none, running=jnp.asarray(True),
    )  # fmt: skip


def _unseen(model: PyTree, data: PyTree, weights: Any) -> Expected:
    """A pass over no row."""
    if isinstance(data, Buckets):
        data, weights = data.parts[0], data.weights[0]
    data, _ = opened(data)
    dtype = asking_of(model, one_row(data)).dtype
    weight = dtype if weights is None else jax.eval_shape(jnp.sum, weights).dtype
    parts, total = take_apart(model), zero_sum(jnp.zeros((), dtype))
    return Expected(
        total,
        total,
        jnp.ones((), weight),  # what divides by it must not see 0
        jnp.ones((), weight),
        [leaf.zero_stats() for leaf in parts.leaves],
        [jnp.zeros_like(array) for array in parts.loose],
    )


# The parameters that a solver steers: arrays without statistics keep a step of their own.
_steered = functools.partial(parameters, loose=False)


def select(which: Array, one: PyTree, other: PyTree) -> PyTree:
    """One tree or the other, of one structure."""
    choose = lambda a, b: jnp.where(which, a, b) if eqx.is_array(b) else b
    return jax.tree.map(choose, one, other)


def propose(state: State, data: PyTree, weights: Array | None, rules: Rules) -> Trial:
    """The next model to make a pass under: before the first pass, the start itself."""
    solver, prior = rules.solver, rules.prior
    plain = maximise(state.model, state.expected, data, weights, prior, state.move)
    none = jnp.zeros((), int)
    first = state.num_steps < 0
    itself = Maximised(state.model, state.move, jnp.zeros_like(plain.gain), none, none)
    plain = select(first, itself, plain)
    near = None if state.nearness is None else nearness(state, plain)
    if isinstance(solver, PlainEM):  # a smaller trace
        return Trial(plain, None, None, near)
    (here, build), (there, rebuild) = _steered(state.model), _steered(plain.model)

    def gradient():
        """By Fisher's identity, that of Q."""
        objective = lambda flat: _rise(build(flat), state) + log_prior(build(flat), prior)
        slope = jax.grad(objective)(here) / state.expected.weight
        return jnp.where(jnp.isfinite(slope), slope, jnp.zeros_like(slope))

    point = Point(here, finite_change(there, here), gradient, state.gain)
    found = solver.propose(state.memory, point)
    proposal, memory = checked(solver, found, state.memory, here)
    if proposal is None:
        return Trial(plain, memory, None, near)
    proposal = proposal._replace(is_jump=proposal.is_jump & ~state.plain_next & ~first)
    usable = proposal.is_jump & jnp.isfinite(proposal.params) & jnp.isfinite(there)
    model = rebuild(jnp.where(usable, proposal.params, there))
    return Trial(plain._replace(model=model, gain=_rise(model, state)), memory, proposal, near)


def _rise(model: PyTree, state: State) -> Array:
    """Q(model) - Q(state.model) under the state's statistics, as the ELBO of a jump needs it."""
    gain = jnp.zeros_like(state.penalty)
    olds = take_apart(state.model).leaves
    for new, old, stats in zip(take_apart(model).leaves, olds, state.expected.stats, strict=True):
        gain += expected_gain(new, old, stats)
    return gain


def judge(state: State, trial: Trial, expected: Expected, rules: Rules) -> tuple[State, History]:
    """The state after a step, from the model proposed and the pass over the data under it.

    A step into NaN is taken back: the last finite model is the answer, with its own code. So is a
    jump that fell. The verdict on a start is that it is where the fit is.
    """
    old, jump, first = state.expected, trial.proposal, state.num_steps < 0
    penalty = jnp.asarray(log_prior(trial.maximised.model, rules.prior), state.penalty.dtype)
    gain = difference(expected.objective, old.objective) + (penalty - state.penalty)
    gain = jnp.where(first, jnp.inf, gain / expected.weight)
    left = gain
    if jump is None and rules.stopping == "aitken":
        left = jnp.where(first, gain, jnp.maximum(gain, to_come(gain, state.gain)))
    # A start may lie where the prior has no density (a rate of 0): a step leads away from it.
    is_density = jnp.isfinite(penalty) | (first & jnp.isneginf(penalty))
    finite = jnp.isfinite(expected.objective.value) & is_density
    steps = state.num_steps + 1
    more = steps < rules.max_steps
    new = State(
        model=trial.maximised.model,
        expected=expected,
        move=trial.maximised.state,
        memory=trial.memory,
        nearness=trial.nearness,
        plain_next=jnp.asarray(False),
        penalty=penalty,
        gain=gain,
        left=left,
        trend=followed(state.trend, gain) if jump is None else state.trend,
        num_steps=steps,
        num_emptied=trial.maximised.num_emptied,
        num_collapsed=trial.maximised.num_collapsed,
        running=finite & more & ~ends(left, gain, noise_of(expected), rules),
    )
    broken = jnp.full_like(gain, jnp.nan)
    back = state._replace(gain=broken, memory=trial.memory, running=jnp.zeros_like(finite))
    kept = select(finite | first, new, back)
    rise = difference(expected.log_likelihood, old.objective)
    kl = rise - trial.maximised.gain
    value = expected.log_likelihood.value
    entry = History(value, value - kl, kl, expected.objective.value + penalty)
    if jump is not None:
        kept, entry = _settled(state, kept, entry, jump, rules, first)
    if trial.nearness is not None:
        # What is known of the step from here ends the loop here, not where the step led.
        kept = select(trial.nearness.is_over | (~first & ~more), state, kept)
        kept = kept._replace(
            nearness=trial.nearness, running=kept.running & more & ~trial.nearness.is_over
        )
    return kept, entry


def _settled(
    old: State, new: State, entry: History, jump: Proposal, rules: Rules, first: Array
) -> tuple[State, History]:
    """Keep the state after a pass, or go back to the one before; what the history says of it.

    - A jump that rose is kept, as a plain step is.
    - A jump that fell is taken back: the state before it, one step older, goes on by a plain step,
      and the history repeats its entry. Where the solver guards them, so is a plain step that fell.
    - A gain below the tolerance ends the loop after a plain step. After a jump, which may gain little
      by chance, a plain step comes first, and its gain decides.
    """
    is_jump, at_rest = jump.is_jump, rules.stopping == "rest"
    # Near rest gains are rounding, which condemns no jump.
    total = old.expected.objective
    blur = 4 * jnp.finfo(total.high.dtype).eps * jnp.abs(total.value) / old.expected.weight
    guards = rules.solver.guards_plain_steps
    fell = (is_jump | guards) & ~(new.gain >= (-blur if at_rest or guards else 0))
    steps = old.num_steps + 1
    more = steps < rules.max_steps
    back = old._replace(num_steps=steps, running=more, memory=new.memory)
    kept = select(fell, back, new)
    enough = ~is_jump
    if rules.stopping == "aitken":
        # Where a plain step gains nothing, nothing is to come, whatever was foretold.
        foreseen = (jump.left < rules.tol) | (~is_jump & (kept.gain <= 0))
        enough = jnp.where(kept.left < rules.tol, foreseen, ~is_jump)
    # `kept.running` is False where the gain was too small: that is overruled after a jump (unless
    # no more steps are left, or the pass was not finite, which ends the loop whatever led to it).
    going = jnp.where(kept.running | ~jnp.isfinite(new.gain), kept.running, more & ~enough)
    small = going & ~kept.running  # so overruled: a plain step is next
    level = old.expected.log_likelihood.value
    same = entry._replace(
        log_likelihood=level,
        elbo=level,
        kl=jnp.zeros_like(entry.kl),
        objective=old.expected.objective.value + old.penalty,
    )
    same = jax.tree.map(lambda a, b: a.astype(b.dtype), same, entry)
    memory = rules.solver.settle(new.memory, Verdict(is_jump, fell))
    memory = checked(rules.solver, (None, memory), old.memory, jump.params)[1]
    memory = select(first, old.memory, memory)
    plain_next = small if guards else fell | small
    kept = kept._replace(running=going, memory=memory, plain_next=plain_next)
    return kept, select(fell, same, entry)
