"""Fewer iterations: SQUAREM and bounded Anderson acceleration, each guarded by the objective.

Both propose the next model from the past ones; one pass over the data then judges it. A proposal
that lowers the objective is dropped, and a plain step, which cannot lower it, comes next. So an
iteration is one pass whatever is proposed, and under `vmap` nothing runs twice.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .expected import take_apart
from .maximise import Maximised, expected_gain

KINDS = (None, "squarem", "anderson")
ORDER = 10  # columns of Anderson's memory, after which it begins anew
LONGER = 4.0


class Squared(NamedTuple):
    """SQUAREM between two passes: the parameters one plain step ago, and the longest step."""

    before: Array
    is_jump: Array  # whether the next proposal (later, the last one) extrapolates
    longest: Array
    length: Array


class Mixed(NamedTuple):
    """Anderson's memory: changes of parameters and of residuals, and the longest step."""

    before: Array
    residual: Array
    moves: Array
    bends: Array
    count: Array
    longest: Array
    is_jump: Array


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


def begin(kind: str | None, model: PyTree) -> Any:
    """The memory of an acceleration before its first step."""
    check(kind)
    if kind is None:
        return None
    flat, no = _flat(model), jnp.asarray(False)
    one = jnp.ones((), flat.dtype)
    if kind == "squarem":
        return Squared(flat, no, LONGER * one, one)
    order = max(1, min(ORDER, flat.size // 2))
    columns = jnp.zeros((order, flat.size), flat.dtype)
    zero = jnp.zeros((), int)
    return Mixed(flat, jnp.zeros_like(flat), columns, columns, zero, LONGER * one, no)


def _change(new: Array, old: Array) -> Array:
    # Parameters at -inf (a weight of zero) stay there.
    change = new - old
    return jnp.where(jnp.isfinite(change), change, jnp.zeros_like(change))


def propose(memory: Any, state: Any, plain: Maximised) -> tuple[Maximised, Any]:
    """The model to try next, given the M-step's own, and the memory with what it was made of."""
    if memory is None:
        return plain, None
    here, there = _flat(state.model), _flat(plain.model)
    if isinstance(memory, Squared):
        jumped, memory = _squared(memory, here, there)
    else:
        jumped, memory = _mixed(memory, here, there)
    usable = jnp.isfinite(jumped) & jnp.isfinite(there)
    jumped = jnp.where(memory.is_jump & usable, jumped, there)
    model = _rebuilt(plain.model, jumped)
    return plain._replace(model=model, gain=_expected_gain(model, state)), memory


def _expected_gain(model: PyTree, state: Any) -> Array:
    """Q(model) - Q(state.model) under the state's statistics, as the ELBO of a jump needs it."""
    gain = jnp.zeros_like(state.penalty)
    olds = take_apart(state.model).leaves
    for new, old, stats in zip(take_apart(model).leaves, olds, state.expected.stats, strict=True):
        gain += expected_gain(new, old, stats)
    return gain


def _squared(memory: Squared, here: Array, there: Array) -> tuple[Array, Squared]:
    """With r the first change and v the change of changes: theta + 2 a r + a^2 v, a = |r| / |v|.

    The third step length of Varadhan and Roland (2008).
    """
    r = _change(here, memory.before)
    v = _change(_change(there, here), r)
    bend = jnp.vdot(v, v)
    length = jnp.sqrt(jnp.vdot(r, r) / jnp.where(bend > 0, bend, jnp.ones_like(bend)))
    length = jnp.clip(length, jnp.ones_like(length), memory.longest)
    jumped = memory.before + 2 * length * r + length**2 * v
    return jumped, memory._replace(before=here, length=length)


def _mixed(memory: Mixed, here: Array, there: Array) -> tuple[Array, Mixed]:
    """Anderson mixing, begun anew when its memory is full, its step bounded.

    The restarts and the guard are those of DAAREM (Henderson and Varadhan 2019, arXiv
    1803.06673); a jump is at most `longest` times the plain step, which grows when a jump is
    kept and shrinks when one is dropped.
    """
    order = memory.moves.shape[0]
    residual = _change(there, here)
    move, bend = _change(here, memory.before), residual - memory.residual
    # The first residual has none to be compared with, nor has one after a jump that was dropped.
    known = (memory.count > 0) & jnp.any(move != 0)
    row = jnp.where(known, (memory.count - 1) % order, order)
    fresh = row == 0
    put = lambda old, new: jnp.where(fresh, jnp.zeros_like(old), old).at[row].set(new, mode="drop")
    moves, bends = put(memory.moves, move), put(memory.bends, bend)
    q, triangle = jnp.linalg.qr(bends.T)
    u, d, vt = jnp.linalg.svd(triangle, full_matrices=False)
    c = jnp.dot(u.T, jnp.dot(q.T, residual))
    square = d**2 + jnp.sqrt(jnp.finfo(d.dtype).eps) * d[0] ** 2
    gamma = jnp.dot(vt.T, d * c / jnp.where(square > 0, square, jnp.ones_like(square)))
    step = jnp.dot(gamma, moves + bends)
    length = jnp.sqrt(jnp.vdot(step, step))
    most = memory.longest * jnp.sqrt(jnp.vdot(residual, residual))
    jumped = there - step * jnp.where(length > most, most / length, jnp.ones_like(length))
    counted = known | (memory.count == 0)
    kept = memory._replace(
        before=here,
        residual=residual,
        moves=moves,
        bends=bends,
        count=jnp.where(counted, memory.count + 1, memory.count),
        is_jump=memory.is_jump & (memory.count > 0),
    )
    return jumped, kept


def settle(memory: Any, old: Any, new: Any, entry: Any, max_steps: Any) -> tuple[Any, Any, Any]:
    """Keep the state after a pass, or go back to the one before; what the history says of it.

    A small gain ends the loop only after a plain step: a jump may gain little by chance.
    """
    if memory is None:
        return new, entry, None
    jump = memory.is_jump
    fell = jump & ~(new.gain >= 0)
    steps = old.num_steps + 1
    back = old._replace(num_steps=steps, running=steps < max_steps)
    small = jump & ~fell & ~new.running
    choose = lambda o, n: jnp.where(fell, o, n) if eqx.is_array(n) else n
    kept = jax.tree.map(choose, back, new)
    kept = kept._replace(running=jnp.where(small, steps < max_steps, kept.running))
    level = old.expected.log_likelihood.value
    same = entry._replace(
        log_likelihood=level,
        elbo=level,
        kl=jnp.zeros_like(entry.kl),
        objective=old.expected.objective.value + old.penalty,
    )
    entry = jax.tree.map(lambda o, n: jnp.where(fell, o.astype(n.dtype), n), same, entry)
    if isinstance(memory, Squared):
        full = memory.length >= memory.longest
        longest = jnp.where(jump & ~fell & full, LONGER * memory.longest, memory.longest)
        longest = jnp.where(fell, jnp.maximum(memory.longest / LONGER, 1), longest)
        return kept, entry, memory._replace(is_jump=~jump, longest=longest)
    longest = jnp.where(jump & ~fell, LONGER * memory.longest, memory.longest)
    longest = jnp.where(fell, memory.longest / LONGER**2, longest)
    return kept, entry, memory._replace(is_jump=~fell & ~small, longest=longest)
