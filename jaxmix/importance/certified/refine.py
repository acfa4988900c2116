"""Cells cut finer by the same draws: what is bet at each parameter stays as it was."""

import dataclasses

import jax
import numpy as np

from .cells import grid_cells
from .result import Certificate
from .sweep import Weighted, not_above


def refine(
    certificate: Certificate,
    region,
    samples: list[Weighted],
    count: int,
    level: float,
    cells: int,
    splits: int,
) -> Certificate:
    """The certificate with its worst cells cut, the bets of the first one kept.

    The bet at t = sum_v l_v t_v was 1 / (exp(gap(l)) sum_v l_v / bet_v): a number that no finer cell
    changes. u is convex in 1 / bet, so that its two ends over the old cell bound all of it.
    """
    if certificate.method != "betting" or not region.boxes or not region.cell_shape:
        raise ValueError("Only the cells of a grid of vertices are refined, and only by betting.")
    if cells < 1 or splits < 2:
        raise ValueError(f"cells from 1 and splits from 2 up were expected: {cells}, {splits}.")
    gaps = certificate.gap.ravel()
    uppers, structure = jax.tree.flatten(certificate.upper)
    flat = np.concatenate([u.reshape(-1, gaps.size) for u in uppers])
    bets = np.concatenate(
        [b.reshape(-1, len(region.rows)) for b in jax.tree.leaves(certificate.bet)]
    )
    fresh = flat.copy()
    shares, sub_cells = _subdivision(len(region.cell_shape), splits)
    for index, sample in enumerate(samples):
        for cell in np.argsort(-flat[index])[:cells]:
            corners = region.corners[cell]
            rows = region.between(shares, corners)
            inverse = 1 / bets[index][corners]
            finer = region.part(rows, sub_cells)
            most = np.exp(finer.gaps().max())
            ends = inverse.min() / most, inverse.max() * np.exp(gaps[cell])
            limit = _limits(sample, count, rows, ends, level)
            bound = finer.inside(limit).max()
            fresh[index, cell] = min(fresh[index, cell], bound)
    split = np.cumsum([u.size // gaps.size for u in uppers])[:-1]
    new = [part.reshape(u.shape) for part, u in zip(np.split(fresh, split), uppers, strict=True)]
    whole = [u.reshape(*u.shape[: u.ndim - len(region.cell_shape)], -1) for u in new]
    top = [np.argmax(u, -1) for u in whole]
    where = [np.stack(np.unravel_index(t, region.cell_shape), -1) for t in top]
    return dataclasses.replace(
        certificate,
        upper=structure.unflatten(new),
        supremum=structure.unflatten([u.max(-1) for u in whole]),
        where=structure.unflatten(where),
    )


def _subdivision(axes: int, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the corners at each point of a finer grid in the cell, and its cells' corners."""
    line = np.arange(splits + 1) / splits
    points = np.stack(np.meshgrid(*[line] * axes, indexing="ij"), -1).reshape(-1, axes)
    ends = np.stack(np.meshgrid(*[[0, 1]] * axes, indexing="ij"), -1).reshape(-1, axes)
    shares = np.where(ends[None] == 1, points[:, None], 1 - points[:, None]).prod(2)
    return shares, grid_cells((splits + 1,) * axes)[1]


def _limits(sample: Weighted, count: int, rows, ends, level) -> np.ndarray:
    """The larger of the limits for the two ends of 1 / bet."""
    bets = not_above(np.repeat(1 / np.array(ends), len(rows)), sample.dtype).astype(np.float64)
    again = sample.at(np.concatenate([rows, rows]))
    return again.limits(count, bets, level).reshape(2, -1).max(0)
