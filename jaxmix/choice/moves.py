"""Out of a poor optimum: merge two components, split a third, and fit again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._compile import Quick
from .._refittable import Refittable
from .._refuse import on_host
from .._sharding import on_automatic_axes
from .._trees import float_of, num_rows, spread, take
from ..combinators.tied import Borrowed
from ..em import Prior, run
from ..em.chunks import densities as in_stacks
from ..em.m_step import keep_densities, refit
from ..em.parts import is_part, take_apart
from ..em.priors.prior import DEFAULT_FLOOR, blank_stats
from ..em.search.restarts import floor_prior
from ..em.search.small import ELEMENTS
from .likelihood_ratio import in_a_bucket, level

NOISE = 3.0  # of the log-densities that draw latent variables inside a component


class Moves(NamedTuple):
    """What splitting and merging found.

    - `model`, `log_likelihood` (a total in nats): the best fit.
    - `path`: the log-likelihood after each move that was accepted, the start's first.
    - `num_tried`: fits that were run.
    """

    model: PyTree
    log_likelihood: float
    path: list[float]
    num_tried: int


def _candidates(shares, densities, weights, many):
    """Triples (merge i and j, split k), by Ueda's two criteria, as integers (many, 3)."""
    lengths = np.sqrt(weights @ shares**2)
    likeness = (shares * weights[:, None]).T @ shares / np.outer(lengths, lengths)
    mass = weights @ shares
    local = shares * weights[:, None] / mass
    # Kullback-Leibler divergence from the data that a component owns to the component itself.
    with np.errstate(invalid="ignore"):
        terms = np.where(local > 0, local * (np.log(np.maximum(local, 1e-300)) - densities), 0)
    unlike = np.where(np.isnan(terms), 0, terms).sum(0)
    size = shares.shape[1]
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    pairs.sort(key=lambda pair: -likeness[pair])
    splits = np.argsort(-unlike)
    triples = [(*pair, k) for pair in pairs for k in splits if k not in pair]
    # The likeliest pairs, each with its likeliest splits: neither list is used up first.
    rank = {t: pairs.index(t[:2]) + int(np.flatnonzero(splits == t[2])[0]) for t in triples}
    triples.sort(key=lambda t: rank[t])
    return np.array(triples[:many])


def _moved(key, triple, model, data, case):
    """A start: component i takes the data of i and j; j and k share those of k."""
    i, j, k = triple
    k_one, k_two, k_seed = jax.random.split(key, 3)
    share = jax.vmap(model.posterior)(data)
    owned = share[:, k] * case
    mass = jnp.sum(owned)
    # Each half leans towards a random row of its own: the mean moves, no variance vanishes.
    rows = [jax.random.categorical(one, jnp.log(owned)) for one in (k_one, k_two)]
    halves = [(0.25 * owned).at[row].add(0.25 * mass) for row in rows]
    columns = share * case[:, None]
    columns = columns.at[:, i].set(columns[:, i] + columns[:, j])
    columns = columns.at[:, j].set(halves[0]).at[:, k].set(halves[1])
    parts = take_apart(model)
    seeds = [
        jax.random.key_data(jax.random.split(s, leaf.stack_shape))
        for s, leaf in zip(jax.random.split(k_seed, len(parts.leaves)), parts.leaves, strict=True)
    ]
    stats = blank_stats(model, data, seeds, NOISE, weights=columns)
    index = jnp.arange(share.shape[1])
    touched = _touched(model, (index == i) | (index == j) | (index == k))
    leaves = []
    for leaf, s in zip(parts.leaves, stats, strict=True):
        new = refit(leaf, s, jnp.sum(case))[0]
        use = touched.get(_identity(leaf))
        leaves.append(new if use is None else keep_densities(use, new, leaf))
    return parts.model(leaves, parts.loose)


def _identity(leaf) -> int:
    """What tells a leaf of a model from another that is equal to it: its first array."""
    return id(jax.tree.leaves(leaf)[0])


def _touched(model, chosen) -> dict[int, Array]:
    """Of the leaves within single components, which of their densities belong to chosen ones.

    Parts that components share (tied ones, mixing weights) are in none of them.
    """
    is_leaf = lambda node: is_part(node) or isinstance(node, Borrowed)
    nodes = jax.tree.leaves(model.components, is_leaf=is_leaf)
    own = [node for node in nodes if isinstance(node, Refittable)]
    wide = lambda shape: jnp.broadcast_to(spread(chosen, len(shape)), shape)
    return {_identity(leaf): wide(leaf.stack_shape) for leaf in own}


def _fitted(keys, triples, model, data, weights, prior, max_steps, tol):
    def one(key, triple):
        start = _moved(key, triple, model, data, weights)
        found = _run(start, data, weights, prior, max_steps, tol)
        return found.model, level(found)

    return jax.vmap(one)(keys, triples)


def _run(model, data, weights, prior, max_steps, tol):
    options = {"max_steps": max_steps, "history_size": max_steps, "tol": tol, "prior": prior}
    return run(model, data, weights=weights, **options)


def _settle(model, data, *options):
    found = _run(model, data, *options)
    rows = lambda x: (found.model.posterior(x), found.model.component_log_probs(x))
    shares, densities = jax.lax.map(rows, data, batch_size=4096)
    return found.model, found.log_likelihood, shares, densities


def _is_brief(*args) -> bool:
    """Whether all fits cost less than compiling them well."""
    model, data, many = args[-6], args[-5], len(args[0]) if len(args) == 8 else 1
    return num_rows(data) * max(1, in_stacks(model)) * many <= ELEMENTS


_all, _settled = Quick(_fitted, _is_brief), Quick(_settle, _is_brief)


@on_host("call it outside.")
@on_automatic_axes
def split_and_merge(
    key: Key[Array, ""],
    model: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    prior: Prior | None = None,
    floor: float = DEFAULT_FLOOR,
    num_candidates: int = 8,
    max_moves: int = 10,
    min_gain: float = 1e-5,
    max_steps: int = 500,
    tol: float = 1e-7,
) -> Moves:
    """Improve a fitted mixture by moves that EM cannot make: merge two components, split a third.

    Candidates are ranked by Ueda's criteria (2000, doi:10.1162/089976600300015088): the pair of
    most similar responsibilities is merged, the component furthest from its own data is split.
    All candidates are fitted at once under one `vmap`, the best is taken if it gains, and the
    search goes on from there: the log-likelihood never falls.

    Args:
        key: a typed key.
        model: a fitted mixture of a stack, of at least 3 components, such as `fit.model`.
        data: events stacked along a leading axis.
        weights: case weights (rows,).
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: that share.
        num_candidates: moves tried at once.
        max_moves: moves at most.
        min_gain: what a move must gain, in nats a datum.
        max_steps: EM steps of a fit.
        tol: EM's tolerance, in nats a datum.

    Returns:
        The `Moves`; `jm.fit(None, moves.model, data, init="given")` makes a `Fit` of it.

    Raises:
        ValueError: if the model is no mixture of a stack of at least 3 components.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([c + jnp.linspace(-1, 1, 50) for c in (-20.0, -15.0, 20.0)])
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-17.0, 19.5, 20.5]), jnp.array([3.0, 0.5, 0.5]))
        >>> poor = jm.MixtureSameFamily(jnp.array([0.6, 0.2, 0.2]), parts)
        >>> moves = jm.choice.split_and_merge(jax.random.key(0), poor, x)
        >>> jnp.sort(moves.model.components.mean).round(1)
        Array([-20., -15.,  20.], dtype=float32)
    """
    components = getattr(model, "components", None)
    size = getattr(model, "num_components", 0)
    if components is None or isinstance(components, tuple) or size < 3:
        raise ValueError(
            "split_and_merge takes a mixture of a stack of at least 3 components, such as "
            f"mixture_of(template, 3) gives; it was given a {type(model).__name__} of {size}."
        )
    rows = num_rows(data)
    given = np.ones(rows) if weights is None else np.asarray(weights, float)
    data, case = in_a_bucket(data, given, float_of(model))
    prior = floor_prior(model, data, case, floor) if prior is None else prior
    fixed = (data, case, prior, max_steps, jax.device_put(tol))
    model, total, *seen = _settled(model, *fixed)
    path, tried = [float(total)], 0
    for k_move in jax.random.split(key, max_moves):
        shares, densities = (np.asarray(part, float)[:rows] for part in seen)
        triples = _candidates(shares, densities, given, num_candidates)
        k_each = jax.random.split(k_move, len(triples))
        models, levels = _all(k_each, triples, model, *fixed)
        tried += len(triples)
        levels = np.asarray(levels)
        best = int(levels.argmax())
        if not float(levels[best]) > path[-1] + min_gain * case.sum():
            break
        model = take(models, best)
        model, total, shares, densities = _settled(model, *fixed)
        path.append(float(total))
    return Moves(model, path[-1], path, tried)
