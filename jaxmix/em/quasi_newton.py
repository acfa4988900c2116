"""Limited-memory BFGS in the metric of EM: the directions of `accelerate="lbfgs"`.

An EM step r(theta) = EM(theta) - theta is the gradient g of the log-likelihood in the metric of the
complete data, r = B g with B > 0 (Xu and Jordan 1996, Neural Computation 8:129). So r is the first
guess of a Newton step, and pairs (s, y) of past changes of theta and of -g correct it, as in L-BFGS
(Nocedal 1980) but with B for the initial matrix: Lange 1995, Statistica Sinica 5:1; Jamshidian and
Jennrich 1997, JRSS B 59:569. B itself is never formed: of the vectors that the recursion puts it
to, all are sums of gradients met before, whose EM steps are known.

What it saves, and how often it ends in another optimum than plain EM (a higher one more often than
a lower one): `python -m benchmarks scale_acceleration`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

ORDER = 10  # pairs kept
LONGER = 4.0  # by which the longest jump grows when it was too short, and shrinks after a fall


class Pairs(NamedTuple):
    """Rows of past changes: of parameters, of minus the gradient, and of minus the EM step.

    Rows of zeros count for nothing; the newest pair is the last row.
    """

    moved: Array
    bent: Array
    stepped: Array


class Newton(NamedTuple):
    """The memory between two passes.

    `point`, `slope` and `step` are the parameters, the gradient (nats a datum) and the EM step at
    the last state; `longest` bounds a jump in lengths of the EM step, `stretch` multiplies an EM
    step while the log-likelihood bends upwards; `predicted` is the gain that a whole Newton step
    promised, nats a datum.
    """

    pairs: Pairs
    point: Array
    slope: Array
    step: Array
    longest: Array
    stretch: Array
    predicted: Array
    is_first: Array
    is_jump: Array
    is_short: Array  # whether the bound cut the jump
    fell: Array  # whether the last jump was taken back
    rests: Array  # whether a plain step comes next


def begin(flat: Array) -> Newton:
    """The memory before the first step."""
    rows = jnp.zeros((ORDER, flat.size), flat.dtype)
    zero, one, no = jnp.zeros_like(flat), jnp.ones((), flat.dtype), jnp.asarray(False)
    return Newton(
        Pairs(rows, rows, rows), zero, zero, zero, LONGER * one, one, jnp.inf * one,
        jnp.asarray(True), no, no, no, no,
    )  # fmt: skip


def newton_step(pairs: Pairs, slope: Array, step: Array) -> Array:
    """The two-loop recursion, upwards; without pairs, the EM step itself."""
    curvature = jnp.sum(pairs.moved * pairs.bent, axis=1)
    inverse = jnp.where(curvature > 0, 1 / jnp.where(curvature > 0, curvature, 1), 0)

    def back(carry, row):
        slope, step = carry
        moved, bent, stepped, inverse = row
        share = inverse * jnp.vdot(moved, slope)
        return (slope - share * bent, step - share * stepped), share

    def forth(step, row):
        moved, bent, inverse, share = row
        return step + (share - inverse * jnp.vdot(bent, step)) * moved, None

    (_, step), shares = jax.lax.scan(back, (slope, step), (*pairs, inverse), reverse=True)
    return jax.lax.scan(forth, step, (pairs.moved, pairs.bent, inverse, shares))[0]


def propose(
    memory: Newton, here: Array, slope: Array, step: Array, early: Array
) -> tuple[Array, Newton]:
    """The change to try next, and the memory with what is known of this point."""
    known = ~memory.is_first & ~memory.fell
    moved = jnp.where(jnp.isfinite(here - memory.point), here - memory.point, jnp.zeros_like(here))
    fresh = Pairs(moved, memory.slope - slope, memory.step - step)
    eps = jnp.sqrt(jnp.finfo(here.dtype).eps)
    curvature = jnp.vdot(fresh.moved, fresh.bent)
    # Where the log-likelihood bends upwards, pairs say nothing of a maximum: longer EM steps do.
    concave = known & (curvature > eps * jnp.abs(jnp.vdot(fresh.moved, memory.slope)))
    push = lambda rows, row: jnp.concatenate([rows[1:], row[None]])
    pairs = jax.tree.map(
        lambda rows, row: jnp.where(concave, push(rows, row), jnp.zeros_like(rows)),
        memory.pairs, fresh,
    )  # fmt: skip
    stretch = jnp.where(
        concave | ~known, 1, jnp.minimum(2 * memory.stretch, LONGER * memory.longest)
    )
    jump = newton_step(pairs, slope, step)
    rise = jnp.vdot(slope, jump)
    usable = concave & (rise > 0) & jnp.all(jnp.isfinite(jump))
    jump = jnp.where(usable, jump, stretch * step)
    length, most = jnp.sqrt(jnp.vdot(jump, jump)), jnp.sqrt(jnp.vdot(step, step)) * memory.longest
    is_short = usable & (length > most)
    jump = jump * jnp.where(is_short, most / jnp.where(length > 0, length, 1), 1)
    return jump, memory._replace(
        pairs=pairs,
        point=here,
        slope=slope,
        step=step,
        stretch=stretch,
        predicted=jnp.where(usable, rise / 2, jnp.inf),
        is_first=jnp.zeros_like(memory.is_first),
        is_jump=(usable | (stretch > 1)) & ~early & ~memory.rests,
        is_short=is_short & ~early & ~memory.rests,
    )


def settle(memory: Newton, fell: Array, small: Array) -> Newton:
    """The memory after the pass that judged the jump: it fell, or it gained little."""
    longest = jnp.where(memory.is_short, LONGER * memory.longest, memory.longest)
    longest = jnp.where(fell, jnp.maximum(memory.longest / LONGER, 1), longest)
    stretch = jnp.where(fell, jnp.ones_like(memory.stretch), memory.stretch)
    return memory._replace(longest=longest, stretch=stretch, fell=fell, rests=fell | small)
