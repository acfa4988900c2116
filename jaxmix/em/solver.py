"""The contract of a solver: how the next model is proposed after a pass over the data.

A step of any fit is: an M-step of the last pass, a proposal made from it, one pass under what was
proposed, and a verdict. A proposal that lowers the objective is taken back, and a plain EM step,
which cannot lower it, comes next. So a step is one pass whatever is proposed, a solver need not
guard itself, and under `vmap` nothing runs twice.

Why a loop stops is here too: too little is gained, or is still to come, or only rounding is left.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from .._refittable import Refittable
from .._results import RESULTS
from .._trees import Sum, difference, zero_sum
from .parts import parameters, take_apart
from .priors.prior import Prior, about_own_origins, floors_of

PATIENCE = 16  # steps without progress after which rounding is all that moves
MEMORY = 0.8  # of the running mean of gains, a step
MUCH, NATS = 100, 1.0  # to come, in tolerances a datum and in nats of all data, where a fit is slow


class Point(NamedTuple):
    """What a solver sees of the model that was last kept.

    - `params`: its unconstrained parameters as one vector; -inf for a weight of 0.
    - `step`: EM(params) - params, the plain EM step; 0 where either is not finite.
    - `gradient()`: of the objective in the parameters, in nats a datum, from the statistics of the
      pass (Fisher's identity): no pass of its own.
    - `gain`: of the objective by the step that led here, nats a datum; inf at the start.
    """

    params: Float[Array, " p"]
    step: Float[Array, " p"]
    gradient: Callable[[], Float[Array, " p"]]
    gain: Scalar


class Proposal(NamedTuple):
    """Parameters to try next.

    - `is_jump`: whether to try them; False makes the plain EM step.
    - `left`: the gain that is still to come after it, as far as the solver can tell, nats a datum;
      inf where it cannot. `stopping="aitken"` asks for it.
    """

    params: Float[Array, " p"]
    is_jump: Bool[Array, ""]
    left: Scalar


class Verdict(NamedTuple):
    """What came of a proposal: whether it was tried, and whether it fell and was taken back.

    After a fall, and after a jump that gained less than the tolerance, the next step is a plain
    one, whatever is proposed: it was then not tried.
    """

    is_jump: Bool[Array, ""]
    fell: Bool[Array, ""]


class Solver(eqx.Module):
    """How EM goes on from pass to pass; its fields are numbers, its memory a tree of arrays.

    `guards_plain_steps` says that plain steps too are taken back where they fall, and that what
    comes next is up to the solver: where an M-step is no maximum (see `jm.em.Guarded`).

    Example, adaptive overrelaxed EM (Salakhutdinov and Roweis 2003, ICML): steps times a factor
    that grows until one falls.

        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> class Overrelaxed(jm.em.Solver):
        ...     growth: float = 1.1
        ...
        ...     def init(self, params):
        ...         return jnp.ones((), params.dtype)
        ...
        ...     def propose(self, factor, point):
        ...         ahead = point.params + factor * point.step
        ...         return jm.em.Proposal(ahead, factor > 1, jnp.inf), factor
        ...
        ...     def settle(self, factor, verdict):
        ...         return jnp.where(verdict.fell, 1.0, self.growth * factor)
        >>> x = jnp.concatenate([jnp.linspace(-3, 1, 50), jnp.linspace(0, 4, 50)])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> start = jm.MixtureSameFamily(jnp.ones(2) / 2, parts)
        >>> plain, fast = jm.em.run(start, x), jm.em.run(start, x, accelerate=Overrelaxed(1.5))
        >>> bool(fast.num_steps < plain.num_steps)
        True
    """

    guards_plain_steps: ClassVar[bool] = False

    @abstractmethod
    def init(self, params: Float[Array, " p"]) -> PyTree:
        """The memory before the first step."""

    @abstractmethod
    def propose(self, memory: Any, point: Point) -> tuple[Proposal | None, PyTree]:
        """What to try next, None for the EM step always, and the memory with what it came from."""

    @abstractmethod
    def settle(self, memory: Any, verdict: Verdict) -> PyTree:
        """The memory after the pass that judged the proposal."""


def checked(solver: Solver, given: Any, before: PyTree, params: Array) -> Any:
    """A proposal, or None, and the memory, as a solver gave them.

    Raises:
        TypeError: for no proposal, parameters of another shape, or another memory than `init` made.
    """
    name = type(solver).__name__
    pair = type(given) is tuple and len(given) == 2
    if not (pair and isinstance(given[0], Proposal | None)):
        kinds = ", ".join(type(one).__name__ for one in (given if pair else (given,)))
        raise TypeError(
            f"{name}.propose must give a jm.em.Proposal or None, and the memory; it gave {kinds}."
        )
    proposal, memory = given
    if proposal is not None and jnp.shape(proposal.params) != params.shape:
        raise TypeError(
            f"{name}.propose must give parameters of shape {params.shape}; it gave "
            f"{jnp.shape(proposal.params)}."
        )
    had, has = jax.tree.map(jnp.shape, before), jax.tree.map(jnp.shape, memory)
    if had != has:
        raise TypeError(
            f"{name} must give back a memory of the shapes that init made, {had}; it gave {has}."
        )
    return given


class Rules(NamedTuple):
    """What a loop goes by, from its first pass to its last.

    - `solver`, `prior`: how it steps.
    - `max_steps`, `tol` (-inf for none), `stopping`: when it ends. Held against the tolerance is
      the "gain", or ("aitken") the gain to come as well; "rest" ends where a further step changes
      nothing but rounding.
    - `assignment`, `chunk_size`, `residual`: how it passes over the data, as `expect` takes them.
    """

    solver: Solver
    prior: Any  # a `Prior`, or None
    max_steps: Any  # numbers, or arrays of none
    tol: Any
    stopping: str = "gain"
    assignment: str = "soft"
    chunk_size: int | None = None
    residual: bool = False


class PlainEM(Solver):
    """The EM step itself (Dempster, Laird and Rubin 1977): `accelerate=None`."""

    def init(self, params):
        return None

    def propose(self, memory, point):
        return None, None

    def settle(self, memory, verdict):
        return None


def finite_change(new: Array, old: Array) -> Array:
    """new - old, and 0 where either is infinite: parameters at -inf stay there."""
    change = new - old
    return jnp.where(jnp.isfinite(change), change, jnp.zeros_like(change))


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


def is_slow(state: Any, noise: Array, rules: Rules) -> Array:
    """Whether small gains are so nearly constant that much is still to come, or even grow.

    Their rate is that of the geometric sequence whose running mean stands to its last term as here,
    less what rounding may feign.
    """
    if rules.stopping != "gain":
        return jnp.asarray(False)
    gain = state.gain
    share = (1 - MEMORY) * gain / state.trend
    rate = MEMORY / jnp.maximum(1 - share, 0) - noise / gain
    rest = jnp.where(rate < 1, gain * rate / (1 - rate), jnp.inf)
    return (gain > 0) & (rest > MUCH * rules.tol) & (rest * state.expected.rows > NATS)


def ends(left: Array, gain: Array, noise: Array, rules: Rules) -> Array:
    """Whether too little is left, or gains can no longer be told from rounding."""
    if rules.stopping == "rest":
        return jnp.asarray(False)
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
        state.running | ~ends(state.left, state.gain, noise, rules),
        RESULTS.max_steps_reached,
        RESULTS.where(met, RESULTS.successful, RESULTS.tolerance_below_noise),
    )
    code = RESULTS.where(
        (code == RESULTS.successful) & is_slow(state, noise, rules), RESULTS.slow, code
    )
    drifts = at_limit(state.model, expected.stats, rules.prior)
    code = RESULTS.where((code != RESULTS.max_steps_reached) & drifts, RESULTS.drifting, code)
    collapsed = on_boundary(state.model, rules.prior) | (state.num_collapsed > 0)
    code = RESULTS.where(collapsed, RESULTS.degenerate, code)
    return RESULTS.where(bad, RESULTS.nonfinite, code)


def at_limit(model: PyTree, stats: list[Any] | None = None, prior: Prior | None = None) -> Array:
    """Whether any leaf's parameters have run to where its family is a simpler one."""
    leaves = take_apart(model).leaves
    limited = [i for i, leaf in enumerate(leaves) if type(leaf).limits is not Refittable.limits]
    found = jnp.asarray(False)
    if not limited:
        return found
    if stats is not None and prior is not None:
        stats = jax.tree.map(jnp.add, stats, about_own_origins(leaves, prior))
    for i in limited:
        for ran in leaves[i].limits(None if stats is None else stats[i]).values():
            found = found | jnp.any(ran)
    return found


def on_boundary(model: PyTree, prior: Prior | None) -> Array:
    """Whether any leaf sits on its floor."""
    found = jnp.asarray(False)
    if prior is not None:
        leaves = take_apart(model).leaves
        for leaf, floor in zip(leaves, floors_of(prior), strict=False):
            found = found | jnp.any(leaf.on_boundary(floor))
    return found
