"""What a mixture over records says of each row of a table, in blocks of rows of one size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._compile import of_few_numbers
from .._log_sums import weighted_logsumexp, weighted_softmax
from .._stack import outcome_log_probs
from .._trees import num_rows
from ..combinators import Optional as OptionalField
from ..combinators._conditioning import plain
from ..data.structure import structure
from ..em.search.padding import bucket
from ..families import Categorical
from .describe import probs_of
from .work import at_work

BLOCK = 1 << 16
AT_ONCE = 4096


class Rows(NamedTuple):
    """`posterior`: (rows, components); `level`: log-densities, in nats; `told`: nats that each
    field alone tells of the component, in the mean over the rows.
    """

    posterior: np.ndarray
    level: np.ndarray
    told: dict[str, float]


def rows_under(model: PyTree, data: PyTree) -> Rows:
    """What a mixture says of all rows."""
    names = [name for name, _ in structure(model).items()]
    rows = num_rows(data)
    size = min(bucket(rows), BLOCK)
    out = []
    starts = range(0, rows, size)
    for start in starts:
        if len(starts) > 1:
            at_work("Asking the mixture", f"{start:,} of {rows:,} rows")
        piece = jax.tree.map(lambda a, s=start: np.asarray(a[s : s + size]), data)
        short = size - num_rows(piece)
        if short:
            pad = lambda a, n=short: np.concatenate([a, np.repeat(a[-1:], n, 0)])
            piece = jax.tree.map(pad, piece)
        told = jax.tree.map(np.asarray, _block(model, piece, tuple(names)))
        out.append(jax.tree.map(lambda a, n=size - short: a[:n], told))
    posterior, level, alone = (np.concatenate(parts) for parts in zip(*out, strict=True))
    means = np.maximum(alone.mean(0), 0.0)
    told = dict(zip(names, means.tolist(), strict=True))
    return Rows(posterior, level, dict(sorted(told.items(), key=lambda pair: -pair[1])))


@of_few_numbers
def _block(model: PyTree, data: PyTree, names: tuple[str, ...]) -> tuple[Array, Array, Array]:
    log_weights = outcome_log_probs(model.mixing, model.num_components)
    marginals = [model.marginal(name) for name in names]

    def one(row):
        under = [m.component_log_probs(row[f]) for m, f in zip(marginals, names, strict=True)]
        joint = sum(under[1:], start=under[0])  # the fields are independent within a component
        return (
            weighted_softmax(log_weights, joint),
            weighted_logsumexp(log_weights, joint),
            jnp.stack([_told(log_weights, alone) for alone in under]),
        )

    return jax.lax.map(one, data, batch_size=AT_ONCE)


def _told(log_weights: Array, under: Array) -> Array:
    """The divergence of the posterior that one field gives from the weights."""
    share = weighted_softmax(log_weights, under)
    there = share > 0
    safe = jnp.where(there, share, jnp.ones_like(share))
    return jnp.sum(jnp.where(there, share * (jnp.log(safe) - log_weights), 0.0))


def filled_in(model: PyTree, field: str, posterior: np.ndarray) -> list[Any]:
    """Values of a field that rows of these posteriors lack, and their standard deviations.

    The components take their fields for independent: what a row says of a field that it lacks is
    the mixture, by the row's posterior probabilities, of the components' own. A number is filled in
    by its mean, labels by the likeliest (their codes), without deviations.
    """
    parts = model.marginal(field).components
    value_of = lambda part: plain(part.value) if isinstance(part, OptionalField) else part
    leaves = [value_of(plain(part)) for part in (parts if isinstance(parts, tuple) else [parts])]
    if isinstance(leaves[0], Categorical):
        probs = np.concatenate([np.atleast_2d(probs_of(leaf)) for leaf in leaves])
        return [(posterior @ probs).argmax(1)]
    read = lambda name: np.concatenate([np.atleast_1d(getattr(leaf, name)) for leaf in leaves])
    mean = read("mean")
    value = posterior @ mean
    try:
        variance = read("variance")
    except (AttributeError, NotImplementedError):
        return [value]
    away = (mean - value[:, None]) ** 2
    return [value, np.sqrt(np.sum(posterior * (variance + away), 1))]
