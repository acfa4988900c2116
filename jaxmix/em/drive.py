"""The host's loop over a stack of fits: rounds of steps, checkpoints, the bar, and interrupts."""

from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import restarts
from .buckets import bucketed
from .chunks import densities, num_rows, rows_of_chunk, width
from .keeper import Keeper
from .options import Options
from .progress import Progress
from .restarts import GOES, Searched, take
from .run import loop
from .sharded import layout_of, over_rows
from .solution import names
from .state import History, Limits, begin, result_of


@eqx.filter_jit
def _begin(models, data, weights, solver):
    return jax.vmap(lambda m: begin(m, data, weights, solver))(models)


@eqx.filter_jit
def _advance(states, lanes, data, weights, prior, solver, limits, block, assignment, chunk, layout):
    """Some lanes, by their positions, at most `block` steps on; a position past the last is none."""

    def all_of(data, weights, states, prior, lanes, numbers):
        end = limits._replace(max_steps=numbers[0], tol=numbers[1])
        one = lambda state: loop(
            state, data, weights, prior, solver, end,
            block=block, assignment=assignment, chunk_size=chunk,
        )  # fmt: skip
        some = jax.tree.map(lambda a: a.at[lanes].get(mode="clip"), states)
        there = lanes < states.running.shape[0]
        some, history = _over_lanes(one, some._replace(running=some.running & there))
        states = jax.tree.map(lambda a, b: a.at[lanes].set(b, mode="drop"), states, some)
        return states, history, jax.vmap(lambda s: result_of(s, prior, end))(states)

    numbers = (limits.max_steps, limits.tol)
    return over_rows(all_of, layout, data, weights, states, prior, lanes, numbers)


def _over_lanes(one, states):
    """`vmap` over lanes; of a single one no axis of size 1, which slows XLA's passes tenfold."""
    if states.running.shape[0] > 1:
        return jax.vmap(one)(states)
    return jax.tree.map(lambda a: a[None], one(jax.tree.map(lambda a: a[0], states)))


class Rounds(NamedTuple):
    """What every phase of a fit to arrays in memory has in common.

    `belongs` is what a checkpoint must belong to; None where none is kept.
    """

    template: PyTree
    options: Options
    bar: Progress
    belongs: dict[str, Any] | None

    def run(
        self, models, data, weights, prior, limits: Limits, phase="fit", most=1, used=None
    ) -> Searched:
        """Rounds of steps from some models until every one has stopped, or can't win.

        Models past the first `used` fill a stack whose size is to compile nothing anew.
        """
        many, rows = jax.tree.leaves(models)[0].shape[0], num_rows(data)
        each = densities(self.template)
        wide = restarts.lanes_wide(rows, each, many)
        block = restarts.round_steps(rows * each * many)
        chunk, layout = rows_of_chunk(self.template, data, wide), layout_of(data)
        if layout is None:
            data, weights = bucketed(data, weights, width(self.template) * wide)
        first = (models, data, weights, self.options.solver)
        keep = self._keeper(phase, limits)
        states, history = (
            keep.resume(eqx.filter_eval_shape(_begin, *first)) if self.belongs else (None, [])
        )
        if states is None:
            states = _begin(*first)
        history = [History(*map(jnp.asarray, part)) for part in history]
        lanes = np.full((1, wide), many)  # of no lane: what stands before the first round
        steps = int(limits.max_steps)
        result: Any = None
        ahead = block
        while True:
            parts = []
            for group in lanes:
                states, part, result = _advance(
                    states, group, data, weights, prior, self.options.solver, limits, ahead,
                    self.options.assignment, chunk, layout,
                )  # fmt: skip
                parts.append(jax.tree.map(np.asarray, part))
            joined = restarts.round_history(lanes, parts, many)
            history += [] if joined is None else [joined]
            codes = names(result)
            keep(states, history)
            self.bar.show(states)
            now = restarts.standing(states, history, codes, steps, used)
            # Looks come after the same steps, wherever a fit was stopped and goes on.
            since = int(now.num_steps[now.running].max(initial=0)) % block
            judged = self.options.validation is None and not since
            fates = restarts.verdicts(now, most) if judged else np.full(many, GOES)
            going = np.flatnonzero(now.running & (fates == GOES))
            if self.bar.interrupted or not len(going):
                break
            lanes, ahead = restarts.groups(going, wide, many), block - since
        keep.write(states, history)
        if used is not None:
            states, history = take((states, history), slice(used))
            codes, fates = codes[:used], fates[:used]
        return Searched(states, history, codes, fates, np.arange(len(codes)))

    def _keeper(self, phase: str, limits: Limits) -> Keeper:
        """One for each phase of a fit, in a folder of its own."""
        where = self.options.checkpoint
        folder = None if where is None else Path(where) / phase
        options = self.options._replace(max_steps=int(limits.max_steps))
        return Keeper(folder, self.belongs or {}, options)
