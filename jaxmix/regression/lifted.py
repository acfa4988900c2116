"""A regression of one field of a record on others of its fields."""

from collections.abc import Sequence as Many

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, is_density
from .._hooks import ChecksRows
from .._numerics import as_array
from ..combinators._conditioning import filled, typical
from ..combinators.optional import OptionalEvent, masked
from ..families._entrances import of_field


class Regression(LogDensity):
    """Density of one field of a record given others, log p(x[response] | x[given]), in nats.

    The covariates themselves are not modelled. Where the response is an `OptionalEvent`, a
    missing one has log-density 0: it is marginalised. Covariates that may be missing are
    refused: model them jointly, as `jm.PartialNormal` does.

    Args:
        family: a regression, of a pair (y, x).
        response: the name of the response's field.
        given: the names of the covariates' fields, in order; numbers, or vectors that are joined.
        offset: the name of the offset's field, for a family with one.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> line = jm.LinearRegression(jnp.array([2.0]), 1.0, 0.5)
        >>> model = jm.Regression(line, response="weight", given=["height"])
        >>> model.log_prob({"weight": jnp.array(3.0), "height": jnp.array(1.0)}).round(4)
        Array(-0.2258, dtype=float32)
    """

    family: PyTree
    fields: tuple[str, ...] = eqx.field(static=True)  # the response, then what is given
    offset: str | None = eqx.field(static=True)

    def __init__(self, family, *, response: str, given: Many[str], offset: str | None = None):
        if not is_density(family):
            raise ValueError(
                "Regression takes a density of pairs (y, x), such as jm.LinearRegression.template("
                f"2); it was given a {type(family).__name__}."
            )
        if isinstance(given, str):
            raise ValueError(f"`given` takes a list of names, such as [{given!r}].")
        if bool(getattr(family, "offset", False)) != (offset is not None):
            raise ValueError(
                "An offset takes both: a family made with offset=True, and offset= the field's name."
            )
        self.family, self.fields, self.offset = family, (response, *given), offset

    response = property(lambda self: self.fields[0])
    given = property(lambda self: self.fields[1:])
    stack_shape = of_field("family", "stack_shape")

    def covariates(self, x: PyTree) -> Array:
        """The covariates of a record as one vector; refused where one is absent or may be missing."""
        return covariates_of(x, self.given)

    def _given(self, x: PyTree) -> tuple:
        """Covariates, and the offset if there is one."""
        return self.covariates(x), *(() if self.offset is None else (x[self.offset],))

    def log_prob(self, x: PyTree) -> Scalar:
        _checked(x, self.fields)
        y = x[self.response]
        if not isinstance(y, OptionalEvent):
            return self.family.log_prob((y, *self._given(x)))
        present = as_array(y.present)
        value = self.family.log_prob((masked(present, y.value), *self._given(x)))
        return jnp.where(present, value, jnp.zeros_like(value))

    def check_rows(self, rows: PyTree) -> None:
        """Refuse rows of covariates that determine one another, by their names."""
        if not isinstance(self.family, ChecksRows):
            return
        x, names = table_of(rows, self.given)
        y = rows[self.response]
        if isinstance(y, OptionalEvent):
            x = x[np.asarray(y.present)]
        self.family.check_rows((None, x), names)

    def split(self, event: PyTree, field) -> tuple[Scalar, PyTree]:
        """0, and the density of the response given its covariates."""
        if field != self.response:
            raise ValueError(
                f"This regression is a density of {self.response!r}; {field!r} is not modelled."
            )
        x, *offset = self._given(event)
        return jnp.zeros((), x.dtype), self.family.given(x, *offset)

    def conditional(self, event: PyTree, field) -> PyTree:
        """The density of the response given its covariates."""
        return self.split(event, field)[1]

    def impute(self, event: PyTree, key: Key[Array, ""] | None = None) -> PyTree:
        """The record with a missing response filled in, by its mean or by a draw."""
        law = self.conditional(event, self.response)
        return filled(event, lambda name: typical(law) if key is None else law.sample(key))


def covariates_of(x: PyTree, names: Many[str]) -> Array:
    """Fields of a record as one vector, or a sentence."""
    _checked(x, names)
    for name in names:
        if isinstance(x[name], OptionalEvent):
            raise ValueError(
                f"Covariate {name!r} may be missing, which a density given it cannot treat: fill "
                "it in, or model it jointly with the response."
            )
    parts = [jnp.atleast_1d(as_array(x[name])) for name in names]
    dtypes = [p.dtype for p in parts if jnp.issubdtype(p.dtype, jnp.inexact)]
    dtype = jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)
    return jnp.concatenate([p.astype(dtype) for p in parts] or [jnp.zeros((0,), dtype)])


def table_of(rows: PyTree, names: Many[str]) -> tuple[np.ndarray, list[str]]:
    """Fields of many records as columns of one table, and what to call each."""
    columns = [np.asarray(rows[name]) for name in names]
    tables = [column.reshape(column.shape[0], -1) for column in columns]
    called = [
        repr(name) if column.ndim == 1 else f"{name!r}[{i}]"
        for name, column, table in zip(names, columns, tables, strict=True)
        for i in range(table.shape[1])
    ]
    return np.concatenate(tables, 1) if tables else np.zeros((0, 0)), called


def _checked(x: PyTree, names: Many[str]) -> None:
    absent = [name for name in names if not isinstance(x, dict) or name not in x]
    if absent:
        held = sorted(x) if isinstance(x, dict) else f"a {type(x).__name__}"
        raise ValueError(f"A regression reads the fields {list(names)}; the event has {held}.")
