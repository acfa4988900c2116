"""One call, one table: every model of a set fitted and compared."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Key, PyTree

from .._arguments import key, made_by, named, of_several, rows, takes, whole
from .._refuse import on_host
from .._results import FAILED, name
from .._sharding import on_automatic_axes
from .._trees import num_rows
from ..combinators import gaussian_mixture
from ..combinators.mixture import COVARIANCES
from ..data.folds import left_out
from ..em import Fit
from ..em.checks import of_dtype
from ..em.fit import fit_each
from ..em.search.padding import alike, rows_under
from ..em.search.seeds import generator, split

SMALLER = ("bic", "aic", "icl")
LARGER = ("log_likelihood", "held_out", "cross_validated")


@takes(dim=whole(1), components=of_several(whole(1)), covariances=of_several(named(*COVARIANCES)))
def gaussian_templates(
    dim: int,
    components: Sequence[int] = range(1, 7),
    covariances: Sequence[str] = tuple(COVARIANCES),
) -> dict[tuple[str, int], PyTree]:
    """Templates of Gaussian mixtures over numbers of components and kinds of covariance.

    Example:
        >>> from jaxmix.choice import gaussian_templates
        >>> list(gaussian_templates(2, [1, 2], ["diag"]))
        [('diag', 1), ('diag', 2)]
    """
    return {(c, k): gaussian_mixture(k, dim, covariance=c) for c in covariances for k in components}


class Sweep(eqx.Module):
    """Fits to the same data, by label, and what each criterion says of them.

    - `fits`: a `Fit` for each label.
    - `held_out`: log-density of the validation data, in nats a datum.
    - `pointwise`: each row's log-density under the fit to the other folds, in nats.

    `print` shows the table, `columns` gives it as a dict that pandas takes.
    """

    fits: dict[Any, Fit]
    held_out: dict[Any, float]
    pointwise: dict[Any, np.ndarray]
    weights: np.ndarray | None

    def criterion(self, which: str) -> dict[Any, float]:
        """The values of one criterion by label: bic, aic, icl (totals, smaller is better),
        log_likelihood (a total), held_out or cross_validated (means), in nats.

        Raises:
            ValueError: for a criterion that is unknown, or was not asked of the sweep.
        """
        if which in ("held_out", "cross_validated"):
            found = self.held_out if which == "held_out" else self.cross_validated
            if not found:
                need = "validation=..." if which == "held_out" else "folds=5"
                raise ValueError(f"The sweep has no {which} likelihood: give it {need}.")
            return found
        if which not in SMALLER + LARGER:
            raise ValueError(f"criterion must be one of {SMALLER + LARGER}; it was {which!r}.")
        return {label: float(getattr(fit, which)) for label, fit in self.fits.items()}

    @property
    def cross_validated(self) -> dict[Any, float]:
        """Mean log-density of the rows left out, in nats a datum."""
        return {k: float(np.average(v, weights=self.weights)) for k, v in self.pointwise.items()}

    def behind(self, label: Any) -> tuple[float, float]:
        """How far a model's cross-validated mean is below the best one's, and the standard error
        of that paired difference, in nats a datum.
        """
        best = self.pointwise[self.best("cross_validated")]
        gap = best - self.pointwise[label]
        mean = np.average(gap, weights=self.weights)
        share = np.ones(len(gap)) if self.weights is None else self.weights
        share = share / share.sum()
        return float(mean), float(np.sqrt(np.sum(share**2 * (gap - mean) ** 2)))

    @property
    def failed(self) -> list[Any]:
        """Labels whose fit collapsed or left the finite: no criterion means anything for them."""
        return [label for label, fit in self.fits.items() if name(fit.result) in FAILED]

    def best(self, criterion: str = "bic") -> Any:
        """The label that a criterion prefers, among the fits that did not fail.

        Raises:
            ValueError: if every fit failed.
        """
        values = self.criterion(criterion)
        failed = self.failed
        sound = {k: v for k, v in values.items() if k not in failed and not np.isnan(v)}
        if not sound:
            raise ValueError("Every fit of the sweep collapsed: use fewer components or a prior.")
        choose = min if criterion in SMALLER else max
        return choose(sound, key=lambda label: sound[label])

    @property
    def columns(self) -> dict[str, list]:
        """The table, column by column."""
        labels = list(self.fits)
        fits = list(self.fits.values())
        table: dict[str, list] = {
            "model": [_text(label) for label in labels],
            "parameters": [fit.num_parameters for fit in fits],
            "log_likelihood": [float(fit.log_likelihood) for fit in fits],
        }
        table |= {which: [getattr(fit, which) for fit in fits] for which in SMALLER}
        if self.held_out:
            table["held_out"] = [self.held_out[label] for label in labels]
        if self.pointwise:
            scores = self.cross_validated
            gaps = [self.behind(label) for label in labels]
            table["cross_validated"] = [scores[label] for label in labels]
            table["behind"] = [gap for gap, _ in gaps]
            table["behind_error"] = [error for _, error in gaps]
        table["result"] = [name(fit.result) for fit in fits]
        return table

    def __str__(self) -> str:
        table, labels = self.columns, list(self.fits)
        sound = len(self.failed) < len(labels)
        columns = []
        for title, values in table.items():
            cells = [v if isinstance(v, str) else _number(v) for v in values]
            if sound and title in (*SMALLER, "held_out", "cross_validated"):
                best = labels.index(self.best(title))
                cells = [c + ("*" if i == best else " ") for i, c in enumerate(cells)]
            width = max(map(len, [title, *cells]))
            left = title in ("model", "result")
            columns.append([c.ljust(width) if left else c.rjust(width) for c in [title, *cells]])
        lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
        return "\n".join([*lines, "* the best of its column; a model that collapsed has none."])


def _number(value: float | int) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4f}"


def _text(label: Any) -> str:
    return " ".join(map(str, label)) if isinstance(label, tuple) else str(label)


@on_host("call it outside.")
@takes(key=key, templates=made_by(dict, "a dict of templates by label"), data=rows)
@functools.partial(on_automatic_axes, spread=True)
def sweep(
    key: Key[Array, ""],
    templates: Mapping[Any, PyTree],
    data: PyTree,
    *,
    weights: Array | None = None,
    validation: PyTree | None = None,
    folds: int = 0,
    **options: Any,
) -> Sweep:
    """Fit every template to the same data, and compare them.

    BIC = -2 log L + parameters x log N (Schwarz 1978), AIC (Akaike 1974), ICL = BIC + twice the
    entropy of the responsibilities (Biernacki, Celeux and Govaert 2000, doi:10.1109/34.865189);
    on request the likelihood of held-out data and K-fold cross-validation (Smyth 2000). The folds
    are fitted from their own starts, so that what is left out has no say.

    Args:
        key: a typed key.
        templates: from labels to templates, such as `gaussian_templates` gives; any models.
        data: events stacked along a leading axis.
        weights: case weights (rows,).
        validation: events of which the held-out likelihood is taken.
        folds: number of folds of the cross-validation; 0 for none. Rows are split at random.
        **options: for `jm.fit`, such as `num_restarts`.

    Returns:
        A `Sweep`. A fit that was interrupted ends it: what was done by then is kept.

    Raises:
        ValueError: for bad input.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-5, -4, 40), jnp.linspace(4, 5, 40)])[:, None]
        >>> templates = jm.choice.gaussian_templates(1, [1, 2], ["full"])
        >>> jm.choice.sweep(jax.random.key(0), templates, x, num_restarts=4).best("bic")
        ('full', 2)
    """
    if not templates:
        raise ValueError("sweep needs at least one template.")
    refused = {"validation", "checkpoint", "init"} & set(options)
    if refused:
        raise ValueError(f"sweep fits many models from their own starts: it takes no {refused}.")
    rows = num_rows(data)
    if folds and not 2 <= folds <= rows:
        raise ValueError(f"folds must be 0, or from 2 to the {rows} rows; it was {folds}.")
    case = None if weights is None else np.asarray(weights)
    ones = np.ones(rows) if case is None else case
    # Weights that leave rows out compile nothing that all ones have not compiled.
    every = ones if folds else case
    labels = list(templates)
    k_fold, *keys = split(key, 1 + len(labels) * (folds + 1))
    fold = generator(k_fold).permutation(np.arange(rows) % max(folds, 1))
    fits, held, pointwise = {}, {}, {}
    for group in alike([of_dtype(templates[label], data) for label in labels]):
        models = [templates[labels[i]] for i in group]
        of_group = [keys[i * (folds + 1) : (i + 1) * (folds + 1)] for i in group]
        wholes = fit_each([k[0] for k in of_group], models, data, weights=every, **options)
        fits |= {labels[i]: whole for i, whole in zip(group, wholes, strict=True)}
        if validation is not None:
            score = lambda whole: float(np.mean(rows_under(whole.model, validation)))
            held |= {labels[i]: score(whole) for i, whole in zip(group, wholes, strict=True)}
        over = any(name(whole.result) == "interrupted" for whole in wholes)
        if folds:
            every_fold = [k[1:] for k in of_group]
            parts = [np.full(rows, np.nan)] * len(group)
            parts = parts if over else left_out(every_fold, models, data, ones, fold, options)
            pointwise |= {labels[i]: part for i, part in zip(group, parts, strict=True)}
        if over:
            break
    in_order = lambda found: {label: found[label] for label in labels if label in found}
    fits, held, pointwise = map(in_order, (fits, held, pointwise))
    return Sweep(fits, held, pointwise, case)
