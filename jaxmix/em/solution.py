"""What a fit gives: a model, its traces, its restarts, and why it stopped."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._hooks import Labelled
from .._results import FAILED, RESULTS, code_of, message, name
from .._trees import take
from ..combinators._labels import posterior_of
from .chunks import brief, densities, map_rows
from .parts import num_parameters
from .sharded import Layout, opened, over_rows, pooled
from .state import History


class Restarts(NamedTuple):
    """One entry a restart: totals in nats, steps, and outcomes.

    `result` is the name of a code of `jm.RESULTS`, or, for a restart that was not run to its end,
    "dropped" where it could no longer be the best, and "twin of 3" where it was on its way to the
    optimum of restart 3. Its other entries are those of the step at which it was left; one that was
    searched on a sample only has its mean there times the number of rows, and no validation (NaN).
    """

    log_likelihood: np.ndarray
    validation_log_likelihood: np.ndarray | None
    num_steps: np.ndarray
    result: list[str]


class Fit(eqx.Module):
    """The outcome of `jm.fit`.

    - `log_likelihood`: the model's own total over the data in nats, weights included.
    - `history`: one entry a step of the best restart; see `jm.em.History`.
    - `result`: a code of `jm.RESULTS`; `restarts`: the table of all restarts.
    - `bic`, `aic`, `icl`: smaller is better; `num_parameters` are the free ones.
    - `num_data`: how many data there are, weights included, in units of `unit`: a "row", or an
      "item" of its sequences where there is one single row, a whole series.
    """

    model: PyTree
    log_likelihood: Array
    history: History
    num_steps: int
    num_emptied: int
    result: RESULTS
    restarts: Restarts
    num_parameters: int
    num_data: float
    entropy: float
    validation_log_likelihood: float | None = None
    unit: str = eqx.field(static=True, default="row")

    @property
    def bic(self) -> float:
        """-2 log-likelihood + parameters x log N (Schwarz 1978)."""
        return -2 * float(self.log_likelihood) + self.num_parameters * float(np.log(self.num_data))

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 x parameters (Akaike 1974)."""
        return -2 * float(self.log_likelihood) + 2 * self.num_parameters

    @property
    def icl(self) -> float:
        """BIC plus twice the entropy of the responsibilities (Biernacki et al. 2000)."""
        return self.bic + 2 * self.entropy

    def __str__(self) -> str:
        met = bool(self.result == RESULTS.successful)
        reason = "the gain per datum fell below `tol`" if met else message(self.result)
        same = np.sum(
            self.restarts.log_likelihood > float(self.log_likelihood) - 1e-3 * self.num_data
        )
        total = float(self.log_likelihood)
        return (
            f"Fit of {type(self.model).__name__}: log-likelihood {total:.4f} nats "
            f"({total / self.num_data:.4f} a datum) after {self.num_steps} steps\n"
            f"  data {self.num_data:g} ({self.unit}s), parameters {self.num_parameters}, "
            f"BIC {self.bic:.2f}, AIC {self.aic:.2f}, ICL {self.icl:.2f}\n"
            f"  stopped: {name(self.result)} ({reason})\n"
            f"  restarts: {len(self.restarts.num_steps)}, of which {same} within 0.001 nats a datum "
            f"of this one; densities left empty: {self.num_emptied}"
        )


def entropy(
    model: PyTree, data: PyTree, weights: Array | None, layout: Layout | None = None
) -> float:
    """Sum over the data of the entropy of a mixture's responsibilities, in nats."""
    if not isinstance(model, Labelled):
        return 0.0
    return float(_entropy(model, data, weights, layout))


@brief
def _entropy(model, data, weights, layout):
    def of_one(model, x):
        share = posterior_of(model, x)
        none = share == 0
        log_share = jnp.log(jnp.where(none, jnp.ones_like(share), share))
        return -jnp.sum(share * log_share)

    def total(data, weights, model):
        rows, axes = opened(data)
        values = map_rows(lambda x: of_one(model, x), rows, 4096)
        if weights is not None:
            values = jnp.where(weights > 0, values * weights, jnp.zeros_like(values))
        return pooled(jnp.sum(values), axes)

    return over_rows(total, layout, data, weights, model)


def answer(
    found: Any,
    table: Restarts,
    validated: np.ndarray | None,
    num_data: float,
    entropy_of: Callable[[PyTree, int], float],
    *,
    interrupted: bool,
    throw: bool,
    narrowed: Callable[[PyTree], PyTree] = lambda model: model,
) -> Fit:
    """The fit of the best of all lanes, which are a `Searched`.

    It is chosen by the log-likelihoods `validated`, None for their own; `entropy_of` takes its
    model and lane to the entropy of the responsibilities, `narrowed` takes off components that
    are padding.
    """
    if validated is not None:
        held = np.full(len(table.num_steps), np.nan, validated.dtype)
        held[found.lanes] = validated
        table = table._replace(validation_log_likelihood=held)
    total = found.state.expected.log_likelihood  # lanes at one optimum differ in its last digits
    scores = np.asarray(total.high, float) + np.asarray(total.low, float)
    best = best_of(scores if validated is None else validated, found.codes)
    state = take(found.state, best)
    result = RESULTS.interrupted if interrupted else code_of(found.codes[best])
    if throw and bool(result != RESULTS.successful):
        raise RuntimeError(message(result))
    on_device = lambda a: jax.device_put(a) if isinstance(a, np.ndarray | np.generic) else a
    model, steps = jax.tree.map(on_device, narrowed(state.model)), int(state.num_steps)
    padding = densities(state.model) - densities(model)
    history = of_lane(found.history, best, steps)
    return Fit(
        model, on_device(state.expected.log_likelihood.value), history, steps,
        max(0, int(state.num_emptied) - padding), result, table, num_parameters(model), num_data,
        entropy_of(state.model, best), None if validated is None else float(validated[best]),
    )  # fmt: skip


def best_of(scores: np.ndarray, codes: list[str]) -> int:
    """The highest score among restarts that did not collapse, if there are any such."""
    bad = np.array([code in FAILED for code in codes])
    order = np.where(np.isnan(scores), -np.inf, scores)
    return int(np.argmax(np.where(bad & ~bad.all(), -np.inf, order)))


def of_lane(blocks: list[History], lane: int, steps: int) -> History:
    """A restart's traces, without the padding after the last step of each block."""
    whole = [np.zeros((len(History._fields), 0))]
    for block in blocks:
        traces = np.stack([np.asarray(trace[lane]) for trace in block])
        whole.append(traces[:, : np.sum(~np.isnan(traces).all(0))])
    return History(*map(jax.device_put, np.concatenate(whole, 1, dtype=whole[-1].dtype)[:, :steps]))
