"""A regression from a table: the family that its response asks for, and its covariates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import regression
from ..regression import Regression
from .column import Column, column_of, names_rows
from .numbers import as_floats, present_values, there
from .trial import skewed, spread

KINDS = ("Linear", "Logistic", "Multinomial", "Poisson", "Gamma", "NegativeBinomial")
FAMILIES: dict[str, Any] = {kind: getattr(regression, f"{kind}Regression") for kind in KINDS}
LEVELS = 12  # of a covariate's labels
COUNTED = 30  # the least number beyond which whole numbers are measurements
DISPERSED = 1.5  # variance over mean of a response, beyond which counts are no Poisson ones
MARK = ": "


def of_field(columns: Mapping[Any, Any], name: str) -> Any:
    """A column, or whether one has a label: `kind: a` is 1 where `kind` is a, and 0 elsewhere."""
    if name in columns:
        return columns[name]
    base, mark, label = name.rpartition(MARK)
    if not mark or base not in columns:
        raise ValueError(f"There is no column {name!r}; there are {list(columns)}.")
    values = columns[base]
    found = [float(str(value) == label) for value in values]
    return np.where(present_values(values), found, np.nan)


def regression_of(
    columns: Mapping[Any, Any],
    response: str,
    given: Sequence[str] | None,
    family: str | None,
    left_out: Mapping[Any, str],
) -> tuple[Regression, dict[str, tuple[str, str]], dict[str, str]]:
    """The template, what each field is and why, and what was left out and why.

    `left_out` are columns that say again what others say, and why; the rest is as `infer_template`
    has it.
    """
    name, kind, why = _response(columns, response, family)
    base = response if response in columns else response.rpartition(MARK)[0]
    fields, ignored = {}, {}
    for covariate in [c for c in columns if c != base] if given is None else given:
        if base in (covariate, covariate.rpartition(MARK)[0]):
            raise ValueError(f"{covariate!r} is the response, and can't be given as well.")
        if covariate not in columns:
            of_field(columns, covariate)
            fields[covariate] = "covariate", "1 for the label, 0 for others"
            continue
        if given is None and covariate in left_out:
            ignored[covariate] = left_out[covariate]
            continue
        names, reason = _covariates(covariate, columns[covariate], asked=given is not None)
        if not names:
            ignored[covariate] = reason
        fields |= {one: ("covariate", reason) for one in names}
    if not fields:
        raise ValueError(f"No column is left for {response!r} to be given.")
    size = (int(np.max(columns[name])) + 1,) if kind == "Multinomial" else ()
    template = FAMILIES[kind].template(len(fields), *size)
    said = {name: (f"{kind}Regression", why)} | fields
    return Regression(template, response=name, given=list(fields)), said, ignored


def _response(columns, response: str, family: str | None) -> tuple[str, str, str]:
    """The field, the family, and why."""
    values = of_field(columns, response)
    x = as_floats(there(values))
    if family is not None:
        kind = family.removesuffix("Regression").replace("Normal", "Linear")
        kind = {"Categorical": "Multinomial", "Bernoulli": "Logistic"}.get(kind, kind)
        if kind not in FAMILIES:
            raise ValueError(f"No regression is called {family!r}; there are {list(FAMILIES)}.")
        return response, kind, "as was asked"
    if x is None:
        labels = sorted(set(there(values)), key=str)
        if len(labels) == 2:
            return f"{response}{MARK}{labels[1]}", "Logistic", f"2 labels: {labels[0]}, {labels[1]}"
        raise ValueError(
            f"{response!r} has {len(labels)} labels: name one as the response, such as "
            f"'{response}{MARK}{labels[0] if labels else '...'}'."
        )
    c = column_of(x, response)
    if len(c.labels) == 1:
        raise ValueError(f"{response!r} is {c.labels[0]:g} in every row.")
    if c.labels.tolist() == [0.0, 1.0]:
        return response, "Logistic", "0 or 1"
    if c.whole and 0 <= c.labels[0] < COUNTED:
        over = spread(c)
        kind = "NegativeBinomial" if over > DISPERSED else "Poisson"
        return response, kind, f"counts, whose variance is {over:.2g} times their mean"
    if c.labels[0] > 0 and skewed(c):
        return response, "Gamma", "positive and skewed: its mean is the exponential of a line"
    return response, "Linear", "numbers"


def _covariates(name: str, values: Any, asked: bool) -> tuple[list[str], str]:
    """The fields that a column makes, or none, and why."""
    x = as_floats(there(values))
    if x is not None:
        c: Column | None = column_of(x, name) if len(x) else None
        if c is None or len(c.labels) == 1:
            return [], "no two values"
        if not asked and (reason := names_rows(c, x)) is not None:
            return [], reason
        return [name], "a number"
    try:
        counts = Counter(map(str, there(values)))
    except TypeError:
        return [], "its values are no numbers and no labels"
    if not 2 <= len(counts) <= LEVELS:
        return [], f"{len(counts)} labels"
    usual = counts.most_common(1)[0][0]
    others = sorted(label for label in counts if label != usual)
    return [f"{name}{MARK}{label}" for label in others], f"against {usual}, the commonest label"
