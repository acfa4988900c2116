"""The starts of a fit, and which of them go on: short runs first where restarts are dear."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import maximise
from .checks import check_support
from .chunks import num_rows, width
from .initialise import components, dtype_of, everywhere, has_zeros, started, supported
from .seeds import seeds
from .sharded import layout_of, over_rows
from .solution import name
from .state import History, State

BLOCK = 50  # steps between two looks of the host, and of a short run
SEARCH_ROWS = 16_384
CHEAP = 4_000_000  # rows x components x restarts up to which every restart runs to its end

floor_prior = jax.jit(maximise.floor_prior)


class Searched(NamedTuple):
    """States of several restarts, stacked, their traces, and how each did."""

    state: State
    history: list[History]
    result: Any


def take(tree: PyTree, index: Any) -> PyTree:
    """Some lanes of a stacked tree."""
    return jax.tree.map(lambda a: a[index], tree)


# Run once, on few rows: the compiler's dearer passes cost more time than they give back.
@functools.cache
def _starter(quickly: bool):
    """`_started` compiled for one run; `quickly` where the user has asked for still less effort."""
    options = None if quickly else {"xla_backend_optimization_level": 1}
    return jax.jit(_started, compiler_options=options)


def _started(key, template, data, seeds):
    pick = (lambda rows: data) if seeds.rows is None else functools.partial(take, data)
    keys = jax.random.split(key, (seeds.share.shape[0], 2))
    one = lambda k, rows, share: started(k, template, pick(rows), share, seeds.case)
    return jax.vmap(one, (0, None if seeds.rows is None else 0, 0))(keys, seeds.rows, seeds.share)


def starts(key, template: PyTree, data: PyTree, weights: Any, many: int) -> PyTree:
    """Models to start from, stacked: rows are drawn on the host, and one program refits to them."""
    k_seeds, k_inside = jax.random.split(key)
    size = components(template, data)
    found = seeds(k_seeds, data, size, many, weights)
    dtype = dtype_of(template)
    found = found._replace(share=found.share.astype(dtype), case=found.case.astype(dtype))
    quickly = jax.config.read("jax_disable_most_optimizations")
    return _starter(quickly)(k_inside, template, data, found)


@eqx.filter_jit
def _supported(models, template, data, weights, layout):
    whole = over_rows(lambda d, w, t: everywhere(t, d, w), layout, data, weights, template)
    return supported(models, whole)


def search(key, template, data, weights, options, go):
    """All restarts, or where they are dear short runs on a sample and the best few in full."""
    rows, many = num_rows(data), options.num_restarts
    k_start, k_rows = jax.random.split(key)
    models = starts(k_start, template, data, weights, many)
    lift = lambda m: _supported(m, template, data, weights, layout_of(data)) if has_zeros(m) else m
    models = lift(models)
    check_support(take(models, 0), data, weights)
    full = options.prior
    if full is None:
        full = floor_prior(template, data, weights, options.floor)
    if rows * width(template) * many <= CHEAP:
        found = go(models, data, weights, full, options.limits)
        return found, np.asarray(found.state.expected.log_likelihood.value), full
    part, part_weights = data, weights
    if rows > SEARCH_ROWS:
        index = jax.random.choice(k_rows, rows, (SEARCH_ROWS,), replace=False)
        part = take(data, index)
        part_weights = None if weights is None else weights[index]
    shorter = options._replace(max_steps=min(BLOCK, options.max_steps)).limits
    short = go(models, part, part_weights, full, shorter, "search")
    means = np.asarray(short.state.expected.log_likelihood.value / short.state.expected.weight)
    bad = np.array([name(take(short.result, i)) == "degenerate" for i in range(many)])
    means = np.where(bad | np.isnan(means), -np.inf, means)
    chosen = np.argsort(-means)[: max(1, min(many, 2 if rows > SEARCH_ROWS else 4))]
    best = lift(take(short.state.model, jnp.asarray(chosen)))
    found = go(best, data, weights, full, options.limits)
    return found, np.asarray(found.state.expected.log_likelihood.value), full
