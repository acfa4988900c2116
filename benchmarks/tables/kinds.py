"""Proposals for real tables, column by column against kinds written down by hand.

    python -m benchmarks.tables.kinds [--fit] [NAMES]

With --fit mixtures of 1 to 3 components are fitted too: none that is chosen has collapsed. Each
table is proposed for and fitted in a process of its own, with an empty cache and again with what
that left in it: seconds of CPU and resident memory at most, imports included.

Tables ship with scikit-learn, statsmodels and this package; nothing is downloaded. A kind is what
a column is: n(umber), c(ount), l(abel), h(urdle: a number with a lump), - (to be left out); of
two letters either is right.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import jaxmix as jm
from benchmarks.cold_start import kept_in
from jaxmix._fit_table.choose import FEW_ROWS, choose
from jaxmix._page import quickly_compiled
from jaxmix.datasets import penguins
from jaxmix.em.solution import name


def _sklearn(which: str, **options: Any) -> Callable:
    def load():
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{which}")(as_frame=True, **options)
        return bunch.frame.rename(columns=lambda column: column.split(" (")[0])

    return load


def _statsmodels(which: str) -> Callable:
    def load():
        import statsmodels.api as sm

        return getattr(sm.datasets, which).load_pandas().data

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
    "macrodata": (_statsmodels("macrodata"), {
        "year": "nl", "quarter": "l", **dict.fromkeys(
            ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate",
             "unemp", "pop", "infl", "realint"), "n")}),
    "longley": (_statsmodels("longley"), {
        **dict.fromkeys(("TOTEMP", "GNPDEFL", "GNP", "UNEMP", "ARMED", "POP"), "nc"), "YEAR": "-"}),
    "engel": (_statsmodels("engel"), {"income": "n", "foodexp": "n"}),
    "grunfeld": (_statsmodels("grunfeld"), {
        "invest": "n", "value": "n", "capital": "n", "firm": "l", "year": "nl"}),
    "cpunish": (_statsmodels("cpunish"), {
        "EXECUTIONS": "ch", "INCOME": "n", "PERPOVERTY": "n", "PERBLACK": "n", "VC100k96": "nc",
        "SOUTH": "l", "DEGREE": "n"}),
    "statecrime": (_statsmodels("statecrime"), dict.fromkeys(
        ("violent", "murder", "hs_grad", "poverty", "single", "white", "urban"), "n")),
    "elnino": (_statsmodels("elnino"), {
        "YEAR": "-", **dict.fromkeys(("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG",
                                      "SEP", "OCT", "NOV", "DEC"), "n")}),
    "strikes": (_statsmodels("strikes"), {"duration": "nc", "iprod": "nl"}),
    "spector": (_statsmodels("spector"), {"GPA": "n", "TUCE": "nc", "PSI": "l", "GRADE": "l"}),
    "modechoice": (_statsmodels("modechoice"), {
        "individual": "n-", "mode": "l", "choice": "l", "ttme": "h", "invc": "nc", "invt": "nc",
        "gc": "nc", "hinc": "nl", "psize": "lc"}),
    "copper": (_statsmodels("copper"), {
        **dict.fromkeys(("WORLDCONSUMPTION", "COPPERPRICE", "INCOMEINDEX", "ALUMPRICE",
                         "INVENTORYINDEX"), "n"), "TIME": "-"}),
    "cancer": (_statsmodels("cancer"), {"cancer": "nc", "population": "n"}),
    "committee": (_statsmodels("committee"), {
        "BILLS104": "nc", "SIZE": "nc", "SUBS": "nc", "STAFF": "nc", "PRESTIGE": "l",
        "BILLS103": "nc"}),
    "anes96": (_statsmodels("anes96"), {
        "popul": "ch", "TVnews": "l", "selfLR": "l", "ClinLR": "l", "DoleLR": "l", "PID": "l",
        "age": "nc", "educ": "l", "income": "l", "vote": "l", "logpopul": "-h"}),
    "randhie": (_statsmodels("randhie"), {
        "mdvis": "ch", "lncoins": "l", "idp": "l", "lpi": "h", "fmde": "h", "physlm": "hl",
        "disea": "nh", "hlthg": "l", "hlthf": "l", "hlthp": "l"}),
    "scotland": (_statsmodels("scotland"), {
        **dict.fromkeys(("YES", "COUTAX", "UNEMPF", "MOR", "ACT", "AGE"), "nc"),
        "GDP": "nl", "COUTAX_FEMALEUNEMP": "n"}),
    "interest": (_statsmodels("interest_inflation"), {
        "year": "nl", "quarter": "l", "Dp": "n", "R": "n"}),
    "co2": (_statsmodels("co2"), {"co2": "n"}),
    "breast": (_sklearn("breast_cancer"), {
        **dict.fromkeys((f"{kind} {what}" for kind in ("mean", "worst") for what in (
            "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concave points",
            "symmetry", "fractal dimension")), "nh"), "target": "l"}),
    "linnerud": (_sklearn("linnerud"), dict.fromkeys(
        ("Chins", "Situps", "Jumps", "Weight", "Waist", "Pulse"), "nc")),
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


def fit(table: str) -> None:
    """Print the size that BIC chooses among mixtures, how its fit ended, and what all that took."""
    frame = TABLES[table][0]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = jm.infer_template(frame)
    with jax.enable_x64(True), quickly_compiled(len(frame) <= FEW_ROWS):
        best = choose(found.template, frame, range(1, 4), 8, 0)
    # Of this program alone: what `getrusage` says begins with the process that called it.
    peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024
    print(f"K = {best.chosen} {name(best.best.result)}, {time.process_time():.0f} s, {peak:.0f} MB")


def cold_and_warm(table: str) -> str:
    """What `fit` prints in a process with an empty cache, and in the next."""
    words = [sys.executable, "-m", "benchmarks.tables.kinds", "--one", table]
    with tempfile.TemporaryDirectory() as cache:
        more = os.environ | kept_in(cache)
        run = lambda: subprocess.run(words, env=more, capture_output=True, text=True, check=True)
        cold, warm = (run().stdout.splitlines()[-1] for _ in range(2))
    return f"{cold}; warm {warm.partition(', ')[2]}"


def main() -> None:
    if "--one" in sys.argv:
        return fit(sys.argv[-1])
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    right = total = 0
    print(f"{'table':12s} {'rows':>6s} {'right':>7s} {'seconds':>8s}  wrong")
    for table, (load, truth) in TABLES.items():
        if wanted and table not in wanted:
            continue
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
            f"{table:12s} {len(frame):6d} {score:>7s} {spent:8.1f}  {'; '.join(wrong)}", flush=True
        )
        if "--fit" in sys.argv:
            print(f"{'':36s}  {cold_and_warm(table)}", flush=True)
    print(f"{right} of {total} columns; {np.mean(right / total):.0%}")


if __name__ == "__main__":
    main()
