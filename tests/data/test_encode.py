"""Rows to events and back, and what is refused, by a sentence that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm


def record():
    return jm.Composite(
        {
            "height": jm.Normal.template(),
            "visits": jm.Optional(jm.Geometric.template()),
            "letters": jm.MarkovChain.template(labels=("a", "b"), max_length=4),
            "tags": jm.BernoulliSet.template(labels=("x", "y", "z")),
            "kind": jm.Categorical.template(labels=("one", "two")),
            "series": jm.Sequence(jm.Normal.template(), max_length=3),
            "place": jm.DiagonalNormal.template(2),
        }
    )


def row(**changes):
    good = {
        "height": 1.5,
        "visits": 3,
        "letters": ["a", "b"],
        "tags": {"x", "z"},
        "kind": "two",
        "series": [0.5, 1.5],
        "place": (1.0, 2.0),
    }
    return good | changes


ROWS = [row(), row(visits=None, letters=[], tags=set(), series=[]), row(kind="one")]


def test_round_trip():
    model = jm.mixture_of(record(), 2)
    events = jm.encode(model, ROWS)
    assert jm.decode(model, events) == ROWS
    assert events["visits"].present.tolist() == [True, False, True]
    assert events["letters"].items.shape == (3, 4)
    again = jm.encode(model, jm.decode(model, events))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(events), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": "tall"}, "Row 1, field height: 'tall' was given, a number was expected"),
        ({"height": None}, "field height: a missing value was given.*jm.Optional"),
        ({"height": float("inf")}, "field height: inf"),
        ({"visits": 0}, "Row 1, field visits: 0 was given, a whole number from 1 up"),
        ({"visits": 1.5}, "field visits: 1.5"),
        ({"letters": ["a", "c"]}, "Row 1, field letters.items: 'c' was given, one of the labels"),
        ({"letters": ["a"] * 5}, "Row 1, field letters.*5 items.*at most 4 items"),
        ({"letters": 3}, "field letters: 3 was given, a sequence"),
        ({"tags": {"w"}}, "Row 1, field tags.members: 'w'"),
        ({"kind": "three"}, "Row 1, field kind: 'three'"),
        ({"series": [0.5, "x"]}, "Row 1, field series.items: 'x'"),
        ({"place": (1.0,)}, "Row 1, field place.*a vector of 2 numbers"),
    ],
)
def test_refusals_name_row_field_value_and_expectation(changes, words):
    with pytest.raises(ValueError, match=words):
        jm.encode(record(), [row(), row(**changes)])


NORMALS = jax.vmap(jm.Normal)(jnp.zeros(2), jnp.ones(2))
MIXTURE = jm.MixtureSameFamily(jnp.array([0.4, 0.6]), NORMALS)


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (jm.SemiSupervised(MIXTURE), [(1.5, 0), (2.5, None), (0.5, 1)]),
        (jm.Conditional(NORMALS, jm.Categorical.template(labels="uv")), [("u", 1.5), ("v", 2.5)]),
        (jm.Conditional(NORMALS), [(0, 1.5), (1, 2.5)]),
        (jm.VonMises(0.0, 1.0), [0.5, 1.0]),
        (jm.Repeated(jm.Optional(jm.Poisson(1.0)), 2), [(1, None), (2, 3)]),
        (jm.Optional(jm.Composite((jm.Normal(0, 1), jm.Poisson(2.0)))), [None, None]),
    ],
)
def test_combinators_have_rows_of_their_own(model, rows):
    events = jm.encode(model, rows)
    assert jm.decode(model, events) == rows
    assert np.isfinite(jax.vmap(model.log_prob)(events)).all()


def test_refusals_of_rows():
    pair = jm.Composite((jm.Normal.template(), jm.Poisson.template()))
    with pytest.raises(ValueError, match=r"Row 1: .* a tuple of 2 fields"):
        jm.encode(pair, [(0.5, 1), (0.5, 1, 2)])
    with pytest.raises(ValueError, match="Row 0, field 1: -1 was given, a whole number from 0 up"):
        jm.encode(pair, [(0.5, -1)])
    with pytest.raises(ValueError, match="no rows"):
        jm.encode(pair, [])
    bad = row()
    del bad["kind"]
    with pytest.raises(ValueError, match="the field 'kind'"):
        jm.encode(record(), [bad])


def test_unseen_labels_go_where_the_template_says():
    template = jm.Categorical.template(labels=("a", jm.data.OTHER))
    assert jm.encode(template, ["a", "q", "a"]).tolist() == [0, 1, 0]


def test_all_missing_and_one_row():
    template = jm.Composite((jm.Optional(jm.Normal.template()), jm.Poisson.template()))
    events = jm.encode(template, [(None, 2), (float("nan"), 1)])
    assert events[0].present.tolist() == [False, False]
    assert jm.decode(template, events) == [(None, 2), (None, 1)]
    assert jm.encode(template, [(1.0, 2)])[1].tolist() == [2]


def test_tables():
    pandas = pytest.importorskip("pandas")
    columns = {"a": [1.5, None, 2.5], "b": ["u", "v", "u"], "unused": [1, 2, 3]}
    template = jm.Composite(
        {"a": jm.Optional(jm.Normal.template()), "b": jm.Categorical.template(labels=("u", "v"))}
    )
    expected = jm.encode(template, [{"a": 1.5, "b": "u"}, {"b": "v"}, {"a": 2.5, "b": "u"}])
    for table in (pandas.DataFrame(columns), columns):
        got = jm.encode(template, table)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no column 'a'"):
        jm.encode(template, {"b": ["u"]})


def test_infer_template_finds_the_family_of_a_column():
    rng = np.random.default_rng(0)
    table = {
        "count": rng.poisson(6.0, 600),
        "wait": rng.exponential(2.0, 600),
        "size": rng.normal(-5.0, 2.0, 600),
        "kind": rng.choice(["u", "v"], 600).tolist(),
        "spread": np.exp(rng.normal(0.0, 1.5, 600)),
        "gaps": [None if i % 3 else float(v) for i, v in enumerate(rng.normal(-5, 1, 600))],
        "constant": [1] * 600,
    }
    got = jm.infer_template(table)
    families = {choice.column: choice.family for choice in got.choices}
    assert families["count"] == "Poisson" and families["size"] == "Normal"
    assert families["wait"] in ("Exponential", "Gamma") and families["spread"] == "LogNormal"
    assert families["kind"] == "Categorical" and families["gaps"] == "Optional Normal"
    assert [choice.column for choice in got.ignored] == ["constant"]
    events = jm.encode(got.template, table)
    assert jnp.isfinite(jax.jit(jax.vmap(got.template.log_prob))(events)).all()


def test_partition_keeps_every_row_once():
    parts = jm.partition(jax.random.key(0), jnp.arange(10), (0.5, 0.3, 0.2))
    assert [p.shape[0] for p in parts] == [5, 3, 2]
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    with pytest.raises(ValueError, match="too few"):
        jm.partition(jax.random.key(0), jnp.arange(2), (0.9, 0.1))


def test_save_and_load(tmp_path):
    model = jm.tie(jm.mixture_of(record(), 2), lambda m: [m.components.parts["height"]])
    model = jm.Composite((jm.frozen(model), jm.StudentT(3.0, 0.0, 1.0, fixed_df=True)))
    experts = jm.ProductOfExperts([jm.Normal(0, 1), jm.Truncated(jm.Normal(0, 1), 0, 2)])
    model = jm.Composite((model, experts, jm.Censored(jm.Exponential(1.0))))
    path = tmp_path / "model.npz"
    jm.save(path, model)
    loaded = jm.load(path)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"no model that jm\.save wrote"):
        jm.load(path)


def test_load_makes_no_class_but_the_house_own(tmp_path):
    path = tmp_path / "model.npz"
    text = '{"version": 1, "model": {"class": "Popen", "fields": {"args": "true"}}}'
    np.savez(path, description=np.array(text))
    with pytest.raises(ValueError, match="holds a Popen, which is not known"):
        jm.load(path)
