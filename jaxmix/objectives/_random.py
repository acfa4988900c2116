"""Objectives with a random number of draws a datum, in one compiled step.

The uniforms of a batch are systematic: slot i of B has P(K >= k) about (B - i) / B, and a random
permutation gives slots to rows, so that every row has its law exactly. All slots but the last
have a static largest count; the last goes through a chunked loop (`_tail`).
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._closures import arrays_held, in_one_program
from .._refuse import NO_PYTREE, is_opaque
from .._sharding import gathered, on_its_mesh
from ._combine import Blocks, Combined, combine
from ._draws import Objective, attach, checked_guide, checked_rows, log_weight, stopped, surrogate
from ._rules import check_rules, coefficients
from ._tail import tail


class Layout(NamedTuple):
    """Static shapes of a batch: which slot each draw serves, and slots grouped by row length."""

    slot_of_draw: np.ndarray
    groups: tuple[tuple[int, np.ndarray, np.ndarray], ...]  # row length, slots, draw of each place
    lowest: np.ndarray
    highest: np.ndarray


class Rows(NamedTuple):
    value: Array
    samples: Array
    largest: Array


@dataclass(frozen=True)
class RandomObjective(Objective):
    """A configured objective whose number of draws is random: `count(level)` for a random level.

    Unbiased for log p(x) (up to the truncation of its law). Its gradient in the guide would be 0
    in the mean: the guide follows the importance-weighted bound over the row's own draws.
    """

    law: Any
    base_samples: int = 1
    model_gradient: str = "value"
    guide_gradient: str = "dreg"

    name = "random"
    direction = "unbiased"

    def __post_init__(self):
        if not isinstance(self.base_samples, int) or self.base_samples < 1:
            raise ValueError(
                f"base_samples is a positive whole number; it was {self.base_samples!r}."
            )
        check_rules(self.model_gradient, self.guide_gradient)

    def count(self, level):
        """Draws of a row of this level."""
        raise NotImplementedError

    def terms(self, length: int, level, dtype):
        """The terms of a row of this level, padded to this length with log-weights of -inf."""
        raise NotImplementedError

    def padded(self, count: int) -> int:
        """A row length of at least `count` that `terms` accepts; few distinct ones."""
        raise NotImplementedError

    def aligned(self, count: int) -> int:
        """As `padded`, but as near to `count` as can be: the size of a chunk of draws."""
        raise NotImplementedError

    @property
    def top(self) -> int:
        return self.law.highest(self.base_samples)

    @property
    def expected_cost(self) -> float:
        """Mean number of draws a datum."""
        raise NotImplementedError

    def __str__(self):
        return f"{self.name}, {self.law.describe(self.base_samples)}"

    def evaluate(self, key, model, guide, xs) -> Rows:
        run = lambda xs, key: in_one_program(self._evaluate, (model, guide), key, xs)
        return on_its_mesh(run, xs, key, held=arrays_held((model, guide)))

    def _evaluate(self, model, guide, key, xs) -> Rows:
        xs = gathered(xs)
        rows = checked_rows(xs)
        layout = self.layout(rows)
        k_uniform, k_order, k_draws, k_tail = jax.random.split(key, 4)
        uniform = jax.random.uniform(k_uniform)
        below = jnp.asarray(np.arange(rows)[::-1], uniform.dtype)
        survival = (below + 1 - uniform) / rows
        # A level outside its slot's bounds could only come of rounding at their edges.
        level = jnp.clip(self.law.levels(survival).astype(int), layout.lowest, layout.highest)
        order = jax.random.permutation(k_order, rows)
        last = jax.tree.map(lambda a: a[order[-1]], xs)
        q_last = checked_guide(guide, last, self.guide_gradient)
        if is_opaque(q_last):
            raise ValueError(f"guide(x) is a {type(q_last).__name__}. {NO_PYTREE}")
        value, largest = tail(self, rows, k_tail, level[-1], model, q_last, last)
        values, peaks = value[None], largest[None]
        if rows > 1:
            found = self._ragged(k_draws, model, guide, xs, layout, level, order)
            values = jnp.concatenate([found[0], values])
            peaks = jnp.concatenate([found[1], peaks])
        place = jnp.argsort(order)
        return Rows(values[place], self.count(level)[place], peaks[place])

    def layout(self, rows: int) -> Layout:
        """The static shapes for a batch of this many rows."""
        if not isinstance(rows, int):
            raise TypeError(
                f"{self.name} shares its draws out over the rows: their number must be known, and "
                f"was {rows}. An objective with a fixed number of draws takes any number of rows."
            )
        return _layout(self, rows, jnp.result_type(int))

    def row(self, log_w, level) -> tuple[Combined, Array]:
        """Value, model and path coefficients of one padded row, and which places are draws."""
        valid = jnp.arange(log_w.shape[0]) < self.count(level)
        log_w = jnp.where(valid, log_w, -jnp.inf)
        return combine(log_w, self.terms(log_w.shape[0], level, log_w.dtype)), valid

    def row_coefficients(self, log_w, level):
        """Value and largest contribution of a row, and the coefficients of its draws."""
        value, valid = self.row(log_w, level)
        log_w = jnp.where(valid, log_w, -jnp.inf)
        bound = (Blocks(log_w.shape[0]),)
        given = coefficients(log_w, value, bound, self.model_gradient, self.guide_gradient, valid)
        return value.value, value.largest, given

    def _ragged(self, key, model, guide, xs, layout, level, order):
        """All slots but the last, in one evaluation of a flat stream of draws."""
        q_rows = eqx.filter_vmap(lambda x: checked_guide(guide, x, self.guide_gradient))(xs)
        row = order[layout.slot_of_draw]
        take = lambda tree: jax.tree.map(lambda a: a[row] if eqx.is_array(a) else a, tree)
        qs, x = take(q_rows), take(xs)
        zs = eqx.filter_vmap(lambda k, q: q.sample(k))(jax.random.split(key, row.shape[0]), qs)
        still, still_q = stopped(model), stopped(qs)
        log_w = eqx.filter_vmap(lambda z, q, x: log_weight(still, q, z, x))(stopped(zs), still_q, x)
        log_w = jax.lax.stop_gradient(log_w)
        slots = layout.lowest.shape[0] - 1
        values, peaks = jnp.zeros((slots,), log_w.dtype), jnp.zeros((slots,), log_w.dtype)
        given = None
        for _, members, places in layout.groups:
            padded = log_w[np.minimum(places, row.shape[0] - 1)]
            value, largest, found = jax.vmap(self.row_coefficients)(padded, level[members])
            values, peaks = values.at[members].set(value), peaks.at[members].set(largest)
            # Places beyond a slot's own draws point past the end, and are dropped.
            into = lambda flat, a, at=places: flat.at[at].set(a, mode="drop")
            flat = jax.tree.map(lambda a: jnp.zeros_like(log_w), found) if given is None else given
            given = jax.tree.map(into, flat, found)
        carried = eqx.filter_vmap(
            lambda z, q, x, c: surrogate(model, q, z, x, c, self.guide_gradient)
        )(zs, qs, x, given)
        sums = jax.ops.segment_sum(carried, layout.slot_of_draw, slots, indices_are_sorted=True)
        return attach(values, sums), peaks


@functools.lru_cache(maxsize=64)
def _layout(objective: RandomObjective, rows: int, precision: Any) -> Layout:
    del precision  # JAX keeps how it read an array of NumPy's: with 64 bits another one is needed
    below = np.arange(rows)[::-1] / rows
    bound = lambda v: np.clip(objective.law.levels(v), 0, objective.top).astype(int)
    lowest = bound(below + 1 / rows)
    highest = np.append(bound(below[:-1]), objective.top)
    lengths = [objective.count(int(k)) for k in highest[:-1]]
    slot_of_draw = np.repeat(np.arange(rows - 1), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    total = int(starts[-1])
    padded = np.asarray([objective.padded(n) for n in lengths], int)
    groups = []
    for length in sorted(set(padded.tolist())):
        members = np.flatnonzero(padded == length)
        places = starts[members][:, None] + np.arange(length)[None, :]
        own = np.arange(length)[None, :] < np.asarray(lengths)[members][:, None]
        groups.append((length, members, np.where(own, places, total)))
    return Layout(slot_of_draw, tuple(groups), lowest, highest)
