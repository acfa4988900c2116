"""Mixtures of every size, fitted beside one another, and the one that BIC chooses."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from .._results import FAILED, name
from .._stack import pick
from .._trees import num_rows
from ..combinators import mixture_of
from ..data import encode
from ..em import conjugate_prior, fit
from ..em.fit import fit_together
from ..em.search.initialise import global_fit, supported
from .work import at_work

COLLAPSED = (
    "Every mixture collapsed, so that no likelihood means anything: a column has values that very "
    "many rows share. Leave it out with --ignore, or name its law with --as."
)
FEW_ROWS = 5000  # up to which a fit takes less time than its compilation
MANY_ROWS = 50_000  # beyond which sizes are compared on so many of the rows, drawn at random


class Found(NamedTuple):
    """The encoded table, the fit of each size, the size chosen, and its fit to all rows.

    `failed` says why that fit is of the rows compared alone, where it is.
    """

    data: PyTree
    fits: dict[int, Any]
    chosen: int
    best: Any
    compared_on: int
    failed: str = ""


def choose(
    template: PyTree,
    rows: Any,
    components: Sequence[int],
    restarts: int,
    seed: int,
    *,
    weights: np.ndarray | None = None,
    prior: float = 0.0,
    encoded: bool = False,
    source: Any = None,
    at_random: int | None = None,
    checkpoint: Any = None,
    keep: Callable[[PyTree], None] = lambda model: None,
) -> Found:
    """Fit mixtures of each size, at most as large as the table, and take the least BIC.

    Of a long table a part chooses, and the mixture chosen goes on from there over all rows; where
    that fails, the mixture of the part stays, which `keep` was given. `rows` are then some of a
    `source` of events: so many `at_random`, and others that show what those lack.
    """
    shown = data = rows if encoded else encode(template, rows)
    most = num_rows(shown)
    case: Any = weights
    few = None if at_random is None else slice(at_random)
    if source is None and most > MANY_ROWS:
        few = np.sort(
            np.random.default_rng([seed, *b"rows"]).choice(most, MANY_ROWS, replace=False)
        )
    if few is not None:
        data = jax.tree.map(lambda array: array[few], shown)
        case = None if weights is None else weights[few]
    sizes = [k for k in components if k <= num_rows(data)]
    if not sizes:
        raise ValueError(f"{components[0]} components are more than the {most} rows.")

    models = {k: mixture_of(template, k) for k in sizes}
    at_work("Fitting mixtures")
    together = None
    if not prior:  # of one program for all sizes, where the rows are few
        keys = [jax.random.key(seed)] * len(sizes)
        together = fit_together(
            keys, list(models.values()), data, weights=case, num_restarts=restarts
        )
    if together is not None:
        fits = dict(zip(sizes, together, strict=True))
    else:
        fits = side_by_side(sizes, lambda k: fit(
            jax.random.key(seed), models[k], data, weights=case, num_restarts=restarts,
            prior=conjugate_prior(models[k], data, rows=prior) if prior else None, progress=False,
        ))  # fmt: skip
    sound = sorted((k for k in sizes if is_sound(fits[k])), key=lambda k: fits[k].bic)
    if not sound:
        raise ValueError(COLLAPSED)
    if few is None:
        return Found(data, fits, sound[0], fits[sound[0]], most)
    every: Any
    whole, every = (shown, weights) if source is None else (source, source.weights)
    rows = most if source is None else source.num_rows
    keep(fits[sound[0]].model)
    failed = "every mixture collapsed there"
    for k in sound:  # what stood on a part may collapse on the whole
        print(f"K = {k} by BIC; it is fitted to all {rows:,} rows.", flush=True)
        at_work(f"Fitting to all {rows:,} rows")
        law = conjugate_prior(fits[k].model, data, rows=prior) if prior else None
        try:
            best = fit(
                None, _possible(fits[k].model, shown, weights), whole, weights=every, prior=law,
                init="given",
                checkpoint=None if checkpoint is None else Path(checkpoint) / f"{k}",
            )  # fmt: skip
        except Exception as error:  # whatever it is, what was found stays
            failed = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            break
        if is_sound(best):
            seen = whole if source is None else data
            return Found(seen, fits, k, best, num_rows(data))
        print(f"On all rows K = {k} collapsed.", flush=True)
    k = sound[0]
    return Found(shown if source is None else data, fits, k, fits[k], num_rows(data), failed)


def side_by_side(sizes: Sequence[int], fitted: Callable[[int], Any]) -> dict[int, Any]:
    """A fit of each size, in threads: each is a compilation of its own, and these run side by side."""
    x64 = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]

    def one(k):
        with jax.enable_x64(x64):  # a setting of each thread's own
            return k, fitted(k)

    found: dict[int, Any] = dict.fromkeys(sizes)
    left = lambda: ", ".join(str(k) for k, ended in found.items() if ended is None)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        at_work("Fitting mixtures", f"K = {left()} left")
        for task in as_completed([pool.submit(one, k) for k in sizes]):
            k, found[k] = task.result()
            print(f"K = {k}: BIC {found[k].bic:.1f}", flush=True)
            at_work("Fitting mixtures", f"K = {left()} left")
    return found


def is_sound(fit: Any) -> bool:
    """Whether a fit's likelihood means something: it neither collapsed nor left the finite."""
    return name(fit.result) not in FAILED and bool(np.isfinite(fit.bic))


@eqx.filter_jit
def _possible(model: PyTree, data: PyTree, weights: Any) -> PyTree:
    """The model with no probability, nor rate, of 0 for what only rows outside the part have."""
    stack = jax.tree.map(lambda array: array[None], model)
    lifted = pick(supported(stack, global_fit(model, data, weights)[0]), 0)
    return eqx.tree_at(lambda m: m.mixing, lifted, model.mixing)


def compared(found: Found) -> tuple[tuple, list[tuple]]:
    """The header and the rows of a table of all sizes, the chosen one starred."""
    rows = [
        (
            f"{k}{'*' if k == found.chosen else '' if is_sound(fit) else ' (collapsed)'}",
            f"{float(fit.log_likelihood):.2f}",
            fit.num_parameters,
            f"{fit.bic:.1f}",
            f"{fit.aic:.1f}",
            f"{fit.icl:.1f}",
        )
        for k, fit in found.fits.items()
    ]
    return ("K", "log-likelihood", "parameters", "BIC", "AIC", "ICL"), rows
