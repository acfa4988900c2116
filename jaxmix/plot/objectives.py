"""Objectives side by side: bias against cost, and the spread of gradients for the draws paid."""

from typing import Any

import numpy as np

from .._arguments import made_by, takes
from ..objectives import Comparison
from ._canvas import Axes, colours, new_axes


@takes(
    "return the arrays and draw them outside.", table=made_by(Comparison, "jm.objectives.compare")
)
def comparison(table: Any) -> Axes:
    """Draw a comparison of objectives: bias with its error, variance x cost, signal to noise.

    Filled discs are the gradient of the model, open ones that of the guide.

    Args:
        table: what `jm.objectives.compare` returns.

    Returns:
        The left axes; `.figure` is the whole.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> guide = lambda x: jm.Normal(x / 2, 1)
        >>> key, x, named = jax.random.key(0), jnp.zeros(4), {"iwae": jm.iwae(8)}
        >>> table = jm.objectives.compare(key, model, guide, x, named, repeats=20)
        >>> from jaxmix.plot.objectives import comparison
        >>> comparison(table).get_xlabel()
        'bias (nats)'
    """
    from matplotlib.ticker import LogLocator, NullLocator

    height = 1.1 + 0.4 * len(table.rows)
    axes = new_axes(1, 3, size=(11.0, height), sharey=True)[0]
    left, middle, right = axes
    place = np.arange(len(table.rows))[::-1]
    for at, row, colour in zip(place, table.rows, colours(len(table.rows)), strict=True):
        left.errorbar(row.bias, at, xerr=2 * row.bias_error, fmt="o", color=colour, capsize=3)
        if np.isfinite(row.variance_cost):
            middle.plot(row.variance_cost, at, "o", color=colour)
        if row.model_signal > 0:
            right.plot(row.model_signal, at, "o", color=colour)
        if row.guide_signal > 0:
            right.plot(row.guide_signal, at, "o", color=colour, fillstyle="none")
    left.axvline(0, color="#555555", linewidth=0.8)
    names = [f"{row.name} ({row.cost:.3g} draws)" for row in table.rows]
    left.set_yticks(place, names)
    left.set(xlabel="bias (nats)", title="value, two errors")
    left.margins(y=0.1)
    for ax in (middle, right):
        if ax.lines:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
    middle.set(xlabel="variance x draws", title="gradient of the model")
    right.set(xlabel="signal to noise", title="model (full), guide (open)")
    return left
