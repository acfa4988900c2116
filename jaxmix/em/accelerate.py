"""Fewer passes: SQUAREM and limited-memory BFGS, as solvers."""

import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

from .parts import take_apart
from .solver import PlainEM, Proposal, Solver, Verdict, finite_change

_vdot = functools.partial(jnp.vdot, precision="highest")
_dot = functools.partial(jnp.dot, precision="highest")


def solver_of(accelerate: str | Solver | None, model: Any = None) -> Solver:
    """The solver that `accelerate` means, for this model: guarded where its steps may fall.

    Raises:
        ValueError: for what means none.
    """
    may_fall = any(not leaf.ascends for leaf in take_apart(model).leaves)
    if isinstance(accelerate, Solver):
        return (
            Guarded(accelerate) if may_fall and not isinstance(accelerate, Guarded) else accelerate
        )
    known = {None: PlainEM, "squarem": Squarem, "lbfgs": LBFGS}
    if not isinstance(accelerate, str | None) or accelerate not in known:
        raise ValueError(
            'accelerate must be one of None, "squarem", "lbfgs", or a jm.em.Solver such as '
            f"jm.em.LBFGS(order=5); it was {accelerate!r}."
        )
    solver = known[accelerate]()
    return Guarded(solver) if may_fall else solver


class Damping(NamedTuple):
    """The memory of `Guarded`: the solver's own, and how much of an EM step is taken."""

    inner: Any
    factor: Array
    is_jump: Array  # whether the last proposal was the solver's own
    fell: Array  # whether the last one was such, and fell: a step of EM comes next


class Guarded(Solver):
    """A solver for M-steps that may overshoot: a step that falls is taken again, a quarter as long.

    The M-step of a generalised linear model is a Newton step, which may lower the likelihood far
    from an optimum; so `accelerate` means this wherever a model has such a part.

    - `inner`: whose proposals are tried first.
    """

    guards_plain_steps: ClassVar[bool] = True
    inner: Solver = PlainEM()

    def init(self, params):
        no = jnp.asarray(False)
        return Damping(self.inner.init(params), jnp.ones((), params.dtype), no, no)

    def propose(self, memory, point):
        proposal, inner = self.inner.propose(memory.inner, point)
        ahead = point.params + memory.factor * point.step
        is_jump, left = jnp.asarray(False), jnp.full_like(point.gain, jnp.inf)
        if proposal is not None:
            is_jump = proposal.is_jump & ~memory.fell
            ahead = jnp.where(is_jump, proposal.params, ahead)
            left = jnp.where(is_jump, proposal.left, left)
        memory = memory._replace(inner=inner, is_jump=is_jump)
        return Proposal(ahead, is_jump | (memory.factor < 1), left), memory

    def settle(self, memory, verdict):
        own = memory.is_jump
        inner = self.inner.settle(memory.inner, Verdict(own & verdict.is_jump, verdict.fell))
        longer = jnp.where(verdict.fell, 0.25 * memory.factor, jnp.minimum(1, 2 * memory.factor))
        factor = jnp.where(own, memory.factor, longer)
        return Damping(inner, factor, own, own & verdict.fell)


class Extrapolation(NamedTuple):
    """The memory of SQUAREM: the parameters one plain step ago, and the longest step."""

    before: Array
    is_jump: Array  # whether the next proposal extrapolates: every other one does
    longest: Array
    length: Array
    left: Array


class Squarem(Solver):
    """SQUAREM with the third step length of Varadhan and Roland (2008): `accelerate="squarem"`.

    With r the first change and v the change of changes, it tries theta + 2 a r + a^2 v,
    a = |r| / |v|. In the end a = 1 / (1 - c), where c is EM's rate, and gains fall by c^2 a step:
    what is left is c^2 / (1 - c^2) times the last.

    - `longer`: the first bound of a, and what it grows and shrinks by.
    """

    longer: float = 16.0

    def init(self, params):
        one = jnp.ones((), params.dtype)
        return Extrapolation(params, jnp.asarray(False), self.longer * one, one, jnp.inf * one)

    def propose(self, memory, point):
        r = finite_change(point.params, memory.before)
        v = finite_change(point.step, r)
        bend = _vdot(v, v)
        length = jnp.sqrt(_vdot(r, r) / jnp.where(bend > 0, bend, jnp.ones_like(bend)))
        left = point.gain * (length - 1) ** 2 / jnp.maximum(2 * length - 1, 1)
        length = jnp.clip(length, jnp.ones_like(length), memory.longest)
        jumped = memory.before + 2 * length * r + length**2 * v
        left = jnp.where(memory.is_jump, left, memory.left)
        memory = memory._replace(before=point.params, length=length, left=left)
        return Proposal(jumped, memory.is_jump, left), memory

    def settle(self, memory, verdict):
        full = memory.length >= memory.longest
        grows = verdict.is_jump & ~verdict.fell & full
        longest = jnp.where(grows, self.longer * memory.longest, memory.longest)
        longest = jnp.where(verdict.fell, jnp.maximum(memory.longest / self.longer, 1), longest)
        return memory._replace(is_jump=~verdict.is_jump, longest=longest)


class Pairs(NamedTuple):
    """Rows of past changes: of parameters, of minus the gradient, and of minus the EM step.

    Rows of zeros count for nothing; the newest pair is the last row.
    """

    moved: Array
    bent: Array
    stepped: Array


class Curvature(NamedTuple):
    """The memory of L-BFGS between two passes.

    `point`, `slope` and `step` are the parameters, the gradient (nats a datum) and the EM step at
    the last state; `longest` bounds a jump in lengths of the EM step, `stretch` multiplies an EM
    step while the log-likelihood bends upwards.
    """

    pairs: Pairs
    point: Array
    slope: Array
    step: Array
    longest: Array
    stretch: Array
    is_first: Array
    is_short: Array  # whether the bound cut the jump
    fell: Array  # whether the last jump was taken back


class LBFGS(Solver):
    """Limited-memory BFGS in the metric of EM: `accelerate="lbfgs"`.

    An EM step r(theta) = EM(theta) - theta is the gradient g of the log-likelihood in the metric of
    the complete data, r = B g with B > 0 (Xu and Jordan 1996, Neural Computation 8:129). So r is the
    first guess of a Newton step, and pairs (s, y) of past changes of theta and of -g correct it, as
    in L-BFGS (Nocedal 1980) but with B for the initial matrix: Lange 1995, Statistica Sinica 5:1;
    Jamshidian and Jennrich 1997, JRSS B 59:569. B itself is never formed: of the vectors that the
    recursion puts it to, all are sums of gradients met before, whose EM steps are known.

    What it saves, and how often it ends in another optimum than plain EM (a higher one more often
    than a lower one): `python -m benchmarks em.acceleration`.

    - `order`: pairs kept.
    - `longer`: by which the longest jump, in EM steps, grows when it was too short, and shrinks
      after a fall.
    - `steep`: nats a datum: while a step gains more, EM is choosing among optima, and no jump is
      made.
    """

    order: int = 20
    longer: float = 4.0
    steep: float = 2e-4

    def init(self, params):
        rows = jnp.zeros((self.order, params.size), params.dtype)
        zero, one = jnp.zeros_like(params), jnp.ones((), params.dtype)
        yes, no = jnp.asarray(True), jnp.asarray(False)
        return Curvature(
            Pairs(rows, rows, rows), zero, zero, zero, self.longer * one, one, yes, no, no
        )

    def propose(self, memory, point):
        here, slope, step = point.params, point.gradient(), point.step
        known = ~memory.is_first & ~memory.fell
        moved = finite_change(here, memory.point)
        fresh = Pairs(moved, memory.slope - slope, memory.step - step)
        eps = jnp.sqrt(jnp.finfo(here.dtype).eps)
        bend = _vdot(fresh.moved, fresh.bent)
        # Where the log-likelihood bends upwards, pairs say nothing of a maximum: longer EM steps do.
        concave = known & (bend > eps * jnp.abs(_vdot(fresh.moved, memory.slope)))
        push = lambda rows, row: jnp.concatenate([rows[1:], row[None]])
        pairs = jax.tree.map(
            lambda rows, row: jnp.where(concave, push(rows, row), jnp.zeros_like(rows)),
            memory.pairs, fresh,
        )  # fmt: skip
        stretch = jnp.where(
            concave | ~known, 1, jnp.minimum(2 * memory.stretch, self.longer * memory.longest)
        )
        jump = newton_step(pairs, slope, step)
        rise = _vdot(slope, jump)
        usable = concave & (rise > 0) & jnp.all(jnp.isfinite(jump))
        jump = jnp.where(usable, jump, stretch * step)
        length = jnp.sqrt(_vdot(jump, jump))
        most = jnp.sqrt(_vdot(step, step)) * memory.longest
        is_short = usable & (length > most)
        jump = jump * jnp.where(is_short, most / jnp.where(length > 0, length, 1), 1)
        memory = Curvature(
            pairs, here, slope, step, memory.longest, stretch, jnp.zeros_like(memory.is_first),
            is_short, memory.fell,
        )  # fmt: skip
        jumps = (usable | (stretch > 1)) & (point.gain < self.steep)
        # A whole Newton step promises half its slope along itself.
        return Proposal(here + jump, jumps, jnp.where(usable, rise / 2, jnp.inf)), memory

    def settle(self, memory, verdict):
        short = memory.is_short & verdict.is_jump
        longest = jnp.where(short, self.longer * memory.longest, memory.longest)
        longest = jnp.where(verdict.fell, jnp.maximum(memory.longest / self.longer, 1), longest)
        stretch = jnp.where(verdict.fell, jnp.ones_like(memory.stretch), memory.stretch)
        return memory._replace(longest=longest, stretch=stretch, fell=verdict.fell)


def newton_step(pairs: Pairs, slope: Array, step: Array) -> Array:
    """The two-loop recursion (Nocedal 1980), upwards, as two triangular systems.

    Without pairs, the EM step itself.
    """
    products = _dot(pairs.moved, pairs.bent.T)
    curvature = jnp.diagonal(products)
    unused = jnp.where(curvature > 0, jnp.zeros_like(curvature), jnp.ones_like(curvature))
    upper = jnp.triu(products) + jnp.diag(unused)
    shares = solve_triangular(upper, _dot(pairs.moved, slope))
    step = step - _dot(shares, pairs.stepped)
    rest = curvature * shares - _dot(pairs.bent, step)
    return step + _dot(solve_triangular(upper, rest, trans="T"), pairs.moved)
