"""Gradient rules: what a model and a guide learn from one set of draws.

Each rule gives coefficients on three things: `model` on log p(x, z) in the model, `path` on
log w along the draws' dependence on the guide, `density` on log q(z) at fixed draws. The
guide's rule follows a bound of its own (the objective's `bound`), not always the value.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._log_sums import softmax
from ._combine import Combined, Term, combine

GUIDE_RULES = {
    "dreg": "doubly reparametrised: unbiased for the bound's gradient, signal grows with draws",
    "stl": "path only ('sticking the landing'): low variance, biased beyond one draw",
    "reparametrised": "the bound's plain derivative",
    "wake": "ascend sum_i s_i log q(z_i): needs no reparametrisation",
    "wake-dreg": "the wake gradient, doubly reparametrised",
    "score": "score function with leave-one-out baselines (VIMCO): any latent",
}
PATHWISE = ("dreg", "stl", "reparametrised", "wake-dreg")
MODEL_RULES = ("value", "wake")


class Coefficients(NamedTuple):
    """Of each draw: on the model's log-density, on the path, and on log q at fixed draws."""

    model: Array
    path: Array
    density: Array


def check_rules(model_gradient: str, guide_gradient: str) -> None:
    if not isinstance(guide_gradient, str) or guide_gradient not in GUIDE_RULES:
        listed = "; ".join(f"'{name}' ({text})" for name, text in GUIDE_RULES.items())
        raise ValueError(f"guide_gradient was {guide_gradient!r}; it is one of: {listed}.")
    if not isinstance(model_gradient, str) or model_gradient not in MODEL_RULES:
        raise ValueError(
            f"model_gradient was {model_gradient!r}; it is 'value' (the derivative of the value) "
            "or 'wake' (that of the importance-weighted bound over the row's draws)."
        )


def coefficients(
    log_w: Array,
    value: Combined,
    bound: Sequence[Term],
    model_gradient: str,
    guide_gradient: str,
    valid: Array | None = None,
) -> Coefficients:
    """The coefficients of a row's draws; those that are not valid (padding) get 0."""
    followed = combine(log_w, bound)
    zero = jnp.zeros_like(log_w)
    share = softmax(log_w)
    model = value.model if model_gradient == "value" else share
    match guide_gradient:
        case "dreg":
            path, density = followed.path, zero
        case "stl":
            path, density = followed.model, zero
        case "reparametrised":
            path, density = followed.model, -followed.model
        case "wake":
            path, density = zero, share
        case "wake-dreg":
            path, density = followed.model - followed.path, zero
        case _:
            path, density = zero, learning_signals(log_w, bound, valid) - followed.model
    found = Coefficients(model, path, density)
    if valid is not None:
        found = Coefficients(*(jnp.where(valid, a, zero) for a in found))
    return Coefficients(*(jax.lax.stop_gradient(a) for a in found))


def learning_signals(log_w, bound, valid=None):
    """L - L with log w_i replaced by the mean of the row's other log-weights, for each draw i.

    Mnih and Rezende 2016, "Variational inference for Monte Carlo objectives", arXiv 1602.06725.
    """
    if log_w.shape[0] < 2:
        raise ValueError(
            "guide_gradient='score' takes its baseline from the other draws: it needs "
            "num_samples of at least 2."
        )
    valid = jnp.ones(log_w.shape, bool) if valid is None else valid
    finite = valid & (log_w > -jnp.inf)
    known = jnp.where(finite, log_w, jnp.zeros_like(log_w))
    others = jnp.maximum(jnp.sum(valid) - 1, 1).astype(log_w.dtype)
    dead = (valid & ~finite).astype(int)
    lost = jnp.sum(dead) - dead
    mean = jnp.where(lost > 0, -jnp.inf, (jnp.sum(known) - known) / others)
    total = jnp.zeros_like(log_w)
    for term in bound:
        own = getattr(term, "signals", None) or functools.partial(replaced_one_by_one, term)
        total = total + own(log_w, mean)
    return total


def replaced_one_by_one(term: Term, log_w: Array, mean: Array) -> Array:
    """What a term loses where each log-weight in turn is the mean of the others."""
    whole = combine(log_w, (term,)).value

    def without(i):
        return combine(log_w.at[i].set(mean[i]), (term,)).value

    left = jax.lax.map(without, jnp.arange(log_w.shape[0]))
    both = jnp.isfinite(whole) & jnp.isfinite(left)
    return jnp.where(both, whole - jnp.where(both, left, 0), jnp.zeros_like(left))
