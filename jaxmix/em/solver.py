"""The contract of a solver: how the next model is proposed after a pass over the data.

A step of any fit is: an M-step of the last pass, a proposal made from it, one pass under what was
proposed, and a verdict. A proposal that lowers the objective is taken back, and a plain EM step,
which cannot lower it, comes next. So a step is one pass whatever is proposed, a solver need not
guard itself, and under `vmap` nothing runs twice.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree, Scalar


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
