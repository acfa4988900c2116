"""The traces that explain EM: the log-likelihood, its lower bound, and the gap between them."""

from typing import Any

import numpy as np

from .._arguments import having, takes
from ._canvas import DRAWN, Axes, new_axes


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
    upper.plot(steps, log_likelihood, color="#0072B2", label="log-likelihood", **style)
    upper.plot(steps, np.asarray(trace.elbo), "--", color="#D55E00", label="ELBO", **style)
    upper.ticklabel_format(axis="y", useOffset=False)
    upper.set(ylabel="nats")
    upper.legend(frameon=False, loc="lower right")
    # Rounding makes a closed gap a little more or less than 0; a logarithm shows what is above.
    gap = np.asarray(trace.kl)
    lower.plot(steps, np.where(gap > 0, gap, np.nan), color="#009E73", **style)
    if (gap > 0).any():
        lower.set_yscale("log")
    lower.set(xlabel="step", ylabel="KL (nats)")
    lower.xaxis.get_major_locator().set_params(integer=True)
    return upper
