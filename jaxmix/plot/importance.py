"""Importance sampling: estimates against a reference, weights, and draws under what they serve."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._arguments import function, having, numbers, takes, whole
from ._canvas import COOL, DRAWN, INK, PALE, SIZE, WARM, axes_or_new, new_axes

ESTIMATE = having("pareto_k", "hits", how="jm.imp_est")
DRAWS = having("events", "proposals", how="jm.importance.draw")


@takes(DRAWN, thetas=numbers(1), estimate=ESTIMATE)
def estimates(
    thetas: Float[Array, " j"],
    estimate: Any,
    *,
    exact: Float[Array, " j"] | None = None,
    level: float = 0.95,
    ax: Any = None,
) -> Any:
    """Values with their intervals over a parameter of the targets, on a logarithmic scale where all
    are positive.

    Limits where nothing was hit are drawn as arrows from the limit down.

    Args:
        thetas: one number a target.
        estimate: of one number or truth value a target.
        exact: reference values to draw as a line.
        level: coverage of the intervals.
        ax: matplotlib axes; None for new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax, (5.2, 3.4))
    x, value = np.asarray(thetas), np.asarray(estimate.value)
    low, high = (np.asarray(side) for side in estimate.interval(level))
    if value.shape != x.shape:
        raise ValueError(
            f"One number a target is drawn over {x.size} thetas; the values' shape is {value.shape}."
        )
    hit = np.asarray(estimate.hits) > 0
    if exact is not None:
        ax.plot(x, exact, color=WARM, lw=1.2, label="exact", zorder=1)
    bars = np.stack([np.clip(value - low, 0, 0.999 * np.abs(value)), high - value])
    ax.errorbar(
        x[hit], value[hit], bars[:, hit], fmt="o", ms=3.5, lw=1.2, capsize=2, color=COOL,
        label=f"estimate, {level:.0%} interval", zorder=2,
    )  # fmt: skip
    if (~hit).any():
        upper = np.asarray(estimate.upper)[~hit]
        ax.scatter(x[~hit], upper, marker="v", color=INK, label="no hits: at most", zorder=2)
    ax.set(xlabel="parameter of the target", ylabel="estimate")
    if (value[hit] > 0).all():
        ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
    return ax


@takes(DRAWN, draws=DRAWS)
def proposals(
    draws: Any,
    *,
    event: Any = None,
    max_points: int = 1500,
    grid: int = 200,
    ax: Any = None,
) -> Any:
    """The pooled proposal over events of one or two coordinates, and where f is not 0.

    Args:
        draws: from `jm.importance.draw`.
        event: truth value of an event: the region to shade.
        max_points: most draws to show in two dimensions.
        grid: points along an axis.
        ax: matplotlib axes; None for new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if events have more than two coordinates.
    """
    from ..importance import log_table

    flat, lines = _coordinates(draws, grid)
    if flat.shape[1] > 2:
        raise ValueError(f"Events of 1 or 2 coordinates can be drawn; these have {flat.shape[1]}.")
    ax = axes_or_new(ax, (5.2, 3.4) if flat.shape[1] == 1 else (4.6, 4.2))
    mesh = np.meshgrid(*lines)
    points = _events(draws, mesh)
    shares = np.asarray(draws.counts) / draws.num_draws
    density = np.exp(np.asarray(log_table(draws.proposals, points))) * shares[None]
    inside = None if event is None else np.asarray(jax.vmap(event)(points), float)
    if flat.shape[1] == 1:
        for column in density.T:
            ax.plot(lines[0], column, color=PALE, lw=1)
        ax.plot(lines[0], density.sum(1), color=COOL, lw=1.6, label="pooled proposal")
        if inside is not None:
            top, shade = ax.get_ylim()[1], {"color": WARM, "alpha": 0.12, "lw": 0}
            ax.fill_between(lines[0], 0, top, where=inside > 0, label="event", **shade)
            ax.set_ylim(0, top)
        ax.set(xlabel="x", ylabel="density")
        ax.legend(frameon=False, fontsize=8)
        return ax
    total = np.log(density.sum(1)).reshape(grid, grid)
    levels = total.max() - np.array([8, 6, 4, 2, 1])
    ax.contour(*mesh, total, levels=levels, colors=[COOL], linewidths=0.9, linestyles="solid")
    ax.plot([], [], color=COOL, lw=0.9, label="pooled proposal")
    if inside is not None:
        _shade(ax, mesh, inside.reshape(grid, grid), 0.5, "event")
    return _with_draws(ax, flat, lines, max_points)


@takes(
    DRAWN,
    threshold=having("by_vertex", "alpha", how="jm.importance.calibrate"),
    statistic=function,
    draws=DRAWS,
    levels=whole(0),
    max_points=whole(1),
)
def threshold(
    threshold: Any,
    statistic: Callable,
    draws: Any,
    *,
    levels: int = 8,
    max_points: int = 1500,
    ax: Any = None,
) -> Any:
    """What a calibrated threshold rejects: level sets of the statistic over events of two numbers.

    Args:
        threshold: from `jm.importance.calibrate`.
        statistic: the one that was calibrated.
        draws: some draws, to show where events lie.
        levels: lines of the statistic besides the threshold's own.
        max_points: most draws to show.
        ax: matplotlib axes; None for new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if events are not of two numbers.
    """
    flat, lines = _coordinates(draws, 200)
    if flat.shape[1] != 2:
        raise ValueError(f"Events of 2 numbers can be drawn; these have {flat.shape[1]}.")
    ax = axes_or_new(ax, SIZE)
    mesh = np.meshgrid(*lines)
    values = np.asarray(jax.vmap(statistic)(_events(draws, mesh)), float)
    if values.shape != (mesh[0].size,):
        raise ValueError(
            f"statistic gives one number an event; of {mesh[0].size} it gave shape {values.shape}."
        )
    values = values.reshape(mesh[0].shape)
    style = {"colors": [INK], "linewidths": 0.5, "alpha": 0.6, "linestyles": "solid"}
    ax.contour(*mesh, values, levels=levels, **style)
    if np.isfinite(threshold.value):
        said = f"rejected: above {threshold.value:.4g}"
        _shade(ax, mesh, values, threshold.value, said)
    return _with_draws(ax, flat, lines, max_points)


@takes(DRAWN, estimate=ESTIMATE)
def weights(estimate: Any, *, labels: Any = None, axes: Any = None) -> Any:
    """Diagnostics a target: Pareto k against its limit, and the effective number of draws.

    Args:
        estimate: of one number or truth value a target.
        labels: positions of the targets on the axis; None for their numbers.
        axes: two matplotlib axes; None for new ones.

    Returns:
        The two axes.
    """
    if axes is None:
        axes = new_axes(1, 2, size=(7.6, 3.0))[0]
    k, ess = np.atleast_1d(estimate.pareto_k), np.atleast_1d(estimate.ess)
    x = np.arange(k.size) if labels is None else np.asarray(labels)
    known = np.isfinite(k)
    trusted = known & (k <= 0.7)
    axes[0].axhline(0.7, color=WARM, lw=1, ls="--", label="limit 0.7")
    axes[0].scatter(x[trusted], k[trusted], s=14, color=COOL, label="to be trusted")
    bad = known & ~trusted
    if bad.any():
        axes[0].scatter(x[bad], k[bad], s=14, color=WARM, label="not to be trusted")
    if (~known).any():
        axes[0].scatter(
            x[~known], np.full((~known).sum(), 1.2), marker="^", color=INK, label="unknown"
        )
    axes[0].set(xlabel="target", ylabel="Pareto k of the terms")
    axes[0].set_ylim(top=max(1.3, axes[0].get_ylim()[1]))  # the legend stands above the limit
    axes[0].legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    axes[1].scatter(x, ess, s=14, color=COOL)
    axes[1].axhline(estimate.num_draws, color=INK, lw=1, ls=":")
    axes[1].annotate("draws", (x[0], estimate.num_draws), fontsize=8, va="bottom")
    axes[1].set(xlabel="target", ylabel="effective number of draws", yscale="log")
    return axes


def _coordinates(draws: Any, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """The draws as (draws, coordinates), and for each coordinate a line over nearly all of them."""
    leaves = jax.tree.leaves(draws.events)
    flat = np.concatenate([np.asarray(a).reshape(draws.num_draws, -1) for a in leaves], 1)
    low, high = np.quantile(flat, [0.001, 0.999], axis=0)
    pad = 0.06 * (high - low)
    return flat, np.linspace(low - pad, high + pad, grid).T


def _events(draws: Any, mesh: Any) -> PyTree:
    """Events like the draws whose coordinates are the points of a mesh."""
    leaves, structure = jax.tree.flatten(draws.events)
    shapes = [leaf.shape[1:] for leaf in leaves]
    points = np.stack([np.ravel(a) for a in mesh], 1)
    parts = np.split(points, np.cumsum([int(np.prod(s)) for s in shapes])[:-1], axis=1)
    return structure.unflatten(
        jnp.asarray(part.reshape(-1, *shape), leaf.dtype)
        for part, shape, leaf in zip(parts, shapes, leaves, strict=True)
    )


def _shade(ax: Any, mesh: Any, values: np.ndarray, level: float, label: str) -> None:
    """Where values are above a level."""
    ax.contourf(*mesh, values, levels=[level, np.inf], colors=[WARM], alpha=0.16)
    ax.contour(*mesh, values, levels=[level], colors=[WARM], linewidths=1.4)
    ax.fill([], [], color=WARM, alpha=0.3, label=label)


def _with_draws(ax: Any, flat: np.ndarray, lines: np.ndarray, most: int) -> Any:
    few = np.random.default_rng(0).permutation(len(flat))[:most]
    ax.scatter(*flat[few].T, s=2, color=PALE, lw=0, label="draws", zorder=0.5)
    box = {"xlim": lines[0][[0, -1]], "ylim": lines[1][[0, -1]]}
    ax.set(xlabel="x[0]", ylabel="x[1]", aspect="equal", **box)
    ax.legend(frameon=False, fontsize=8, loc="lower left", markerscale=3)
    return ax
