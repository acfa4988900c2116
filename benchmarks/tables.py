"""Proposals for real tables, column by column against kinds written down by hand.

    python -m benchmarks.tables

Tables ship with scikit-learn, statsmodels and this package; nothing is downloaded. A kind is what
a column is: n(umber), c(ount), l(abel), h(urdle: a number with a lump), - (to be left out); of
two letters either is right.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import jaxmix as jm
from jaxmix.datasets import penguins


def _sklearn(name: str, **options: Any) -> Callable:
    def load():
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
        return bunch.frame.rename(columns=lambda column: column.split(" (")[0])

    return load


def _statsmodels(name: str) -> Callable:
    def load():
        import statsmodels.api as sm

        return getattr(sm.datasets, name).load_pandas().data

    return load


TABLES: dict[str, tuple[Callable, dict[str, str]]] = {
    "penguins": (lambda: pd.DataFrame(list(penguins().rows)), {
        "species": "l", "island": "l", "bill_length_mm": "n", "bill_depth_mm": "n",
        "flipper_length_mm": "n", "body_mass_g": "n", "sex": "l", "year": "l"}),
    "iris": (_sklearn("iris"), {
        "sepal length": "n", "sepal width": "n", "petal length": "n", "petal width": "n",
        "target": "l"}),
    "wine": (_sklearn("wine"), {
        **dict.fromkeys(("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium",
                         "total_phenols", "flavanoids", "nonflavanoid_phenols", "proanthocyanins",
                         "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"), "n"),
        "target": "l"}),
    "diabetes": (_sklearn("diabetes", scaled=False), {
        "age": "nc", "sex": "l", "bmi": "n", "bp": "n", "s1": "n", "s2": "n", "s3": "n", "s4": "n",
        "s5": "n", "s6": "n", "target": "nc"}),
    "fair": (_statsmodels("fair"), {
        "rate_marriage": "l", "age": "l", "yrs_married": "lh", "children": "lc", "religious": "l",
        "educ": "l", "occupation": "l", "occupation_husb": "l", "affairs": "h"}),
    "ccard": (_statsmodels("ccard"), {
        "AVGEXP": "n", "AGE": "n", "INCOME": "n", "INCOMESQ": "n-", "OWNRENT": "l"}),
    "stackloss": (_statsmodels("stackloss"), dict.fromkeys(
        ("STACKLOSS", "AIRFLOW", "WATERTEMP", "ACIDCONC"), "nc")),
    "sunspots": (_statsmodels("sunspots"), {"YEAR": "-", "SUNACTIVITY": "nh"}),
    "nile": (_statsmodels("nile"), {"year": "-", "volume": "n"}),
    "heart": (_statsmodels("heart"), {"survival": "nc", "censors": "l", "age": "n"}),
}  # fmt: skip

COUNTS = ("Poisson", "Geometric", "NegativeBinomial", "Binomial")


def kind(family: str) -> str:
    """The letter of a proposed family."""
    words = family.removeprefix("Optional ").split()
    if words[0] == "ignored":
        return "-"
    if words[0] == "Hurdle":
        return "h"
    return "l" if words[-1] == "Categorical" else "c" if words[-1] in COUNTS else "n"


def main() -> None:
    right = total = 0
    print(f"{'table':12s} {'rows':>6s} {'right':>7s} {'seconds':>8s}  wrong")
    for name, (load, truth) in TABLES.items():
        frame = load()
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = jm.infer_template(frame)
        spent = time.process_time() - begun
        families = {c.column: c.family for c in [*found.choices, *found.ignored]}
        wrong = [f"{c}: {families[c]}" for c, k in truth.items() if kind(families[c]) not in k]
        right, total = right + len(truth) - len(wrong), total + len(truth)
        score = f"{len(truth) - len(wrong)}/{len(truth)}"
        print(
            f"{name:12s} {len(frame):6d} {score:>7s} {spent:8.1f}  {'; '.join(wrong)}", flush=True
        )
    print(f"{right} of {total} columns; {np.mean(right / total):.0%}")


if __name__ == "__main__":
    main()
