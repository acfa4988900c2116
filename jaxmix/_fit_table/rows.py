"""All that a mixture says of the rows of a table, by one program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._compile import of_few_numbers
from .._trees import in_numpy

AT_ONCE = 4096  # rows side by side


class Rows(NamedTuple):
    """What is said of each row, and the mixture's weights.

    - `posterior` (rows, k): probabilities of the components; `alone`: the same given one field.
    - `log_prob` (rows,): in nats.
    - `filled`: the rows with what is missing filled in; None where no field has gaps.
    - `spread`: the standard deviation of a field with gaps given the row's others, if it has one.
    """

    weights: Any
    posterior: np.ndarray
    log_prob: np.ndarray
    alone: dict[str, np.ndarray]
    filled: Any
    spread: dict[str, np.ndarray]


def of_rows(model: Any, data: Any, fields: tuple[str, ...], gaps: tuple[str, ...]) -> Rows:
    """All of it, on the host.

    Args:
        model: a mixture over records.
        data: records, stacked along a leading axis.
        fields: of which `alone` tells.
        gaps: fields that may be missing.
    """
    return in_numpy(_of_rows(model, data, fields, gaps))


@of_few_numbers
def _of_rows(model, data, fields, gaps) -> Rows:
    def one(row):
        return Rows(
            (),
            model.posterior(row),
            model.log_prob(row),
            {field: model.marginal(field).posterior(row[field]) for field in fields},
            model.impute(row) if gaps else None,
            {f: sd for f in gaps if (sd := _deviation(model, row, f)) is not None},
        )

    told = jax.lax.map(one, data, batch_size=AT_ONCE)
    return told._replace(weights=model.weights)


def _deviation(model: Any, row: Any, field: str) -> Any:
    """The standard deviation of a field given the row's others; None where it has none."""
    try:
        mixture = model.conditional(row, field)
        parts, weights = mixture.components, mixture.weights
        mean = jnp.sum(weights * parts.mean)
        return jnp.sqrt(jnp.sum(weights * (parts.variance + (parts.mean - mean) ** 2)))
    except (AttributeError, NotImplementedError, TypeError):
        return None
