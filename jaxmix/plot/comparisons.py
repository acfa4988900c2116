"""Side by side: models by their criteria, clusters by their entropy, objectives by bias and cost."""

from typing import Any

import numpy as np

from .._arguments import having, named, of_several, optional, takes
from ._canvas import DRAWN, Axes, axes_or_new, colours, new_axes

TITLES = {
    "bic": "BIC (nats)",
    "aic": "AIC (nats)",
    "icl": "ICL (nats)",
    "log_likelihood": "log-likelihood (nats)",
    "held_out": "held-out (nats a datum)",
    "cross_validated": "cross-validated (nats a datum)",
}


@takes(
    DRAWN,
    sweep=having("fits", "criterion", how="jm.choice.sweep"),
    criteria=optional(of_several(named(*TITLES))),
)
def sweep(sweep: Any, criteria: tuple[str, ...] | None = None) -> Axes:
    """Draw the criteria of a `jm.choice.sweep`, one panel each, the best model ringed.

    Labels that are pairs of a name and a number, such as `gaussian_templates` gives, become one
    line a name over the numbers; any other labels stand side by side. Models that collapsed are
    left out.

    Args:
        sweep: what `jm.choice.sweep` gives.
        criteria: which to draw; None for BIC and ICL, and what was held out.

    Returns:
        The first panel's axes; `.figure` is the whole.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-5, -4, 40), jnp.linspace(4, 5, 40)])[:, None]
        >>> templates = jm.choice.gaussian_templates(1, [1, 2], ["full"])
        >>> sweep = jm.choice.sweep(jax.random.key(0), templates, x, num_restarts=4)
        >>> jm.plot.sweep(sweep).get_ylabel()
        'BIC (nats)'
    """
    if criteria is None:
        held = ["held_out"] if sweep.held_out else []
        crossed = ["cross_validated"] if sweep.pointwise else []
        criteria = ("bic", "icl", *held, *crossed)
    if not criteria:
        raise ValueError(f"criteria is empty; it names some of {', '.join(TITLES)}.")
    panels = new_axes(1, len(criteria), size=(4.2 * len(criteria), 4.0))[0]
    labels = list(sweep.fits)
    paired = all(
        isinstance(at, tuple) and len(at) == 2 and isinstance(at[1], int | float) for at in labels
    )
    names = list(dict.fromkeys(at[0] for at in labels)) if paired else [None]
    failed = sweep.failed
    for which, ax in zip(criteria, panels, strict=True):
        values = sweep.criterion(which)
        for name, colour in zip(names, colours(len(names)), strict=True):
            own = [at for at in labels if not paired or at[0] == name]
            across = [at[1] if paired else labels.index(at) for at in own]
            up = [np.nan if at in failed else values[at] for at in own]
            ax.plot(across, up, "o-" if paired else "o", ms=4, color=colour, label=name)
        if len(failed) < len(labels):
            best = sweep.best(which)
            spot = best[1] if paired else labels.index(best)
            ax.plot(spot, values[best], "o", ms=11, mfc="none", mec="black", label="best")
        if paired:
            ax.set_xlabel("components")
            ax.xaxis.get_major_locator().set_params(integer=True)
        else:
            ax.set_xticks(range(len(labels)), list(map(str, labels)), rotation=30, ha="right")
        ax.ticklabel_format(axis="y", useOffset=False)
        ax.set_ylabel(TITLES[which])
    panels[0].legend(frameon=False)
    return panels[0]


@takes(DRAWN, merging=having("entropy", "elbow", how="jm.choice.merge_components"))
def merging(merging: Any, ax: Axes | None = None) -> Axes:
    """Draw the entropy of merged components against the number of clusters, its elbow ringed.

    Args:
        merging: what `jm.choice.merge_components` gives.
        ax: where; None for a new figure.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-9.0, 0.0, 1.0]), jnp.ones(3))
        >>> model = jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)
        >>> x = jnp.array([-9.0, -8.5, 0.0, 0.5, 1.0])
        >>> jm.plot.merging(jm.choice.merge_components(model, x)).get_xlabel()
        'clusters'
    """
    ax = axes_or_new(ax)
    clusters = np.arange(1, len(merging.entropy) + 1)
    ax.plot(clusters, merging.entropy, "o-", color="#0072B2")
    if len(clusters) > 2:
        spot = merging.elbow, merging.entropy[merging.elbow - 1]
        ax.plot(*spot, "o", ms=12, mfc="none", mec="black")
        ax.annotate("elbow", spot, (0, 12), textcoords="offset points", ha="center")
    ax.set_xticks(clusters)
    ax.set(xlabel="clusters", ylabel="entropy of the responsibilities (nats)")
    return ax


@takes(DRAWN, table=having("rows", "break_even", how="jm.objectives.compare"))
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
        >>> jm.plot.comparison(table).get_xlabel()
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
