"""A mixture over its data: densities, ellipses, and which component each datum is given to."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._arguments import having, numbers, optional, rows, shown, takes
from .._numerics import native
from ..combinators import unwrap
from ._canvas import (
    DRAWN,
    Axes,
    axes_or_new,
    bins_of,
    colours,
    each,
    ellipse,
    gaussian_parts,
    new_axes,
    responsibilities,
    thinned,
)


@takes(DRAWN, model=having("joint_log_probs", "components", how="jm.mixture_of"))
def mixture(
    model: Any,
    x: Float[Array, " n *d"],
    truth: Any = None,
    *,
    names: Sequence[str] | None = None,
    mass: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Draw a mixture of numbers or of vectors over its data.

    A point's colour mixes those of the components by its responsibilities, so that doubtful
    points look doubtful; at most 20,000 rows, evenly spaced, become points. In one dimension: a
    histogram, the density and the weighted components. In two: crosses at the means and ellipses
    that hold `mass` of each component (as a normal density has it). Beyond two: every pair of
    dimensions, with the marginal histograms.

    Args:
        model: a mixture; components with `mean` and `covariance` get a cross and an ellipse.
        x: the data, (n,) or (n, d).
        truth: a second mixture, drawn dashed in black.
        names: a label for each dimension.
        mass: the share of a component inside its ellipse.
        ax: where to draw, in one or two dimensions; a new figure without it.

    Returns:
        The axes; beyond two dimensions those of the first pair. `.figure` is the whole.

    Raises:
        ValueError: if the data are no numbers or vectors, or `ax` is given beyond two dimensions.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-2.0, 2.0]), jnp.ones(2))
        >>> model = jm.MixtureSameFamily(jnp.array([0.5, 0.5]), parts)
        >>> x = jax.vmap(model.sample)(jax.random.split(jax.random.key(0), 100))
        >>> jm.plot.mixture(model, x).get_ylabel()
        'density'
    """
    model, truth = unwrap(model), unwrap(truth)
    try:
        values = native(np.asarray(x))
    except TypeError as error:  # a random key
        raise ValueError(f"plot.mixture draws numbers or vectors; x was {shown(x)}.") from error
    if values.ndim not in (1, 2) or not np.issubdtype(values.dtype, np.number):
        raise ValueError(
            "plot.mixture draws numbers (n,) or vectors (n, d); the data have shape "
            f"{values.shape} and dtype {values.dtype}. plot.assignments draws any event."
        )
    if not np.isfinite(values).any():
        raise ValueError(f"There is nothing to draw: of {values.size} numbers of x none is finite.")
    dim = 1 if values.ndim == 1 else values.shape[1]
    names = list(names) if names is not None else [f"x[{i}]" for i in range(dim)]
    if len(names) != dim:
        raise ValueError(f"{len(names)} names were given for {dim} dimensions.")
    if dim == 1:
        return _line(axes_or_new(ax), model, values, truth, names[0])
    some = thinned(values)
    tint = responsibilities(model, some) @ colours(model.num_components)
    if dim == 2:
        return _plane(axes_or_new(ax), model, some, tint, truth, names, (0, 1), mass)
    if ax is not None:
        raise ValueError(f"{dim} dimensions need a figure of their own: leave `ax` out.")
    return _pairs(model, values, some, tint, truth, names, mass)


def _line(ax, model, values, truth, name):
    flat = values[np.isfinite(values)].astype(float)
    edges = bins_of(flat)
    ax.hist(flat, bins=edges, density=True, color="0.85", edgecolor="white", linewidth=0.3)
    grid = np.linspace(edges[0], edges[-1], 500, dtype=values.dtype)
    events = jnp.asarray(grid if values.ndim == 1 else grid[:, None])
    parts = np.exp(each(model, "joint_log_probs", events))
    for k, colour in enumerate(colours(model.num_components)):
        ax.fill_between(grid, parts[:, k], color=colour, alpha=0.35, linewidth=0)
        ax.plot(grid, parts[:, k], color=colour, linewidth=1)
    ax.plot(grid, parts.sum(1), color="0.2", label="mixture")
    if truth is not None:
        density = np.exp(each(truth, "log_prob", events))
        ax.plot(grid, density, "--", color="black", label="truth")
        ax.legend(frameon=False)
    ax.set(xlabel=name, ylabel="density")
    return ax


def _plane(ax, model, shown, tint, truth, names, pair, mass, legend=True):
    at = list(pair)
    ax.scatter(*shown[:, at].T, c=np.clip(tint, 0, 1), s=12, alpha=0.6, linewidths=0)
    palette = colours(model.num_components)
    for colour, (mean, covariance) in zip(palette, gaussian_parts(model.components), strict=False):
        ellipse(ax, mean[at], covariance[np.ix_(at, at)], mass, edgecolor=colour, linewidth=2)
        ax.scatter(*mean[at], marker="X", s=90, color=colour, edgecolor="white", zorder=3)
    if truth is not None:
        style = {"edgecolor": "black", "linestyle": "--", "linewidth": 1.2}
        for mean, covariance in gaussian_parts(truth.components):
            ellipse(ax, mean[at], covariance[np.ix_(at, at)], mass, **style)
            ax.scatter(*mean[at], marker="+", s=90, color="black", zorder=4)
        if legend:
            ax.plot([], [], "--+", color="black", label="truth")
            ax.legend(frameon=False)
    ax.set(xlabel=names[at[0]], ylabel=names[at[1]])
    return ax


def _pairs(model, values, some, tint, truth, names, mass):
    dim = values.shape[1]
    axes = new_axes(dim, dim, size=(2.3 * dim, 2.3 * dim), sharex="col")
    for up in range(dim):
        for across in range(dim):
            ax = axes[up, across]
            if across > up:
                ax.set_axis_off()
            elif across == up:
                own = values[np.isfinite(values[:, up]), up].astype(float)
                if len(own):
                    bins = bins_of(own)
                    ax.hist(own, bins=bins, color="0.8", edgecolor="white", linewidth=0.3)
                ax.set_yticks([])
                ax.set_xlabel(names[up])
            else:
                _plane(ax, model, some, tint, truth, names, (across, up), mass, legend=False)
            if up < dim - 1:
                ax.set_xlabel("")
            if across > 0:
                ax.set_ylabel("")
    return axes[1, 0]


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
        there = np.isfinite(x)
        mean = np.sum(x, 0, where=there) / np.maximum(there.sum(0), 1)
        centred = np.where(there, x - mean, 0)  # a missing coordinate is at its mean
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
