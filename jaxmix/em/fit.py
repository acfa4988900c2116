"""`jm.fit`: options are checked, then arrays are fitted in memory and sources by streaming."""

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Key, PyTree

from .._hooks import Source
from .._platform import with_precision
from .._refuse import checked_key, on_host
from .._sharding import on_automatic_axes
from .accelerate import solver_of
from .checks import of_dtype
from .entry import (
    Options,
    check_model,
    check_start,
    checked_options,
    enter,
    items_of_one_row,
)
from .in_memory import fit_alike, fit_arrays
from .priors.prior import DEFAULT_FLOOR, Prior
from .search.padding import alike
from .solution import Fit
from .solver import Solver
from .streaming.stream import fit_source


@on_host("call jm.em.run, the pure function under it.")
@functools.partial(on_automatic_axes, spread=True)
@with_precision
def fit(
    key: Key[Array, ""] | None,
    template: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    validation: PyTree | None = None,
    num_restarts: int = 16,
    init: str = "search",
    assignment: str = "soft",
    max_steps: int = 1000,
    tol: float | None = 1e-6,
    accelerate: str | Solver | None = None,
    stopping: str = "gain",
    prior: Prior | None = None,
    floor: float = DEFAULT_FLOOR,
    checkpoint: Any = None,
    progress: bool | None = None,
    throw: bool = False,
    precision: str | None = None,
) -> Fit:
    """Fit a model by EM: many starts, the best one continued, every failure told.

    Restarts go on in rounds of a few steps. Between two, those leave that have ended, that can no
    longer be the best, or that are on their way to where a better one is; `fit.restarts` says so of
    each. Of more than 4,096 rows (up to 16,384 where parameters or components are many) all of that
    happens on a sample, and the best one or two go on over all rows. A restart that collapsed ranks
    below every clean one. With `validation`, every restart is run to its end.

    Sequences of unequal lengths are passed over in groups of like lengths, where that saves work.

    Args:
        key: a typed key for the starts; None with `init="given"`.
        template: a model whose structure matters; with `init="given"` the start itself.
        data: events stacked along a leading axis, or a `jm.data` source of batches.
        weights: case weights (rows,), non-negative.
        validation: events by whose log-likelihood the best restart is chosen instead.
        num_restarts: how many starts.
        init: "search", or "given" to go on from `template` as it is.
        assignment: "soft", or "hard" for classification EM (k-means among it).
        max_steps: at most so many steps for one start.
        tol: stop at a gain below this, in nats a datum (a row; an item of the sequence where there
            is one single row); None never stops early.
        accelerate: None, "squarem", "lbfgs", or a `jm.em.Solver`; a step is one pass over the
            data in each.
        stopping: "gain" holds the last step's gain against `tol`, and a plain fit whose gains hardly
            fall ends as `slow`; "aitken" also holds against it what the gains' own rate, or the
            acceleration, foretells of those to come.
        prior: pseudo-statistics; None for a floor of `floor` times the data's variance.
        floor: least variance of a component, as a share of the data's.
        checkpoint: a folder in which the fit keeps its state, every few seconds; the same call goes on
            from there. `max_steps` and `tol` may change.
        progress: show a progress bar; None shows it on fits that last.
        throw: raise the result's sentence if the fit failed.
        precision: of float32 matrix products; None for all digits, or see `jm.products_in`.

    Returns:
        A `Fit`.

    Raises:
        ValueError: for bad input, by a sentence that names it; nothing has run by then.
        TypeError: for what is no typed key.
        RuntimeError: with `throw`, for a result other than successful.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-3, -1, 50), jnp.linspace(2, 4, 50)])
        >>> fit = jm.fit(jax.random.key(0), jm.mixture_of(jm.Normal.template(), 2), x)
        >>> bool(fit.result == jm.RESULTS.successful)
        True
    """
    del precision  # held by the decorator
    solver = solver_of(accelerate, template)
    options = Options(
        validation, num_restarts, init, assignment, max_steps, tol, solver, stopping, prior,
        floor, checkpoint, progress, throw,
    )  # fmt: skip
    options = checked_options(options, key)
    if streams := isinstance(data, Source):
        check_model(template, data, "template")
    else:
        data, weights = enter(template, data, weights, name="template", finite=True)
    if key is not None:
        checked_key(key, "fit")
    if init == "given":
        check_start(template)
    if streams:
        return fit_source(key, template, data, weights, options)
    items = items_of_one_row(data)
    if items is None:
        return fit_arrays(key, template, data, weights, options)
    items = float(items)
    if tol is not None:  # in nats an item
        options = options._replace(tol=tol * items)
    found = fit_arrays(key, template, data, weights, options)
    return dataclasses.replace(found, num_data=found.num_data * items, unit="item")


def fit_each(
    keys: Sequence[Key[Array, ""]], templates: Sequence[PyTree], data: PyTree, **options: Any
) -> list[Fit]:
    """`jm.fit` of several models to the same data, together where that can be."""
    found = fit_together(keys, templates, data, **options) if len(templates) > 1 else None
    if found is not None:
        return found
    return [fit(k, t, data, **options) for k, t in zip(keys, templates, strict=True)]


@with_precision
def fit_together(
    keys: Sequence[Key[Array, ""]],
    templates: Sequence[PyTree],
    data: PyTree,
    *,
    weights: Array | None = None,
    room: int = 1,
    **options: Any,
) -> list[Fit] | None:
    """`jm.fit` of several models by the same programs, each with its own key; None where they differ.

    Mixtures of one family that differ in their number of components alone share programs where
    the data are few; with `room` for more components also with those of another call.
    """
    if isinstance(data, Source):
        return None
    for template in templates:
        check_model(template, data, "template")
    data, weights = enter(templates[0], data, weights, finite=True)
    if items_of_one_row(data) is not None or len(alike([of_dtype(t, data) for t in templates])) > 1:
        return None
    given = DEFAULTS | options
    solver = solver_of(given.pop("accelerate"))
    del given["weights"], given["precision"]  # held by the decorator
    chosen = checked_options(Options(solver=solver, **given), keys[0])
    return fit_alike(keys, templates, data, weights, chosen, room)


DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
