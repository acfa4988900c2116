"""Pictures of certified bounds over a region, and of what a calibrated threshold rejects."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import function, made_by, numbers, takes, whole
from ..importance import Certificate, Draws, Threshold
from ._canvas import COOL, DRAWN, INK, PALE, WARM, axes_or_new

SIZE = (5.2, 3.8)


@takes(DRAWN, certificate=made_by(Certificate, "jm.importance.certify"))
def certificate(
    certificate: Certificate,
    *axes: Any,
    truth: Any = None,
    names: tuple[str, ...] = (),
    ax: Any = None,
) -> Any:
    """The certified bound of each cell over a region of one or two parameters.

    In one dimension: each cell's bound as a step, the estimate and the bound of each vertex, and
    the truth where it is known. In two: each cell in the colour of its bound, the cell that decides
    the supremum framed, lines where the truth has the labelled values.

    Args:
        certificate: of one value of f, from `jm.importance.certify`.
        axes: the parameter along each axis of the grid; of simplices, the two parameters of each
            vertex and then the corners of the cells.
        truth: function of the parameters (arrays), or None.
        names: of the parameters.
        ax: matplotlib axes; None for new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if the axes do not fit the certificate.
    """
    lines = [np.asarray(numbers()(axis, "each axis of certificate")) for axis in axes]
    upper = np.asarray(certificate.upper)
    names = tuple(names) or tuple(f"parameter {i}" for i in range(len(lines)))
    if len(lines) == 3:
        return _simplices(certificate, upper, lines, truth, names, axes_or_new(ax, SIZE))
    if [line.size - 1 for line in lines] != list(upper.shape) or len(lines) not in (1, 2):
        raise ValueError(
            f"A certificate of one or two axes is drawn over their vertices; its cells have shape "
            f"{upper.shape}, and the axes given have {[line.size for line in lines]} vertices."
        )
    ax = axes_or_new(ax, SIZE)
    if len(lines) == 1:
        (x,) = lines
        ax.stairs(upper, x, baseline=None, color=COOL, lw=1.6, label="certified, each cell")
        ax.plot(
            x, certificate.vertex_upper, ls="", marker="v", ms=4, color=COOL, label="vertex bound"
        )
        ax.plot(x, certificate.value, ls="", marker="o", ms=3, color=INK, label="estimate")
        if truth is not None:
            fine = np.linspace(x[0], x[-1], 301)
            ax.plot(fine, truth(fine), color=WARM, lw=1.2, label="truth")
        ax.axhline(float(certificate.supremum), color=INK, lw=0.8, ls=":", label="supremum")
        ax.set(xlabel=names[0], ylabel="expectation of f")
        ax.legend(frameon=False, fontsize=8)
        return ax
    x, y = lines
    mesh = ax.pcolormesh(x, y, upper.T, cmap="Blues", edgecolors="white", linewidth=0.4)
    _bar(ax, mesh)
    i, j = np.asarray(certificate.where)
    frame = [(x[i], y[j]), (x[i + 1], y[j]), (x[i + 1], y[j + 1]), (x[i], y[j + 1])]
    ax.fill(*zip(*frame, strict=True), fill=False, edgecolor=WARM, lw=1.6)
    if truth is not None:
        _contours(ax, np.linspace(x[0], x[-1], 80), np.linspace(y[0], y[-1], 80), truth)
    _told(ax, certificate, names)
    return ax


def _simplices(certificate, upper, lines, truth, names, ax):
    x, y, cells = lines
    mesh = ax.tripcolor(x, y, cells, facecolors=upper, cmap="Blues", edgecolors="white", lw=0.2)
    _bar(ax, mesh)
    corners = cells[int(np.ravel(certificate.where)[0])]
    ax.fill(x[corners], y[corners], fill=False, edgecolor=WARM, lw=1.6)
    if truth is not None:
        inside = lambda a, b: np.where(a <= b, truth(a, b), np.nan)
        _contours(ax, np.linspace(x.min(), x.max(), 80), np.linspace(y.min(), y.max(), 80), inside)
    _told(ax, certificate, names)
    return ax


def _bar(ax, mesh):
    ax.figure.colorbar(mesh, ax=ax, label="certified bound of the cell")


def _contours(ax, x, y, truth):
    a, b = np.meshgrid(x, y)
    lines = ax.contour(a, b, truth(a, b), levels=5, colors=[INK], linewidths=0.7)
    ax.clabel(lines, fontsize=7)


def _told(ax, certificate, names):
    ax.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    ax.set_title(f"supremum at most {float(certificate.supremum):.5g}", fontsize=9)


@takes(
    DRAWN,
    threshold=made_by(Threshold, "jm.importance.calibrate"),
    statistic=function,
    draws=made_by(Draws, "jm.importance.draw"),
    levels=whole(0),
    max_points=whole(1),
)
def threshold(
    threshold: Threshold,
    statistic: Callable,
    draws: Draws,
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
    leaves, structure = jax.tree.flatten(draws.events)
    flat = np.concatenate([np.asarray(a).reshape(draws.num_draws, -1) for a in leaves], 1)
    if flat.shape[1] != 2:
        raise ValueError(f"Events of 2 numbers can be drawn; these have {flat.shape[1]}.")
    ax = axes_or_new(ax, SIZE)
    ends = np.quantile(flat, [0.001, 0.999], axis=0)
    a, b = np.meshgrid(*np.linspace(ends[0], ends[1], 200).T)
    points = np.stack([a.ravel(), b.ravel()], 1)
    shape = [leaf.shape[1:] for leaf in leaves]
    split = np.split(points, np.cumsum([int(np.prod(s)) for s in shape])[:-1], axis=1)
    events = structure.unflatten(
        [
            jnp.asarray(p.reshape(-1, *s), leaf.dtype)
            for p, s, leaf in zip(split, shape, leaves, strict=True)
        ]
    )
    values = np.asarray(jax.vmap(statistic)(events), float)
    if values.shape != (a.size,):
        raise ValueError(
            f"statistic gives one number an event; of {a.size} it gave shape {values.shape}."
        )
    values = values.reshape(a.shape)
    order = np.random.default_rng(0).permutation(len(flat))[:max_points]
    ax.scatter(*flat[order].T, s=2, color=PALE, lw=0, label="draws")
    ax.contour(
        a, b, values, levels=levels, colors=[INK], linewidths=0.5, alpha=0.6, linestyles="solid"
    )
    if np.isfinite(threshold.value):
        ax.contourf(a, b, values, levels=[threshold.value, np.inf], colors=[WARM], alpha=0.18)
        ax.contour(a, b, values, levels=[threshold.value], colors=[WARM], linewidths=1.6)
        ax.fill([], [], color=WARM, alpha=0.3, label=f"rejected: above {threshold.value:.4g}")
    ax.set(xlabel="x[0]", ylabel="x[1]", aspect="equal", xlim=ends[:, 0], ylim=ends[:, 1])
    ax.legend(frameon=False, fontsize=8, loc="lower left", markerscale=3)
    return ax
