"""The record mixture: tables in, tables out."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks as checks

import jaxmix as jm
from jaxmix.sklearn import RecordMixture

pd = pytest.importorskip("pandas")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_repr,
        checks.check_no_attributes_set_in_init,
        checks.check_mixin_order,
        checks.check_estimators_unfitted,
        checks.check_set_params,
        checks.check_dont_overwrite_parameters,
        checks.check_estimator_sparse_matrix,
    ],
    ids=lambda check: check.__name__,
)
def test_interface_checks(check):
    """Those that compile little; `python -m benchmarks drop_in` runs them all."""
    check("RecordMixture", RecordMixture(n_init=1, max_iter=5))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    first = rng.random(200) < 0.4
    size = np.where(first, rng.normal(0, 1, 200), rng.normal(6, 1, 200))
    size[5:30] = np.nan
    kind = np.where(first, rng.choice(list("ab"), 200), rng.choice(list("bc"), 200))
    return first, pd.DataFrame({"kind": kind, "size": size})


@pytest.fixture(scope="module")
def fitted(table):
    return RecordMixture(2, random_state=0, n_init=2).fit(table[1])


def test_a_table_is_clustered_and_scored(fitted, table):
    first, frame = table
    labels = fitted.predict(frame)
    agree = np.mean(labels == first)
    assert max(agree, 1 - agree) > 0.95
    assert fitted.result_ == "successful" and fitted.converged_
    assert list(fitted.feature_names_in_) == ["kind", "size"]
    assert [c.family for c in fitted.choices_] == ["Categorical", "Optional Normal"]
    assert fitted.score(frame) == pytest.approx(fitted.lower_bound_, rel=1e-6)
    # 1 weight, 2 x 2 labels, 2 x 2 normal parameters; what is missing is ignored
    expected = -2 * len(frame) * fitted.score(frame) + 9 * np.log(len(frame))
    assert fitted.bic(frame) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(fitted.predict_proba(frame).sum(1), 1)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(frame), fitted.score_samples(frame))
    assert clone(fitted).get_params()["n_components"] == 2


def test_missing_values_are_filled_in_as_a_table(fitted, table):
    _, frame = table
    whole = fitted.impute(frame)
    assert isinstance(whole, pd.DataFrame) and not whole.isna().any().any()
    there = frame["size"].notna()
    np.testing.assert_allclose(whole["size"][there], frame["size"][there])
    means = np.sort(np.asarray(fitted.model_.components.parts["size"].value.mean))
    filled = whole["size"][~there]
    assert filled.min() > means[0] - 1e-3 and filled.max() < means[1] + 1e-3
    rows, labels = fitted.sample(50)
    assert isinstance(rows, pd.DataFrame) and set(rows["kind"]) <= set("abc")
    assert labels.shape == (50,)


def test_what_does_not_fit_is_named(fitted, table):
    _, frame = table
    with pytest.raises(ValueError, match="kind: 'zz'"):
        fitted.predict(frame.assign(kind="zz"))
    with pytest.raises(ValueError, match="size"):
        fitted.predict(frame[["kind"]])
    with pytest.raises(ValueError, match="n_components"):
        RecordMixture(0).fit(frame)
    template = jm.Composite({"kind": jm.Categorical.template(labels=("a", "b"))})
    with pytest.raises(ValueError, match="labels 'a', 'b'"):
        RecordMixture(2, template=template).fit(frame[["kind"]])


def test_polars_tables_are_taken_and_columns_held_to(fitted, table):
    pl = pytest.importorskip("polars")
    _, frame = table
    size = [None if np.isnan(value) else value for value in frame["size"]]
    polar = pl.DataFrame({"kind": frame["kind"].tolist(), "size": size})
    np.testing.assert_array_equal(fitted.score_samples(polar), fitted.score_samples(frame))
    whole = fitted.impute(polar)["size"]
    np.testing.assert_allclose(whole, fitted.impute(frame)["size"])
    with pytest.raises(ValueError, match="sizes"):
        fitted.predict(polar.rename({"size": "sizes"}))


@pytest.mark.parametrize("template", [jm.Gamma.template(), jm.Categorical.template(3)])
def test_one_column_is_of_numbers_where_the_template_is(template):
    mixture = RecordMixture(2, template=template)
    mixture.template_ = template
    events, rows = mixture._events(np.array([[1.0], [2.0]]))
    assert events.tolist() == [1, 2] and rows == 2
