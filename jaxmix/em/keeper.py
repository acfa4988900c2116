"""When a fit's state is written, and how a fit goes on from one."""

import math
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .checkpoint import load, save
from .options import Options
from .processes import is_first
from .state import State

SECONDS = 5.0  # between two checkpoints


class Keeper:
    """Writes a state and its trace every few seconds and at the end, and reads them again.

    Args:
        folder: where; None for nowhere.
        belongs: what the state belongs to, as JSON: another fit's is refused.
        options: of the fit. Steps and tolerance may differ from those before.
    """

    def __init__(self, folder: str | Path | None, belongs: dict[str, Any], options: Options):
        self.folder, self.belongs, self.options = folder, belongs, options
        self.last = -math.inf

    @property
    def rule(self) -> list[Any]:
        return [self.options.tol, self.options.stopping]

    def __call__(self, state: State, trace: list[Any]) -> None:
        """Write, unless it was done a moment ago."""
        if self.folder is not None and time.monotonic() - self.last >= SECONDS:
            self.write(state, trace)

    def write(self, state: State, trace: list[Any]) -> None:
        """Write now."""
        if self.folder is None or not is_first():
            return
        trace = [[np.asarray(column).tolist() for column in part] for part in trace]
        notes = {"trace": trace, "rule": self.rule, "max_steps": self.options.max_steps}
        save(self.folder, state, self.belongs, notes)
        self.last = time.monotonic()

    def resume(self, like: PyTree) -> tuple[State | None, list[Any]]:
        """The state to go on from, None where there is none, and its trace.

        What had stopped early by the same rule stays so.
        """
        saved = None if self.folder is None else load(self.folder, like, self.belongs)
        if saved is None:
            return None, []
        state, notes = saved
        early = ~state.running & (state.num_steps < notes["max_steps"])
        over = early & (notes["rule"] == self.rule)
        finite = jnp.isfinite(state.expected.objective.value)
        going = finite & (state.num_steps < self.options.max_steps) & ~over
        return state._replace(running=going), list(notes["trace"])
