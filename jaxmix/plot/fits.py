"""A fit: the traces that explain EM, intervals of its parameters, and the rows that move them."""

from typing import Any

import numpy as np

from .._arguments import having, in_doubles, optional, takes
from ._canvas import DRAWN, OKABE_ITO, Axes, axes_or_new, new_axes

BLUE, RED, GREEN = OKABE_ITO[:3]
NORMAL_95 = 1.959964


@takes(DRAWN, fit=having("history", how="jm.fit"))
def history(fit: Any) -> Axes:
    """Draw the log-likelihood and the ELBO of each step, and under them their difference, the KL.

    log p(x) = ELBO(q) + KL(q || posterior), where q are the responsibilities under the model
    before the step: the gap is what the next E-step closes.

    Args:
        fit: a result with a `history` of `log_likelihood`, `elbo` and `kl`, in nats, totals.

    Returns:
        The upper axes; `.figure` is the whole.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-2.0, -1.9, -2.2, 1.0, 1.2, 0.9, 1.3])
        >>> fit = jm.fit(jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), x)
        >>> jm.plot.history(fit).get_ylabel()
        'nats'
    """
    trace = fit.history
    upper, lower = new_axes(2, 1, size=(6.4, 6.0), sharex=True, height_ratios=(2, 1))[:, 0]
    log_likelihood = np.asarray(trace.log_likelihood)
    steps = np.arange(1, len(log_likelihood) + 1)
    marker = "o" if len(steps) <= 60 else ""
    style = {"marker": marker, "markersize": 3.5}
    upper.plot(steps, log_likelihood, color=BLUE, label="log-likelihood", **style)
    upper.plot(steps, np.asarray(trace.elbo), "--", color=RED, label="ELBO", **style)
    upper.ticklabel_format(axis="y", useOffset=False)
    upper.set(ylabel="nats")
    upper.legend(frameon=False, loc="lower right")
    # Rounding makes a closed gap a little more or less than 0; a logarithm shows what is above.
    gap = np.asarray(trace.kl)
    lower.plot(steps, np.where(gap > 0, gap, np.nan), color=GREEN, **style)
    if (gap > 0).any():
        lower.set_yscale("log")
    lower.set(xlabel="step", ylabel="KL (nats)")
    lower.xaxis.get_major_locator().set_params(integer=True)
    return upper


@takes(
    DRAWN,
    errors=having("entries", "of", "model_", how="jm.em.standard_errors"),
    bootstrap=optional(having("interval", how="jm.em.bootstrap")),
)
def intervals(errors: Any, bootstrap: Any = None) -> Axes:
    """Draw the 95 % interval of each parameter, the bootstrap's beside it, one row a parameter.

    Every row is centred on the estimate and in units of its standard error, so that parameters of
    any scale share the axis; the estimate and its error are written beside it.

    Args:
        errors: what `jm.em.standard_errors` gives.
        bootstrap: what `jm.em.bootstrap` gives of the same model.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> errors = jm.em.standard_errors(jm.Normal(0, 1), jnp.array([-1.0, 1.0, -1.0, 1.0]))
        >>> len(jm.plot.intervals(errors).get_yticks())
        2
    """
    rows = []
    for path, function in errors.entries():
        estimate, error = np.asarray(function(errors.model_)), np.asarray(errors.of(function))
        ends = None if bootstrap is None else np.asarray(bootstrap.interval(function))
        symmetric = estimate.ndim > 1 and estimate.shape[-1] == estimate.shape[-2]
        symmetric = symmetric and np.array_equal(estimate, np.swapaxes(estimate, -1, -2))
        for index in np.ndindex(estimate.shape):
            if symmetric and index[-2] > index[-1]:
                continue  # the other half of a symmetric matrix
            name = path.lstrip(".") + "".join(f"[{i}]" for i in index)
            pair = None if ends is None else ends[(slice(None), *index)]
            rows.append((name, float(estimate[index]), float(error[index]), pair))
    ax = new_axes(size=(7.0, 1.0 + 0.32 * len(rows)))[0, 0]
    for place, (_, estimate, error, pair) in enumerate(rows):
        ax.hlines(place, -NORMAL_95, NORMAL_95, color=BLUE, lw=3)
        if pair is not None and error > 0:
            ax.hlines(place + 0.25, *(pair - estimate) / error, color=RED, lw=3)
        ax.plot(0, place, "|", color="white", ms=6)
    texts = [f"{name} = {value:.4g} ± {error:.2g}" for name, value, error, _ in rows]
    ax.set_yticks(range(len(rows)), texts)
    ax.invert_yaxis()
    ax.set_xlabel("distance from the estimate, in standard errors")
    if bootstrap is not None:
        ax.plot([], [], color=BLUE, lw=3, label="observed information")
        ax.plot([], [], color=RED, lw=3, label="bootstrap")
        ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return ax


@takes(DRAWN, x=in_doubles, moves=in_doubles)
def influence(x: Any, moves: Any, ax: Axes | None = None, label: str = "influence") -> Axes:
    """Draw each row of one or two coordinates with what its weight moves.

    Over one coordinate the derivative is the height; over two it is the colour, blue where a row
    pulls the parameter down and red where it pulls it up.

    Args:
        x: rows (n,) or (n, 2).
        moves: one derivative a row, such as `jm.em.influence(model, x).components.mean[0]`.
        ax: where; None for a new figure.
        label: what the derivative is of.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> moves = jm.em.influence(jm.Normal(0, 1), x).mean
        >>> jm.plot.influence(x, moves).get_ylabel()
        'influence'
    """
    if moves.shape != x.shape[:1]:
        raise ValueError(f"moves is one number a row: x has {x.shape}, moves {moves.shape}.")
    if x.ndim != 1 and (x.ndim != 2 or x.shape[1] != 2):
        raise ValueError(f"influence draws rows of one or two coordinates; x has {x.shape}.")
    ax = axes_or_new(ax)
    if x.ndim == 1:
        ax.axhline(0, color="#BBBBBB", lw=0.8)
        ax.plot(x, moves, ".", color=BLUE, ms=4)
        ax.set(xlabel="x", ylabel=label)
        return ax
    limit = np.quantile(np.abs(moves), 0.99)
    dots = ax.scatter(*x.T, c=moves, cmap="coolwarm", vmin=-limit, vmax=limit, s=14)
    ax.figure.colorbar(dots, ax=ax, label=label)
    return ax
