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
            ends = np.array([inverse.min() / most, inverse.max() * np.exp(gaps[cell])])
            own = not_above(np.repeat(1 / ends, len(rows)), sample.dtype).astype(np.float64)
            both = sample.at(np.concatenate([rows, rows])).limits(count, own, level)
            bound = finer.inside(both.reshape(2, -1).max(0)).max()
            fresh[index, cell] = min(fresh[index, cell], bound)
    split = np.cumsum([u.size // gaps.size for u in uppers])[:-1]
    new = [part.reshape(u.shape) for part, u in zip(np.split(fresh, split), uppers, strict=True)]
    return dataclasses.replace(certificate, upper=structure.unflatten(new))


def _subdivision(axes: int, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the corners at each point of a finer grid in the cell, and its cells' corners."""
    line = np.arange(splits + 1) / splits
    points = np.stack(np.meshgrid(*[line] * axes, indexing="ij"), -1).reshape(-1, axes)
    ends = np.stack(np.meshgrid(*[[0, 1]] * axes, indexing="ij"), -1).reshape(-1, axes)
    shares = np.where(ends[None] == 1, points[:, None], 1 - points[:, None]).prod(2)
    return shares, grid_cells((splits + 1,) * axes)[1]
