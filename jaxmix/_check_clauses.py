"""Clauses of the contract of a log-density: a sentence where one does not hold."""

import copy
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._refuse import NO_PYTREE, is_opaque

SIGMAS = 5.0  # of a mean over draws: beyond the largest of a hundred parameters by chance


class Check(NamedTuple):
    """One clause of the contract: what was asked, and what was found ("" where it holds)."""

    asks: str
    found: str


def not_a_pytree(density) -> str:
    leaves, structure = jax.tree.flatten(density)
    if is_opaque(density):
        return NO_PYTREE
    odd = [leaf for leaf in leaves if not eqx.is_array_like(leaf) and not callable(leaf)]
    if odd:
        return f"It holds a {type(odd[0]).__name__}, {odd[0]!r}: make that field static."
    try:
        alike = structure == jax.tree.structure(copy.deepcopy(density))
    except Exception:  # an array has no truth value
        alike = False
    return "" if alike else "A static field is unlike its copy: arrays belong in ordinary fields."


def not_a_scalar(value, parameters) -> str:
    if not hasattr(value, "shape") or value.shape != ():
        return f"It gives {value}: add what axes of ONE event are left; `jax.vmap` makes batches."
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return f"It has dtype {value.dtype}."
    own = [leaf.dtype for leaf in jax.tree.leaves(parameters)]
    if own and value.dtype != jnp.result_type(*own):
        return f"It has dtype {value.dtype} with parameters of {jnp.result_type(*own)}."
    return ""


def unlike(drawn, event) -> str:
    shapes = lambda tree: jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)
    return "" if shapes(drawn) == shapes(event) else f"It gives {drawn}; the event is {event}."


def check_values(seen, clause) -> None:
    alone = float(seen["alone"])
    values = np.append(np.asarray(seen.get("values", [])), alone)
    bad = values[np.isnan(values) | (values == np.inf)]
    clause("log_prob is a number.", f"It is {bad[0]} at an event." if bad.size else "")
    for many, over in (("rows", "events"), ("stack", "a stack of densities")):
        batch = np.asarray(seen[many])
        same = np.allclose(batch, alone, rtol=1e-4, atol=1e-4, equal_nan=True)
        found = "" if same else f"Alone {alone}, in a batch {batch}."
        clause(f"It is the same under vmap over {over}.", found)


def check_slopes(seen, dtype, clause) -> None:
    forward, reverse, slope = (float(seen[k]) for k in ("forward", "reverse", "difference"))
    # Rounding of the two ends over the step, and the third derivative times the step squared.
    size = 1 + abs(float(seen["alone"])) + abs(slope)
    tolerance = 50 * float(jnp.finfo(dtype).eps) ** (2 / 3) * size
    clause(
        "Its derivatives, forward and reverse, are its slope.",
        ""
        if max(abs(forward - slope), abs(reverse - slope)) <= tolerance
        else f"Along one direction: jvp {forward}, grad {reverse}, slope {slope}.",
    )


def _far(mean_zero: Array) -> float:
    """The largest mean of any parameter's values over the draws, in standard errors."""
    values = np.asarray(mean_zero, np.float64).reshape(len(mean_zero), -1)
    mean, error = values.mean(0), values.std(0, ddof=1) / math.sqrt(len(values))
    noise = np.finfo(np.float32).eps * np.abs(values).max(0, initial=0.0)
    return float(np.max(np.abs(mean) / np.maximum(error, noise + np.finfo(float).tiny), initial=0))


def _worst(tree) -> tuple[str, float]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return max(
        ((jax.tree_util.keystr(path), _far(a)) for path, a in flat),
        key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1],
        default=("", 0.0),
    )


def check_draws(seen, regular, clause, skipped) -> None:
    flat = [np.asarray(a) for a in jax.tree.leaves(seen["draws"])]
    again = [np.asarray(a) for a in jax.tree.leaves(seen["again"])]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(flat, again, strict=True))
    clause("sample gives the same draw for the same key.", "" if same else "It does not.")
    where, far = _worst(seen["score"])
    asks = "Its score has mean 0 over its own draws: it integrates to 1, and sample draws from it."
    if regular:
        clause(asks, "" if far < SIGMAS else f"The mean in {where} is {far:.1f} errors from 0.")
    else:
        skipped.append(Check(asks, "Its support moves with its parameters."))
    asks = "The gradient along its draws is the score-function gradient."
    if "path" not in seen:
        skipped.append(Check(asks, "It does not say that it is reparametrised."))
        return
    centred = np.asarray(seen["values"], np.float64)
    centred = centred - centred.mean()
    wide = lambda a: centred.reshape((-1,) + (1,) * (np.ndim(a) - 1))
    gap = jax.tree.map(
        lambda p, s: np.asarray(p) - np.asarray(s) * wide(s), seen["path"], seen["score"]
    )
    where, far = _worst(gap)
    clause(asks, "" if far < SIGMAS else f"In {where} they differ by {far:.1f} standard errors.")
