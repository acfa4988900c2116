"""The options of a fit, checked once, whatever the data lie in."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import PyTree

from .maximise import Prior
from .solver import Solver
from .state import Limits

ASSIGNMENTS = ("soft", "hard")
STARTS = ("search", "given")
STOPPING = ("gain", "aitken")


class Options(NamedTuple):
    """What `jm.fit` was asked for, besides key, template, data and weights."""

    validation: PyTree | None
    num_restarts: int
    init: str
    assignment: str
    max_steps: int
    tol: float | None
    solver: Solver
    stopping: str
    prior: Prior | None
    floor: float
    checkpoint: Any
    progress: bool | None
    throw: bool

    @property
    def limits(self) -> Limits:
        """When the loop ends: numbers that are traced, the tolerance weakly typed."""
        bound = -float("inf") if self.tol is None else float(self.tol)
        return Limits(jnp.asarray(self.max_steps), jnp.asarray(bound), self.stopping)


def check(options: Options, key: Any) -> None:
    """Refuse options that mean nothing.

    Raises:
        ValueError: naming the option.
    """
    if options.init not in STARTS:
        raise ValueError(f'init must be "search" or "given"; it was {options.init!r}.')
    if options.init == "search" and key is None:
        raise ValueError('fit needs a key, such as jax.random.key(0), unless init="given".')
    check_assignment(options.assignment)
    check_stopping(options.stopping)
    if options.num_restarts < 1 or options.max_steps < 0:
        raise ValueError("num_restarts must be at least 1 and max_steps at least 0.")


def check_assignment(assignment: str) -> None:
    """Refuse an unknown assignment."""
    if assignment not in ASSIGNMENTS:
        raise ValueError(f'assignment must be "soft" or "hard"; it was {assignment!r}.')


def check_stopping(stopping: str) -> None:
    """Refuse an unknown stopping rule."""
    if stopping not in STOPPING:
        raise ValueError(f'stopping must be "gain" or "aitken"; it was {stopping!r}.')
