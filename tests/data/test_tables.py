"""Tables of every library to events and back, and templates inferred from them."""

import datetime

import jax
import numpy as np
import pandas
import polars
import pyarrow
import pytest

import jaxmix as jm

COLUMNS = {
    "size": [1.5, None, 2.5, -1.0],
    "visits": [3, 1, None, 2],
    "kind": ["u", "v", None, "u"],
    "alive": [True, False, True, None],
    "notes": [["x", "y"], [], ["y"], ["x"]],
    "whole": [4, 5, 6, 4],
}
TEMPLATE = jm.Composite(
    {
        "size": jm.Optional(jm.Normal.template()),
        "visits": jm.Optional(jm.Geometric.template()),
        "kind": jm.Optional(jm.Categorical.template(labels=("u", "v"))),
        "alive": jm.Optional(jm.Categorical.template(labels=(False, True))),
        "notes": jm.Sequence.template(jm.Categorical.template(labels=("x", "y")), max_length=3),
        "whole": jm.Poisson.template(),
    }
)


def _pandas_nullable():
    frame = pandas.DataFrame(COLUMNS)
    return frame.astype(
        {"visits": "Int64", "size": "Float64", "alive": "boolean", "kind": "category"}
    )


TABLES = {
    "dict": lambda: COLUMNS,
    "pandas": lambda: pandas.DataFrame(COLUMNS),
    "pandas nullable": _pandas_nullable,
    "pandas arrow": lambda: pandas.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda: polars.DataFrame(COLUMNS),
    "polars categorical": lambda: polars.DataFrame(
        COLUMNS, schema_overrides={"kind": polars.Categorical, "visits": polars.UInt8}
    ),
    "arrow": lambda: pyarrow.table(COLUMNS),
    "arrow dictionary": lambda: pyarrow.table(
        COLUMNS | {"kind": pyarrow.array(COLUMNS["kind"]).dictionary_encode()}
    ),
    "arrow batch": lambda: pyarrow.RecordBatch.from_pydict(COLUMNS),
}


@pytest.mark.parametrize("library", TABLES)
def test_every_library_gives_the_events_of_the_rows(library):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    expected = jm.encode(TEMPLATE, rows)
    got = jm.encode(TEMPLATE, TABLES[library]())
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.table, dict])
def test_columns_are_what_libraries_make_a_table_of(make):
    columns = jm.decode(TEMPLATE, jm.encode(TEMPLATE, COLUMNS), columns=True)
    assert columns == COLUMNS
    again = jm.encode(TEMPLATE, make(columns))
    for a, b in zip(*map(jax.tree.leaves, (again, jm.encode(TEMPLATE, COLUMNS))), strict=True):
        np.testing.assert_array_equal(a, b)


def test_columns_of_sets_are_lists_and_only_records_have_columns():
    record = jm.Composite((jm.BernoulliSet.template(labels=("a", "b")),))
    assert jm.decode(record, jm.encode(record, [({"b", "a"},)]), columns=True) == {0: [["a", "b"]]}
    with pytest.raises(ValueError, match="Only a Composite has columns"):
        jm.decode(jm.Normal.template(), jm.encode(jm.Normal.template(), [1.0]), columns=True)


DAY = datetime.date(2024, 2, 29)


@pytest.mark.parametrize(
    "column",
    [
        [DAY],
        [datetime.timedelta(days=1)],
        np.array(["2024-02-29"], "datetime64[D]"),
        pandas.Series([DAY]).astype("datetime64[ns]"),
        np.array([3], "timedelta64[D]"),
    ],
)
def test_dates_are_refused_by_a_sentence(column):
    template = jm.Composite({"day": jm.Normal.template()})
    tables = [{"day": column}, pandas.DataFrame({"day": column})]
    for table in tables:
        with pytest.raises(
            ValueError, match=r"Row 0, field day: .* was given, a number was expected; turn dates"
        ):
            jm.encode(template, table)
        with pytest.raises(ValueError, match="no column that a density fits"):
            jm.infer_template(table)


def test_missing_dates_are_missing():
    template = jm.Composite({"day": jm.Optional(jm.Normal.template())})
    for table in ({"day": [pandas.NaT, 1.0]}, {"day": np.array(["NaT"], "datetime64[D]")}):
        assert not jm.encode(template, table)["day"].present[0]


def test_two_columns_of_one_name_are_refused():
    frame = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns called 'a'"):
        jm.infer_template(frame)


def test_a_template_for_every_kind_of_column():
    rng = np.random.default_rng(0)
    size = 400
    common = rng.choice(["red", "green"], size).tolist()
    table = {
        "texts": [f"rare {i}" if i % 4 == 0 else word for i, word in enumerate(common)],
        "names": [f"name {i}" for i in range(size)],
        "row": list(range(10, 10 + size)),
        "truth": (rng.random(size) < 0.3).tolist(),
        "tags": [set(rng.choice(["p", "q", "r"], 2)) for _ in range(size)],
        "path": [rng.choice(["n", "s"], rng.poisson(4)).tolist() for _ in range(size)],
        "mixed": [1 if i % 2 else "one" for i in range(size)],
        "endless": [np.inf] * size,
        "nothing": [None] * size,
    }
    got = jm.infer_template(table)
    families = {choice.column: choice.family for choice in got.choices}
    assert families == {
        "texts": "Categorical", "truth": "Categorical", "tags": "BernoulliSet",
        "path": "Sequence of Categorical",
    }  # fmt: skip
    assert got.template.parts["texts"].labels == ("green", "red", jm.data.OTHER)
    reasons = {choice.column: choice.reason for choice in got.ignored}
    assert set(reasons) == {"names", "row", "mixed", "endless", "nothing"}
    assert "texts" in reasons["names"] and "numbers the rows" in reasons["row"]
    assert "green" in str(got) and "name" in str(got)
    events = jm.encode(got.template, table)
    rows = jm.decode(got.template, events)
    assert rows[1]["tags"] == table["tags"][1] and rows[3]["path"] == table["path"][3]
    assert rows[0]["texts"] == jm.data.OTHER


@pytest.mark.parametrize("column", [1.0, None, "xy", {1, 2}, np.float32(2)])
def test_a_column_that_holds_no_rows_is_named(column):
    record = jm.Composite({"a": jm.Normal.template()})
    for read in (jm.infer_template, lambda table: jm.encode(record, table)):
        with pytest.raises(ValueError, match="Column 'a' of the table must be a list or an array"):
            read({"a": column})
    with pytest.raises(ValueError, match="differ in length"):
        jm.infer_template({"a": [1, 2], "b": [1]})
