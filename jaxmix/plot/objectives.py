"""Objectives side by side: bias against cost, and the spread of gradients for the draws paid."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .._refuse import on_host
from ._canvas import colours, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@on_host("return the arrays and draw them outside.")
def comparison(table: Any) -> "Axes":
    """Draw a comparison of objectives: bias with its error, and variance x cost of the gradient.

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
    left, right = new_axes(1, 2, size=(9.0, 0.8 + 0.45 * (len(table.rows) + 2)), sharey=True)[0]
    place = np.arange(len(table.rows))[::-1]
    for at, row, colour in zip(place, table.rows, colours(len(table.rows)), strict=True):
        left.errorbar(row.bias, at, xerr=2 * row.bias_error, fmt="o", color=colour, capsize=3)
        if np.isfinite(row.variance_cost):
            right.plot(row.variance_cost, at, "o", color=colour)
    left.axvline(0, color="#555555", linewidth=0.8)
    names = [f"{row.name} ({row.cost:.3g} draws)" for row in table.rows]
    left.set_yticks(place, names)
    left.set(xlabel="bias (nats)", title="bias, two standard errors")
    left.margins(y=0.1)
    if any(np.isfinite(row.variance_cost) for row in table.rows):
        right.set_xscale("log")
    right.set(xlabel="variance x draws", title="gradient of the model")
    return left
