"""Columns of pandas, polars and Arrow tables, and of plain dicts."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from .._arguments import shown


def _library(table: Any) -> str:
    return type(table).__module__.partition(".")[0]


def is_table(table: Any) -> bool:
    """A data frame, an Arrow table, or a dict of columns."""
    return isinstance(table, Mapping) or (
        _library(table) in ("pandas", "polars", "pyarrow") and column_names(table) is not None
    )


def column_names(table: Any) -> list | None:
    """Names of the columns, or None for what has none."""
    if isinstance(table, Mapping):
        return list(table)
    names = getattr(table, "column_names" if _library(table) == "pyarrow" else "columns", None)
    names = None if names is None else list(names)
    twice = [name for name in names or [] if names.count(name) > 1]  # pyright: ignore[reportOptionalMemberAccess]
    if twice:
        raise ValueError(f"The table has two columns called {twice[0]!r}.")
    return names


def column(table: Any, name: Any) -> Any:
    """One column: an array of numbers, NaN where one is missing, or a list of Python values."""
    library = _library(table)
    if library == "pandas":
        series = table[name]
        kind = getattr(series.dtype, "kind", "O")
        if kind in "iuf":
            return series.to_numpy(dtype=float if series.hasnans else None, na_value=np.nan)
        return series.to_numpy() if kind == "b" and not series.hasnans else series.tolist()
    if library == "polars":
        series = table.get_column(name)
        array = series.to_numpy() if series.dtype.is_numeric() else None
        return series.to_list() if array is None or array.dtype.kind not in "iuf" else array
    if library == "pyarrow":
        values = table.column(name)
        numbers = str(values.type).startswith(("int", "uint", "float", "double", "halffloat"))
        return values.to_numpy(zero_copy_only=False) if numbers else values.to_pylist()
    values = table[name]
    holds_rows = hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0
    if not holds_rows or isinstance(values, str | Mapping | Set):
        raise ValueError(
            f"Column {name!r} of the table must be a list or an array of its rows; it is "
            f"{shown(values)}."
        )
    return values


def columns_of(table: Any) -> dict[Any, Any]:
    """All columns, of a table or of a list of rows: dicts by name, tuples by position."""
    if is_table(table):
        return _of_one_length({name: column(table, name) for name in column_names(table) or []})
    rows = list(table) if isinstance(table, Sequence) and not isinstance(table, str) else []
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}
    if rows and all(isinstance(row, tuple | list) for row in rows):
        if len(set(map(len, rows))) > 1:
            raise ValueError(f"Rows differ in length: {sorted(set(map(len, rows)))} fields.")
        return dict(enumerate(map(list, zip(*rows, strict=True))))
    raise ValueError(
        "A table, a dict of columns, or a list of rows was expected; "
        f"a {type(table).__name__} was given."
    )


def as_columns(table: Any, fields: Sequence) -> dict:
    """The columns of a record's fields: by name, or by position where fields are numbered."""
    names = column_names(table) or []
    if fields and all(isinstance(field, int) for field in fields) and fields[0] not in names:
        if len(names) != len(fields):
            raise ValueError(
                f"The record has {len(fields)} fields, the table has the columns {names}."
            )
        sources = dict(zip(fields, names, strict=True))
    else:
        sources = {field: field for field in fields}
        absent = [field for field in fields if field not in names]
        if absent:
            raise ValueError(f"The table has no column {absent[0]!r}; it has {names}.")
    columns = {field: column(table, source) for field, source in sources.items()}
    if not any(map(len, _of_one_length(columns).values())):
        raise ValueError("There are no rows to encode.")
    return columns


def _of_one_length(columns: dict[Any, Any]) -> dict[Any, Any]:
    sizes = {field: len(values) for field, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"The columns differ in length: {sizes}.")
    return columns
