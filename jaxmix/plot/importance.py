"""Pictures of importance sampling: estimates against a reference, proposals, and weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import made_by, numbers, takes
from ..importance import Draws, Estimate, log_table
from ._canvas import COOL, DRAWN, INK, PALE, WARM, axes_or_new, new_axes


@takes(DRAWN, thetas=numbers(1), estimate=made_by(Estimate, "jm.imp_est"))
def estimates(
    thetas: Float[Array, " j"],
    estimate: Estimate,
    *,
    exact: Float[Array, " j"] | None = None,
    level: float = 0.95,
    ax: Any = None,
) -> Any:
    """Values with their intervals over a parameter of the targets, on a logarithmic scale.

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
    ax.set(xlabel="parameter of the target", ylabel="estimate", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return ax


@takes(DRAWN, draws=made_by(Draws, "jm.importance.draw"))
def proposals(
    draws: Draws,
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
    import jax

    events = np.asarray(draws.events)
    flat = events.reshape(events.shape[0], -1)
    if flat.shape[1] > 2:
        raise ValueError(f"Events of 1 or 2 coordinates can be drawn; these have {flat.shape[1]}.")
    ax = axes_or_new(ax, (5.2, 3.4) if flat.shape[1] == 1 else (4.6, 4.2))
    low, high = np.quantile(flat, 0.001, axis=0), np.quantile(flat, 0.999, axis=0)
    pad = 0.06 * (high - low)
    lines = [np.linspace(a, b, grid) for a, b in zip(low - pad, high + pad, strict=True)]
    if flat.shape[1] == 1:
        at = jnp.asarray(lines[0], events.dtype)
        points = at.reshape(-1, *events.shape[1:])
    else:
        mesh = np.stack(np.meshgrid(*lines), -1)
        points = jnp.asarray(mesh.reshape(-1, 2), events.dtype)
    shares = np.asarray(draws.counts) / draws.num_draws
    density = np.exp(np.asarray(log_table(draws.proposals, points))) * shares[None]
    inside = None if event is None else np.asarray(jax.vmap(event)(points))
    if flat.shape[1] == 1:
        for column in density.T:
            ax.plot(lines[0], column, color=PALE, lw=1)
        ax.plot(lines[0], density.sum(1), color=COOL, lw=1.6, label="pooled proposal")
        if inside is not None:
            top = ax.get_ylim()[1]
            ax.fill_between(
                lines[0], 0, top, where=inside, color=WARM, alpha=0.12, lw=0, label="event"
            )
            ax.set_ylim(0, top)
        ax.set(xlabel="x", ylabel="density")
        ax.legend(frameon=False, fontsize=8)
        return ax
    if inside is not None:
        shape = inside.reshape(grid, grid).astype(float)
        ax.contourf(*lines, shape, levels=[0.5, 1.5], colors=[WARM], alpha=0.15)
        ax.contour(*lines, shape, levels=[0.5], colors=[WARM], linewidths=1)
        ax.fill([], [], color=WARM, alpha=0.15, label="event")
    order = np.random.default_rng(0).permutation(flat.shape[0])[:max_points]
    ax.scatter(*flat[order].T, s=2, color=PALE, lw=0, label="draws")
    total = np.log(density.sum(1)).reshape(grid, grid)
    top = total.max()
    ax.contour(
        *lines,
        total,
        levels=top - np.array([8, 6, 4, 2, 1]),
        colors=[COOL],
        linewidths=0.9,
        linestyles="solid",
    )
    ax.plot([], [], color=COOL, lw=0.9, label="pooled proposal")
    box = {"xlim": lines[0][[0, -1]], "ylim": lines[1][[0, -1]]}
    ax.set(xlabel="x[0]", ylabel="x[1]", aspect="equal", **box)
    ax.legend(frameon=False, fontsize=8, loc="lower left", markerscale=3)
    return ax


@takes(DRAWN, estimate=made_by(Estimate, "jm.imp_est"))
def weights(estimate: Estimate, *, labels: Any = None, axes: Any = None) -> Any:
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
