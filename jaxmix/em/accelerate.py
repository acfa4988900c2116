"""Fewer iterations: SQUAREM and limited-memory BFGS, each guarded by the objective.

Both propose the next model from the past ones; one pass over the data then judges it. A proposal
that lowers the objective is dropped, and a plain step, which cannot lower it, comes next. So an
iteration is one pass whatever is proposed, and under `vmap` nothing runs twice.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from . import quasi_newton
from .maximise import Maximised, Prior, expected_gain, log_prior
from .parts import take_apart
from .quasi_newton import Newton

KINDS = (None, "squarem", "lbfgs")
LONGER = 16.0  # SQUAREM: the first bound of a step, and what it grows and shrinks by
STEEP = (
    2e-4  # nats a datum: while a step gains more, EM is choosing among optima, and no jump is made
)


class Squared(NamedTuple):
    """SQUAREM between two passes: the parameters one plain step ago, and the longest step."""

    before: Array
    is_jump: Array  # whether the next proposal (later, the last one) extrapolates
    longest: Array
    length: Array
    predicted: Array  # gain that is left by the last extrapolation, nats a datum


def check(kind: str | None) -> None:
    """Refuse an unknown acceleration."""
    if kind not in KINDS:
        raise ValueError(f"accelerate must be one of {KINDS}; it was {kind!r}.")


def _arrays(model: PyTree) -> list[Array]:
    leaves = take_apart(model).leaves
    return [a for leaf in leaves for a in jax.tree.leaves(leaf) if eqx.is_inexact_array(a)]


def _flat(model: PyTree) -> Array:
    """The unconstrained parameters of the refittable leaves as one vector."""
    arrays = _arrays(model)
    dtype = jnp.result_type(*arrays) if arrays else jnp.result_type(float)
    return jnp.concatenate([jnp.zeros((0,), dtype), *(jnp.ravel(a).astype(dtype) for a in arrays)])


def _rebuilt(model: PyTree, flat: Array) -> PyTree:
    parts, position = take_apart(model), 0
    leaves = []
    for leaf in parts.leaves:
        arrays, structure = jax.tree.flatten(leaf)
        for i, a in enumerate(arrays):
            if eqx.is_inexact_array(a):
                arrays[i] = flat[position : position + a.size].reshape(a.shape).astype(a.dtype)
                position += a.size
        leaves.append(structure.unflatten(arrays))
    return parts.model(leaves, parts.loose)


def begin(kind: str | None, model: PyTree) -> Squared | Newton | None:
    """The memory of an acceleration before its first step."""
    check(kind)
    if kind is None:
        return None
    flat = _flat(model)
    if kind == "lbfgs":
        return quasi_newton.begin(flat)
    one = jnp.ones((), flat.dtype)
    return Squared(flat, jnp.asarray(False), LONGER * one, one, jnp.inf * one)


def _change(new: Array, old: Array) -> Array:
    # Parameters at -inf (a weight of zero) stay there.
    change = new - old
    return jnp.where(jnp.isfinite(change), change, jnp.zeros_like(change))


def propose(state: Any, plain: Maximised, prior: Prior | None) -> tuple[Maximised, Any]:
    """The model to try next, given the M-step's own, and the memory with what it was made of."""
    memory = state.memory
    if memory is None:
        return plain, None
    here, there = _flat(state.model), _flat(plain.model)
    if isinstance(memory, Newton):
        slope = _slope(state, here, prior)
        step = _change(there, here)
        jump, memory = quasi_newton.propose(memory, here, slope, step, ~(state.gain < STEEP))
        jumped = here + jump
    else:
        jumped, memory = _squared(memory, state, here, there)
    usable = memory.is_jump & jnp.isfinite(jumped) & jnp.isfinite(there)
    model = _rebuilt(plain.model, jnp.where(usable, jumped, there))
    return plain._replace(model=model, gain=_expected_gain(model, state)), memory


def _slope(state: Any, here: Array, prior: Prior | None) -> Array:
    """Gradient of the objective at a state, nats a datum: that of Q, by Fisher's identity."""

    def objective(flat):
        model = _rebuilt(state.model, flat)
        return _expected_gain(model, state) + log_prior(model, prior)

    slope = jax.grad(objective)(here) / state.expected.weight
    return jnp.where(jnp.isfinite(slope), slope, jnp.zeros_like(slope))


def _expected_gain(model: PyTree, state: Any) -> Array:
    """Q(model) - Q(state.model) under the state's statistics, as the ELBO of a jump needs it."""
    gain = jnp.zeros_like(state.penalty)
    olds = take_apart(state.model).leaves
    for new, old, stats in zip(take_apart(model).leaves, olds, state.expected.stats, strict=True):
        gain += expected_gain(new, old, stats)
    return gain


def _squared(memory: Squared, state: Any, here: Array, there: Array) -> tuple[Array, Squared]:
    """With r the first change and v the change of changes: theta + 2 a r + a^2 v, a = |r| / |v|.

    The third step length of Varadhan and Roland (2008). In the end a = 1 / (1 - c), where c is
    EM's rate, and gains fall by c^2 a step: what is left is c^2 / (1 - c^2) times the last.
    """
    r = _change(here, memory.before)
    v = _change(_change(there, here), r)
    bend = jnp.vdot(v, v)
    length = jnp.sqrt(jnp.vdot(r, r) / jnp.where(bend > 0, bend, jnp.ones_like(bend)))
    left = state.gain * (length - 1) ** 2 / jnp.maximum(2 * length - 1, 1)
    length = jnp.clip(length, jnp.ones_like(length), memory.longest)
    jumped = memory.before + 2 * length * r + length**2 * v
    predicted = jnp.where(memory.is_jump, left, memory.predicted)
    return jumped, memory._replace(before=here, length=length, predicted=predicted)


def settle(old: Any, new: Any, entry: Any, limits: Any) -> tuple[Any, Any]:
    """Keep the state after a pass, or go back to the one before; what the history says of it.

    A small gain ends the loop only after a plain step: a jump may gain little by chance.
    """
    memory = new.memory
    if memory is None:
        return new, entry
    jump = memory.is_jump
    fell = jump & ~(new.gain >= 0)
    steps = old.num_steps + 1
    more = steps < limits.max_steps
    back = old._replace(num_steps=steps, running=more)
    choose = lambda o, n: jnp.where(fell, o, n) if eqx.is_array(n) else n
    kept = jax.tree.map(choose, back._replace(memory=memory), new)
    enough = ~jump
    if limits.stopping == "aitken":
        # Where a plain step gains nothing, nothing is to come, whatever was foretold.
        foreseen = (memory.predicted < limits.tol) | (~jump & (kept.gain <= 0))
        enough = jnp.where(kept.left < limits.tol, foreseen, ~jump)
    going = jnp.where(kept.running | ~jnp.isfinite(new.gain), kept.running, more & ~enough)
    small = going & ~kept.running
    level = old.expected.log_likelihood.value
    same = entry._replace(
        log_likelihood=level,
        elbo=level,
        kl=jnp.zeros_like(entry.kl),
        objective=old.expected.objective.value + old.penalty,
    )
    entry = jax.tree.map(lambda o, n: jnp.where(fell, o.astype(n.dtype), n), same, entry)
    if isinstance(memory, Newton):
        return kept._replace(running=going, memory=quasi_newton.settle(memory, fell, small)), entry
    full = memory.length >= memory.longest
    longest = jnp.where(jump & ~fell & full, LONGER * memory.longest, memory.longest)
    longest = jnp.where(fell, jnp.maximum(memory.longest / LONGER, 1), longest)
    return kept._replace(
        running=going, memory=memory._replace(is_jump=~jump, longest=longest)
    ), entry
