"""What a model says of the missing fields of records: values, and how sure they are."""

import contextlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._arguments import real
from .._compile import of_few_numbers
from .._refuse import on_host
from .._trees import num_rows, take
from ..combinators import Composite, OptionalEvent
from ..combinators._conditioning import typical
from ..em.search.padding import bucket
from ..families import Categorical
from .structure import structure

AT_ONCE = 4096


class Imputed(NamedTuple):
    """Records with their missing fields filled in, and how sure that is, field by field.

    `events` have nothing missing: `jm.decode` makes rows of them. `sd`, `low` and `high` are
    (rows,) for each field of numbers that may be missing, of the value given what the row shows:
    its standard deviation and the ends of the interval with equal tails; the value itself and 0
    where it is there, and no `low` nor `high` for a family without a distribution function. Of
    vectors in which NaN is missing they are (rows, d), of each coordinate given the others.
    `probability` is (rows,) for each field of labels: that of the label filled in, or 1.
    """

    events: PyTree
    sd: dict[Any, np.ndarray]
    low: dict[Any, np.ndarray]
    high: dict[Any, np.ndarray]
    probability: dict[Any, np.ndarray]


@on_host("jax.vmap(model.impute) and model.conditional are for inside.")
def imputed(model: PyTree, events: PyTree, *, level: float = 0.9) -> Imputed:
    r"""Fill in all missing fields of records, and say how sure each value is.

    A missing $y$ of a row that shows $x$ has the density
    $p(y \mid x) = \sum_k p(k \mid x) \, p_k(y \mid x)$, `model.conditional`: its mean is filled in
    (of labels, the most probable one), its standard deviation and quantiles tell how sure that is.
    Several missing fields of one row are each said given what is there; that they hang together
    shows in draws, `model.impute(event, key)`.

    Args:
        model: a density of records, or a mixture of them.
        events: records, stacked along a leading axis, as `jm.encode` gives them.
        level: the probability that an interval holds, between 0 and 1.

    Raises:
        ValueError: for a model of no records, events that are not its own, or another level.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> bird = lambda mass, kind: jm.Composite({
        ...     "mass": jm.Optional(jm.Normal(mass, 0.5)),
        ...     "kind": jm.Optional(jm.Categorical(probs=jnp.array(kind), labels=("jay", "owl"))),
        ... })
        >>> birds = jm.Mixture(jnp.array([0.5, 0.5]), [bird(2, [0.9, 0.1]), bird(8, [0.2, 0.8])])
        >>> rows = [{"mass": 2.0, "kind": None}, {"mass": None, "kind": "owl"}]
        >>> found = jm.data.imputed(birds, jm.encode(birds, rows))
        >>> [(round(row["mass"], 2), row["kind"]) for row in jm.decode(birds, found.events)]
        [(2.0, 'jay'), (7.33, 'owl')]
        >>> for said in (found.sd["mass"], found.low["mass"], found.probability["kind"]):
        ...     print(said.round(2))
        [0.   1.95]
        [2.   1.94]
        [0.9 1. ]
    """
    record = structure(model)
    if not isinstance(record, Composite):
        raise ValueError(
            f"imputed takes a density of records (jm.Composite) or a mixture of them; the events "
            f"of this one are those of {type(record).__name__}."
        )
    real(0, 1)(level, "level")
    kind = dict if isinstance(record.parts, dict) else tuple
    names = [name for name, _ in record.items()]
    if not isinstance(events, kind) or len(events) != len(names):
        raise ValueError(
            f"imputed takes the model's records, a {kind.__name__} of {len(names)} fields stacked "
            f"along a leading axis; it was given a {type(events).__name__}."
        )
    events = jax.tree.map(np.asarray, events)
    out = Imputed(None, {}, {}, {}, {})
    whole = {}
    for name in names:
        gaps = _gaps(events[name])
        filled = events[name] if gaps is None else _filled(model, events, name, gaps, level, out)
        whole[name] = filled
    return out._replace(events=whole if kind is dict else tuple(whole.values()))


def _gaps(field: PyTree) -> np.ndarray | None:
    """The rows of a field that lack it, or a coordinate of it; None for what has no gaps."""
    if isinstance(field, OptionalEvent):
        return np.flatnonzero(~field.present)
    vectors = getattr(field, "ndim", 0) == 2 and field.dtype.kind == "f"
    return np.flatnonzero(np.isnan(field).any(1)) if vectors and np.isnan(field).any() else None


def _filled(
    model: PyTree, events: Any, name: Any, gaps: np.ndarray, level: float, out: Imputed
) -> PyTree:
    """The values of one field, all of them; what is said of it goes to `out`."""
    field = getattr(events[name], "value", events[name])
    at = np.resize(gaps if len(gaps) else np.zeros(1, int), bucket(len(gaps)))  # few programs
    some = take(events, at)
    value, said = _said(model, some, name, (0.5 - level / 2, 0.5 + level / 2))

    def put(there: np.ndarray, new: Array) -> np.ndarray:
        whole = np.array(there, new.dtype)
        whole[gaps] = np.asarray(new)[: len(gaps)]
        return whole

    values = jax.tree.map(put, field, value)
    none = np.zeros(np.shape(field) if getattr(field, "ndim", 0) == 2 else num_rows(field))
    known = {"sd": none, "probability": none + 1, "low": field, "high": field}
    for key, new in said.items():
        getattr(out, key)[name] = put(known[key], new)
    return values


@of_few_numbers
def _said(model: PyTree, events: PyTree, name: Any, ends: tuple[float, float]) -> tuple[Any, dict]:
    def of_field(density):
        value = typical(density)
        if isinstance(structure(density), Categorical):
            return value, {"probability": jnp.exp(density.log_prob(value))}
        said = {}
        if getattr(value, "ndim", None) == 0:
            with contextlib.suppress(NotImplementedError, AttributeError):
                said["sd"] = jnp.sqrt(density.variance)
            with contextlib.suppress(NotImplementedError, AttributeError):
                low, high = map(density.quantile, ends)
                said |= {"low": low, "high": high}
        return value, said

    def one(event):
        density, field = model.conditional(event, name), event[name]
        if isinstance(field, OptionalEvent):
            return of_field(density)
        each = [of_field(density.conditional(field, i)) for i in range(len(field))]
        value, said = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
        known = {"sd": jnp.zeros_like(field), "low": field, "high": field}
        keep = lambda old, new: jnp.where(jnp.isnan(field), new, old)
        return keep(field, value), {name: keep(known[name], new) for name, new in said.items()}

    return jax.lax.map(one, events, batch_size=AT_ONCE)
