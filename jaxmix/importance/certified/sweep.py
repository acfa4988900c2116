"""Passes over the draws that hit: sums over them for every vertex, block by block."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..._trees import num_rows
from ..values import flatten_values
from .betting import limits
from .coordinates import Coordinates
from .support import Box, holds

BLOCK = 1 << 15  # rows handed over at a time
CHUNK = 128  # rows summed without a carry: their rounding is paid for
UNITS = 8  # roundings of a log-weight, each of the size of its largest term


@eqx.filter_jit
def _look(coordinates, f, seen, boxes, events):
    """Values of f, rows of statistics, and whether each event is in the declared support."""

    def one(event):
        mask = None if seen is None else seen(event)
        return f(event), coordinates.features(event, mask), holds(boxes, event)

    return jax.vmap(one)(events)


def blocks_of(events: PyTree, size: int = BLOCK):
    """Blocks of one size, the last one filled up with its first row; and how many rows count."""
    total = num_rows(events)
    for start in range(0, total, size):
        rows = min(size, total - start)
        block = jax.tree.map(lambda a, s=start, r=rows: a[s : s + r], events)
        if rows < size and total > size:
            fill = lambda a, r=rows: jnp.concatenate(
                [a, jnp.broadcast_to(a[:1], (size - r, *a.shape[1:]))]
            )
            block = jax.tree.map(fill, block)
        yield start, rows, block


class Hits:
    """The draws at which f is not 0: values (h, m), rows of statistics, their places.

    And whether they lie inside the declared support.
    """

    def __init__(
        self,
        f: Callable,
        coordinates: Coordinates,
        events: PyTree,
        *,
        boxes: list[Box | None] | None = None,
        seen: Callable | None = None,
        unit: bool = True,
        show: Callable = lambda done, of: None,
    ):
        self.count = num_rows(events)
        found, like = [], None
        for start, rows, block in blocks_of(events):
            value, feature, inside = _look(coordinates, f, seen, boxes or [None], block)
            like = jax.tree.map(lambda a: np.empty(a.shape[1:], a.dtype), value)
            flat = flatten_values(value, feature.shape[0], feature.dtype)[0]
            flat, feature, inside = (np.asarray(a)[:rows] for a in (flat, feature, inside))
            if unit:
                _refuse_values(flat, start)
            hit = (flat != 0).any(1) if unit else np.ones(rows, bool)
            outside = hit & ~inside
            if unit and outside.any():
                i = int(np.argmax(outside))
                raise ValueError(
                    f"Draw {start + i} lies outside the declared support, but f is {flat[i].max():.6g} "
                    "there: the promise in bound is not kept."
                )
            found.append((flat[hit], feature[hit], start + np.flatnonzero(hit), inside[hit]))
            show(start + rows, self.count)
        self.like = like
        self.values, self.features, self.places, self.inside = map(
            np.concatenate, zip(*found, strict=True)
        )

    def column(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Values and rows of the draws that hit in one of f's values."""
        hit = self.values[:, index] != 0
        return self.values[hit, index], self.features[hit]


def _refuse_values(flat: np.ndarray, start: int) -> None:
    bad = ~((flat >= 0) & (flat <= 1)).all(1)
    if bad.any():
        i = int(np.argmax(bad))
        value = flat[i][~((flat[i] >= 0) & (flat[i] <= 1))][0]
        raise ValueError(
            f"f must lie between 0 and 1 (rescale a bounded f); at draw {start + i} it is {value}."
        )


def not_above(x: np.ndarray, dtype) -> np.ndarray:
    """Numbers of a dtype, rounded towards 0."""
    near = np.asarray(x, dtype)
    return np.where(near.astype(np.float64) > x, np.nextafter(near, dtype.type(0)), near)


def _not_below(x: np.ndarray, dtype) -> np.ndarray:
    most = np.finfo(dtype).max
    near = np.asarray(np.minimum(x, most), dtype)
    up = np.nextafter(np.minimum(near, np.nextafter(most, dtype.type(0))), most)
    return np.where(near.astype(np.float64) < x, up, near)


class Weighted:
    """Terms X_i = f(x_i) p_v(x_i) / q(x_i) of the draws that hit, and sums of them over vertices.

    Log-weights are rounded up by their rounding error, so that a bound of the sums is one of the
    exact ones; no term exceeds the vertex's proved largest.
    """

    def __init__(self, values, features, rows, proposals, logs, caps=np.inf, tilt=None):
        dtype = features.dtype
        every = np.concatenate([rows, proposals])
        self._given = (values, features, proposals, logs)
        moving = np.ptp(every, axis=0) > 1e-13 * (1 + np.abs(every).max(0))
        self.dtype, self.hits = dtype, len(values)
        cast = lambda a: jnp.asarray(np.asarray(a, dtype))
        self.rows, self.proposals = cast(rows[:, moving]), cast(proposals[:, moving])
        self.logs = cast(logs)
        self.caps = cast(_not_below(np.broadcast_to(caps, len(rows)), dtype))
        self.sizes = cast(np.abs(every[:, moving]).max(0))
        self.features, self.values = features[:, moving], values
        self.tilt = tilt  # logarithms by which a draw's weight is raised, for those of a pilot
        self.unit = float(np.finfo(dtype).eps) / 2

    def at(self, rows: np.ndarray) -> "Weighted":
        """The same draws' terms at other members of the family."""
        values, features, proposals, logs = self._given
        return Weighted(values, features, rows, proposals, logs)

    def _over(self, function: Callable, *args) -> list:
        """Sums (rows of chunks, vertices), added in double precision, over all blocks."""

        def one(start):
            stop = min(start + BLOCK, self.hits)
            fill = BLOCK if self.hits > BLOCK else -(-max(stop - start, 1) // CHUNK) * CHUNK
            fill = 1 << max(int(np.ceil(np.log2(fill))), 7)
            pad = lambda a: np.concatenate(
                [a[start:stop], np.zeros((fill - (stop - start), *a.shape[1:]), a.dtype)]
            )
            log_values = np.full(fill, -np.inf, self.dtype)
            with np.errstate(divide="ignore"):
                log_values[: stop - start] = np.log(self.values[start:stop])
            if self.tilt is not None:
                log_values[: stop - start] += self.tilt[start:stop]
            given = (self.rows, self.proposals, self.logs, self.caps, self.sizes)
            out = function(pad(self.features), log_values, *given, *args)
            return [np.asarray(s, np.float64).sum(0) for s in out]

        starts = range(0, self.hits, BLOCK)
        if len(starts) < 2:
            return one(0)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
            sums = list(pool.map(one, starts))
        return [sum(column[1:], column[0]) for column in zip(*sums, strict=True)]

    @functools.cached_property
    def moments(self) -> list[np.ndarray]:
        """Sums of the terms and of their squares."""
        return self._over(_moments)

    def limits(self, count: int, bets: np.ndarray, level: float) -> np.ndarray:
        """The limit at each member, from so many draws in all."""
        if not self.hits:
            return np.expm1(level / count) / bets
        mean = self.moments[0] / count
        spread = np.sqrt(2 * level / count)
        start = mean + level / (count * bets) + spread * np.sqrt(mean / np.maximum(bets * count, 1))
        return limits(lambda m: self.log_sums(m, bets), count - self.hits, bets, level, start)

    def log_sums(self, m: np.ndarray, bets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A lower bound of sum_i log{1 + bets (m - X_i)} over the hits, and its slope in m."""
        m = not_above(m, self.dtype)
        total, slope = self._over(_log_sums, jnp.asarray(m), jnp.asarray(bets, self.dtype))
        m = m.astype(np.float64)
        positive = 2 * self.hits * np.log1p(bets * m)
        with np.errstate(invalid="ignore"):
            spent = (CHUNK + 16) * (positive + np.abs(total)) + 4 * bets * m * slope
        return total - self.unit * spent, bets * slope


def log_weights(features, rows, proposals, logs, sizes):
    """log p_v / q of each row of statistics and each vertex, rounded up."""
    # With all digits whatever `jm.products_in` says: the bound of the rounding is part of a proof.
    product = lambda rows: jnp.matmul(features, rows.T, precision="highest")
    mixture = jax.scipy.special.logsumexp(product(proposals) + logs[None], axis=1)
    largest = jnp.matmul(jnp.abs(features), sizes, precision="highest") + jnp.max(jnp.abs(logs)) + 2
    return product(rows) - (mixture - UNITS * jnp.finfo(rows.dtype).eps * largest)[:, None]


def _terms(features, log_values, rows, proposals, logs, caps, sizes):
    weights = log_weights(features, rows, proposals, logs, sizes)
    return jnp.minimum(jnp.exp(log_values[:, None] + weights), caps[None])


def _by_chunks(one, features, log_values):
    cut = lambda a: a.reshape(-1, CHUNK, *a.shape[1:])
    return jax.lax.map(lambda args: one(*args), (cut(features), cut(log_values)))


@jax.jit
def _moments(features, log_values, rows, proposals, logs, caps, sizes):
    def one(features, log_values):
        x = _terms(features, log_values, rows, proposals, logs, caps, sizes)
        return jnp.sum(x, 0), jnp.sum(x * x, 0)

    return _by_chunks(one, features, log_values)


@jax.jit
def _log_sums(features, log_values, rows, proposals, logs, caps, sizes, m, bets):
    def one(features, log_values):
        x = _terms(features, log_values, rows, proposals, logs, caps, sizes)
        z = bets[None] * (m[None] - x)
        there = (log_values > -jnp.inf)[:, None]
        # A term beyond the bet's reach has no logarithm: the sum is then -inf.
        total = jnp.where(there, jnp.log1p(jnp.maximum(z, -jnp.ones_like(z))), jnp.zeros_like(z))
        slope = jnp.where(there, 1 / (1 + z), jnp.zeros_like(z))
        return jnp.sum(total, 0), jnp.sum(slope, 0)

    return _by_chunks(one, features, log_values)


@jax.jit
def pooled_logs(features: Array, proposals: Array, logs: Array) -> Array:
    """log q of rows of statistics, but for the base measure."""
    product = jnp.matmul(features, proposals.T, precision="highest")
    return jax.scipy.special.logsumexp(product + logs[None], axis=1)
