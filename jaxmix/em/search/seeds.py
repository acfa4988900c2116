"""Which rows each component of a mixture starts from, for every restart at once, on the host.

Rows are drawn in NumPy: seeding compiles nothing, and another number of rows, components or
restarts compiles nothing either.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree

from ..._k_means import canonical_order, lloyd, plus_plus
from ..._refittable import Refittable
from ..._trees import float_of, num_rows
from ...combinators import Composite
from ..parts import take_apart
from .initialise import NUDGE, ROWS_A_COMPONENT, ROWS_ALONE, SEED_ROWS, Start, is_vector_event

LLOYD_STEPS = 100
PRINCIPAL = 128  # columns up to which the axes are cheap
READ_WHOLE = 1 << 28  # bytes; of larger arrays only the rows wanted leave their device


def starts(
    key: Key[Array, ""], model: PyTree, data: PyTree, size: int | None, many: int, weights: Any
) -> Start:
    """What `many` restarts of a model start from, in arrays of its shapes; for `size` see `seeds`."""
    found = seeds(key, data, size, many, weights)
    random = generator(key).spawn(1)[0]  # the seeds have used the generator itself
    parts, bits = take_apart(model), None
    if not _is_flat(model):
        draw = lambda leaf: random.integers(0, 1 << 32, (many, *leaf.stack_shape, 2), np.uint32)
        bits = [draw(leaf) for leaf in parts.leaves]
    noise = [
        (NUDGE * random.standard_normal((many, *a.shape))).astype(a.dtype) for a in parts.loose
    ]
    return found._replace(share=found.share.astype(float_of(model)), seeds=bits, noise=noise)


def _is_flat(model: PyTree) -> bool:
    """Whether a mixture's components have no latent variables inside that could want noise."""
    stack = getattr(model, "components", None)
    plain = lambda node: isinstance(node, Refittable)
    if isinstance(stack, Composite):
        return all(plain(part) for _, part in stack.items())
    return plain(stack)


def generator(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's random numbers from a typed key; no program runs."""
    words = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words.tolist())))


def split(key: Key[Array, ""], count: int) -> list[Key[Array, ""]]:
    """Keys from a key, as `jax.random.split` gives them, but drawn on the host."""
    words = jax.random.key_data(key)
    drawn = generator(key).integers(0, 1 << 32, (count, *words.shape), np.uint32)
    impl = jax.random.key_impl(key)
    return [jax.random.wrap_key_data(one, impl=impl) for one in jax.device_put(list(drawn))]


def seeds(
    key: Key[Array, ""], data: PyTree, size: int | None, many: int, weights: Array | None = None
) -> Start:
    """Which rows each component starts from, in `many` starts of a mixture with `size` components.

    Of four starts of a mixture over vectors, in turn, no kind is the best on every problem:

    - the clusters of k-means, run to its end from greedy k-means++ (Lloyd 1982; Arthur and
      Vassilvitskii 2007), on coordinates in units of their spread;
    - three rows a component, or as few as leave every component rows of its own;
    - the clusters of k-means on principal coordinates, the thin ones stretched;
    - the rows nearest to each seed of k-means++.

    All starts of records are a few rows a component. Of more than 2,048 rows each start draws so
    many for itself.

    Units and shifts of vectors change nothing, nor does the order of columns, nor, up to 2,048
    rows, that of rows; a row of weight 2 does what the same row twice would, one of weight 0
    nothing, and case weights in other units the same. A model that is no mixture (`size` None)
    starts from 32 rows.
    """
    random = generator(key)
    case = np.ones(num_rows(data)) if weights is None else _read(weights, None).astype(float)
    rows = None
    if num_rows(data) > SEED_ROWS:
        rows = _quantiles(case, random.uniform(size=(many, SEED_ROWS)))
        case = np.ones(SEED_ROWS)
    case = case / case[case > 0].mean()
    share = np.zeros((many, len(case), size or 1), np.float32)
    if size is None:
        _few_rows(share, case, random, min(ROWS_ALONE, len(case)))
    elif not is_vector_event(data) or size == 1:
        _few_rows(share, case, random)
    else:
        x = _standard(_vectors(data, rows), case)
        # Rows in an order of their own, so that a draw falls on a value and not on a position.
        order = slice(None) if rows is not None else canonical_order(_filled(x[0]))
        x, case, ordered = x[:, order], case[order], np.zeros_like(share)
        lanes = lambda kind: slice(kind, None, 4)
        of = lambda kind: x[lanes(kind)] if len(x) > 1 else x
        _clusters(ordered[lanes(0)], of(0), case, random)
        _few_rows(ordered[lanes(1)], case, random)
        _clusters(ordered[lanes(2)], _principal(of(2), case), case, random, trials=1)
        _clusters(ordered[lanes(3)], of(3), case, random, trials=1, max_steps=0)
        share[:, order] = ordered
    return Start(share if size else share[..., 0], rows)


def _quantiles(weights: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Positions at which the running sum of the weights passes these shares of it."""
    total = np.cumsum(weights)
    found = np.searchsorted(total, level * total[-1], side="right")
    return np.minimum(found, np.flatnonzero(weights > 0)[-1])


def _few_rows(share: np.ndarray, case: np.ndarray, random: Any, each=ROWS_A_COMPONENT) -> None:
    """A few rows a component: one from each stretch of equal weight, dealt out at random."""
    many, num_rows, size = share.shape
    each = min(each, max(1, num_rows // size))
    level = (np.arange(size * each) + random.uniform(size=(many, size * each))) / (size * each)
    rows = random.permuted(_quantiles(case, level), axis=1)
    np.add.at(share, (np.arange(many)[:, None], rows, np.arange(size * each) // each), 1)


def _clusters(
    share: np.ndarray, x: np.ndarray, case: np.ndarray, random: Any, *,
    trials: int | None = None, max_steps: int = LLOYD_STEPS,
) -> None:  # fmt: skip
    """The clusters of k-means, or before its first step the rows nearest to each seed."""
    many, num_rows, size = share.shape
    if not many:
        return
    whole, weights = _filled(x), case[None]
    chosen = plus_plus(whole, size, weights, random, many=many, trials=trials)
    lanes = np.arange(many)[:, None]
    labels = lloyd(x, whole[lanes % len(x), chosen], weights, max_steps=max_steps).labels
    share[lanes, np.arange(num_rows), labels] = case


def _principal(x: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Principal coordinates, each divided by the square root of its spread."""
    if x.shape[-1] > PRINCIPAL:
        return x
    x = _filled(x)
    scatter = np.swapaxes(x, -1, -2) @ (case[:, None] * x) / case.sum()
    values, axes = np.linalg.eigh(scatter)
    # Directions without scatter come out as rounding: they are left out.
    most = values.max(-1, keepdims=True) * x.shape[-1] * np.finfo(float).eps
    there = values > most
    return x @ (axes * (there / np.where(there, values, 1) ** 0.25)[..., None, :])


def _read(array: Any, rows: np.ndarray | None) -> np.ndarray:
    """Rows of an array on the host, wherever it lies; of one spread over processes, by all."""
    away = isinstance(array, jax.Array) and not array.is_fully_addressable
    if not away and (rows is None or array.nbytes <= READ_WHOLE):
        return np.asarray(array)[slice(None) if rows is None else rows]
    wanted = np.arange(len(array)) if rows is None else rows
    mesh: Any = getattr(getattr(array, "sharding", None), "mesh", None)
    everywhere = NamedSharding(mesh, PartitionSpec()) if away else None
    return np.asarray(jax.jit(lambda a, r: a[r], out_shardings=everywhere)(array, wanted))


def _vectors(data: PyTree, rows: np.ndarray | None) -> np.ndarray:
    """Vectors (1, n, d), or the rows drawn for each start (restarts, n, d)."""
    x = _read(jax.tree.leaves(data)[0], rows).astype(float)
    x = x[None] if rows is None else x
    return x if x.ndim == 3 else x[..., None]


def _standard(x: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Coordinates about their mean in units of their spread; those that are all equal, 0."""
    seen = ~np.isnan(x)
    least = np.where(seen, x, np.inf).min(1, keepdims=True)
    x = x - np.where(np.isfinite(least), least, 0)  # now a column of equal numbers is 0 exactly
    w = seen * case[:, None]
    count = np.maximum(w.sum(1, keepdims=True), np.finfo(float).tiny)
    x = x - (w * _filled(x)).sum(1, keepdims=True) / count
    spread = np.sqrt((w * _filled(x) ** 2).sum(1, keepdims=True) / count)
    return x / np.where(spread > 0, spread, 1)


def _filled(x: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), 0, x)
