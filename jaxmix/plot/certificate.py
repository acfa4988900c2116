"""Certified bounds over a region."""

from typing import Any

import numpy as np

from .._arguments import having, numbers, takes
from ._canvas import COOL, DRAWN, INK, SIZE, WARM, axes_or_new

MESH = {"cmap": "Blues", "edgecolors": "white"}


@takes(DRAWN, certificate=having("supremum", "vertex_upper", how="jm.importance.certify"))
def certificate(
    certificate: Any,
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
    grid = [line.size - 1 for line in lines] == list(upper.shape) and len(lines) in (1, 2)
    if not grid and len(lines) != 3:
        raise ValueError(
            f"A certificate of one or two axes is drawn over their vertices; its cells have shape "
            f"{upper.shape}, and the axes given have {[line.size for line in lines]} vertices."
        )
    ax = axes_or_new(ax, SIZE)
    if len(lines) == 1:
        (x,) = lines
        ax.stairs(upper, x, baseline=None, color=COOL, lw=1.6, label="certified, each cell")
        ax.plot(x, certificate.vertex_upper, "v", ms=4, color=COOL, label="vertex bound")
        ax.plot(x, certificate.value, "o", ms=3, color=INK, label="estimate")
        if truth is not None:
            fine = np.linspace(x[0], x[-1], 301)
            ax.plot(fine, truth(fine), color=WARM, lw=1.2, label="truth")
        ax.axhline(float(certificate.supremum), color=INK, lw=0.8, ls=":", label="supremum")
        ax.set(xlabel=names[0], ylabel="expectation of f")
        ax.legend(frameon=False, fontsize=8)
        return ax
    x, y, *cells = lines
    if cells:  # of simplices
        mesh = ax.tripcolor(x, y, cells[0], facecolors=upper, lw=0.2, **MESH)
        corners = cells[0][int(np.ravel(certificate.where)[0])]
        frame = x[corners], y[corners]
    else:
        mesh = ax.pcolormesh(x, y, upper.T, linewidth=0.4, **MESH)
        i, j = np.asarray(certificate.where)
        frame = x[[i, i + 1, i + 1, i]], y[[j, j, j + 1, j + 1]]
    ax.figure.colorbar(mesh, ax=ax, label="certified bound of the cell")
    ax.fill(*frame, fill=False, edgecolor=WARM, lw=1.6)
    if truth is not None:
        a, b = np.meshgrid(*(np.linspace(line.min(), line.max(), 80) for line in (x, y)))
        value = np.where(a <= b, truth(a, b), np.nan) if cells else truth(a, b)
        contours = ax.contour(a, b, value, levels=5, colors=[INK], linewidths=0.7)
        ax.clabel(contours, fontsize=7)
    ax.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    ax.set_title(f"supremum at most {float(certificate.supremum):.5g}", fontsize=9)
    return ax
