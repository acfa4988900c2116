"""Which component each datum is given to, and how surely."""

from typing import Any

import numpy as np
from jaxtyping import PyTree

from .._arguments import having, numbers, optional, rows, takes
from ._canvas import DRAWN, Axes, axes_or_new, colours, responsibilities, thinned


@takes(
    DRAWN, model=having("posterior", how="jm.mixture_of"), x=rows, posterior=optional(numbers(2))
)
def assignments(
    model: Any, x: PyTree, *, sure: float = 0.9, posterior: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw each datum in the colour of its likeliest component.

    Vectors are scattered: in their own plane, or beyond two dimensions in that of their two
    leading principal axes; hollow points are those whose likeliest component has a posterior
    probability below `sure`. Any other events are drawn as one bar a datum, divided by the
    posterior probabilities and sorted by component.

    Args:
        model: a mixture.
        x: the data.
        sure: the posterior probability from which a point is filled.
        posterior: probabilities (rows, components), if they are at hand.
        ax: where to draw; a new figure without it.

    Returns:
        The axes.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-2.0, 2.0]), jnp.ones(2))
        >>> model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
        >>> ax = jm.plot.assignments(model, jnp.array([-2.0, 0.1, 2.0]))
        >>> ax.get_ylabel()
        'posterior probability'
    """
    ax = axes_or_new(ax)
    posterior = responsibilities(model, x, posterior)
    palette = colours(posterior.shape[1])
    vectors = getattr(x, "ndim", 0) == 2 and x.shape[1] >= 2
    if vectors:
        _scatter(ax, np.asarray(x), posterior, palette, sure)
    else:
        _bars(ax, posterior, palette)
    return ax


def _scatter(ax, x, posterior, palette, sure):
    labels = ["x[0]", "x[1]"]
    if x.shape[1] > 2:
        centred = x - x.mean(0)
        _, singular, axes = np.linalg.svd(centred, full_matrices=False)
        x = centred @ axes[:2].T
        share = singular[:2] ** 2 / np.sum(singular**2)
        labels = [f"principal axis {i + 1} ({share[i]:.0%} of the variance)" for i in range(2)]
    which = posterior.argmax(1)
    certain = posterior.max(1) >= sure
    for k, colour in enumerate(palette):
        mine = which == k
        for kind, face in ((certain, colour), (~certain, "none")):
            shown = thinned(x[mine & kind])
            ax.scatter(*shown.T, s=14, facecolors=[face], edgecolors=[colour], linewidths=0.9)
        ax.scatter([], [], color=[colour], label=f"{k}: {mine.sum()}")
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.legend(title="component: rows", frameon=False)


def _bars(ax, posterior, palette):
    which = posterior.argmax(1)
    order = np.lexsort((-posterior.max(1), which))
    at = thinned(np.arange(len(order)))
    ax.stackplot(at, posterior[order[at]].T, colors=palette, step="mid", linewidth=0)
    for k, colour in enumerate(palette):
        ax.scatter([], [], marker="s", color=[colour], label=f"{k}: {(which == k).sum()}")
    ax.set(xlabel="datum, sorted by component", ylabel="posterior probability", ylim=(0, 1))
    ax.margins(x=0)
    ax.legend(
        title="component: rows", frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
    )  # fmt: skip
