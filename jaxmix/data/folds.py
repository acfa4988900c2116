"""Random parts of the rows; cross-validation: each row scored by a fit that never saw it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._arguments import density, in_doubles, key, takes
from .._arguments import rows as rows_of
from .._sharding import gathered
from .._trees import num_rows
from ..em.fit import fit_each
from ..em.search.padding import rows_under
from ..em.search.seeds import generator


class CrossValidated(NamedTuple):
    """Held-out log-likelihoods, in nats.

    - `row_log_probs`: (rows,) of each row under the fit to the folds without it.
    - `fold_log_likelihoods`: (folds,) totals of each fold, case weights included.
    - `mean`: the held-out log-likelihood per unit of weight.
    - `std_error`: of `mean`, from the spread over rows; fits that share data make it a little
      too small (Bengio and Grandvalet 2004). NaN where a row is impossible.
    """

    row_log_probs: np.ndarray
    fold_log_likelihoods: np.ndarray
    mean: float
    std_error: float


def _folds(key: Key[Array, ""], rows: int, folds: int) -> np.ndarray:
    """The fold of each row, at random, sizes within one of each other."""
    if not isinstance(folds, int) or not 2 <= folds <= rows:
        raise ValueError(f"{rows} rows make 2 to {rows} folds; {folds!r} were asked for.")
    return generator(key).permutation(np.arange(rows) % folds)  # another number compiles nothing


@takes("split the rows before.", key=key, data=rows_of)
def k_fold(key: Key[Array, ""], data: PyTree, folds: int) -> Iterator[tuple[PyTree, PyTree]]:
    """Pairs of events to train on and events held out; every row is held out once.

    Args:
        key: a typed key.
        data: events, stacked along a leading axis.
        folds: how many pairs, at least 2.

    Raises:
        ValueError: for more folds than rows, or fewer than 2.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> pairs = jm.data.k_fold(jax.random.key(0), jnp.arange(10.0), 5)
        >>> [(len(train), len(held)) for train, held in pairs]
        [(8, 2), (8, 2), (8, 2), (8, 2), (8, 2)]
    """
    data = gathered(data)
    fold = _folds(key, num_rows(data), folds)

    def pairs():
        for number in range(folds):
            train, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            yield tuple(_picked(data, rows) for rows in (train, held))

    return pairs()


@takes("split the rows before.", key=key, data=rows_of, fractions=in_doubles)
def partition(key: Key[Array, ""], data: PyTree, fractions: Sequence[float]) -> tuple[PyTree, ...]:
    """Split events at random into parts of given fractions.

    Args:
        key: a typed key.
        data: events, stacked along a leading axis.
        fractions: what share of the rows each part gets; positive, adding up to at most 1.

    Returns:
        As many parts, each in the rows' own order.

    Raises:
        ValueError: for fractions that are not positive or exceed 1 together, or an empty part.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> train, valid = jm.partition(jax.random.key(0), jnp.arange(10), (0.8, 0.2))
        >>> train.shape, valid.shape
        ((8,), (2,))
    """
    data = gathered(data)
    count = num_rows(data)
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or np.any(shares <= 0) or shares.sum() > 1 + 1e-9:
        raise ValueError(
            f"Fractions are positive and add up to at most 1; {shares.tolist()} were given."
        )
    ends = np.concatenate([[0], np.rint(np.cumsum(shares) * count).astype(int)])
    if np.any(np.diff(ends) == 0):
        raise ValueError(f"{count} rows are too few for the fractions {shares.tolist()}.")
    order = np.asarray(jax.random.permutation(key, count))
    parts = [np.sort(order[a:b]) for a, b in pairwise(ends)]
    return tuple(_picked(data, index) for index in parts)


def _picked(data: PyTree, rows: np.ndarray) -> PyTree:
    """Some rows of every array, picked on the host, where no number of them compiles anything."""

    def one(a):
        picked = np.asarray(a)[rows]
        return jax.device_put(picked, a.sharding) if isinstance(a, jax.Array) else picked

    return jax.tree.map(one, data)


def left_out(
    keys: Sequence[Any],
    templates: Sequence[PyTree],
    data: PyTree,
    weights: np.ndarray,
    fold: np.ndarray,
    options: Any,
) -> list[np.ndarray]:
    """Each row's log-density under fits to the other folds, of each model with a key for each fold."""
    values = [np.full(len(fold), np.nan) for _ in templates]
    for number in range(fold.max() + 1):
        out = fold == number
        some = [k[number] for k in keys]
        parts = fit_each(some, templates, data, weights=np.where(out, 0, weights), **options)
        for value, part in zip(values, parts, strict=True):
            value[out] = rows_under(part.model, data)[out]
    return values


@takes("call it outside.", key=key, template=density, data=rows_of)
def cross_validate(
    key: Key[Array, ""],
    template: PyTree,
    data: PyTree,
    *,
    folds: int = 5,
    weights: Array | None = None,
    **options: Any,
) -> CrossValidated:
    """Held-out log-likelihood of a template: each fold scored by a fit to the others.

    A fold is left out by weights of 0, so that all folds share one compiled fit.

    Args:
        key: a typed key, for the folds and the starts of each fit.
        template: what `jm.fit` takes.
        data: events, stacked along a leading axis.
        folds: how many.
        weights: case weights (rows,), non-negative.
        options: passed on to `jm.fit`.

    Returns:
        A `CrossValidated`; compare templates by its `mean`, on the same key.

    Raises:
        ValueError: for more folds than rows, or what `jm.fit` refuses.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-3, -1, 40), jnp.linspace(2, 4, 40)])
        >>> score = lambda k: jm.data.cross_validate(
        ...     jax.random.key(0), jm.mixture_of(jm.Normal.template(), k), x, folds=4
        ... ).mean
        >>> score(2) > score(1)
        True
    """
    template, data = gathered((template, data))
    rows = num_rows(data)
    k_fold, k_fit = jax.random.split(key)
    fold = _folds(k_fold, rows, folds)
    given = np.ones(rows) if weights is None else np.asarray(weights)
    keys = [jax.random.split(k_fit, folds)]
    (values,) = left_out(keys, [template], data, given, fold, options)
    with np.errstate(invalid="ignore"):
        weighted = np.where(given > 0, values, 0) * given
        totals = np.bincount(fold, weighted, minlength=folds)
        mean = float(totals.sum() / given.sum())
        spread = np.where(given > 0, values - mean, 0) * given
        error = float(np.sqrt(np.sum(spread**2)) / given.sum())
    return CrossValidated(values, totals, mean, error)
