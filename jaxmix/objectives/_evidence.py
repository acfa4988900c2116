"""Estimates of log p(x) with their errors and diagnostics, and posterior expectations."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from .._arguments import arrays, having, numbers, takes, whole
from .._arguments import function as of_one
from .._closures import arrays_held, in_one_program
from .._log_sums import log_mean_exp, softmax
from .._pareto import SWAMPED, pareto_k, swamped
from .._results import RESULTS
from .._sharding import aligned, gathered, on_its_mesh
from .._steps import refusing_slopes
from .._trees import take
from ._combine import combine
from ._draws import check_call, checked_guide, checked_rows, weighed
from ._terms import LeaveOut

# From the gravest.
CODES = (RESULTS.nonfinite, RESULTS.undefined, RESULTS.too_few_draws, RESULTS.heavy_tailed)


class Evidence(eqx.Module):
    """Estimates of log p(x), one a datum, in nats; `total` and `total_std_error` for the data.

    Attributes:
        value: estimates (N,).
        std_error: their standard errors (N,).
        chi2: estimated chi-square divergence of the posterior from the guide (N,).
        ess: effective number of draws (N,).
        pareto_k: tail of the weights (N,); above 0.7 neither value nor error can be trusted, above
            1/2 the weights have no finite variance, and no unbiased objective has one either.
        bias: jackknife estimate of the value's bias (N,), which is not removed; 0 under an
            objective.
        largest: largest contribution of one level to one estimate (N,).
        samples: draws used a datum (N,).
        result: codes (N,) whose texts say what is wrong with a row, if anything; compare them
            with `==`, and see `worst` and `problems()`.
        direction: "lower", "upper", "estimate" or "unbiased": how the mean lies to log p(x).
    """

    value: Float[Array, " N"]
    std_error: Float[Array, " N"]
    chi2: Float[Array, " N"]
    ess: Float[Array, " N"]
    pareto_k: Float[Array, " N"]
    bias: Float[Array, " N"]
    largest: Float[Array, " N"]
    samples: Int[Array, " N"]
    result: RESULTS
    direction: str = eqx.field(static=True)

    @property
    def worst(self) -> RESULTS:
        """The code of the data as a whole: the gravest of the rows'."""
        found = RESULTS.successful
        for code in reversed(CODES):
            found = RESULTS.where(jnp.any(self.result == code), code, found)
        return found

    def problems(self) -> list[str]:
        """Sentences on what is wrong, with the rows concerned; empty if nothing was seen to be."""
        told: list[tuple[str, Any]] = [(RESULTS[code], self.result == code) for code in CODES]
        told.append((SWAMPED, swamped(self.value)))
        found = []
        for sentence, which in told:
            rows = np.flatnonzero(np.asarray(which))
            if rows.size:
                shown = ", ".join(map(str, rows[:8])) + (" ..." if rows.size > 8 else "")
                found.append(f"rows {shown} ({rows.size} of {self.value.size}): {sentence}")
        return found

    @property
    def total(self) -> Array:
        return jnp.sum(self.value)

    @property
    def total_std_error(self) -> Array:
        """Of the draws, given the data; rows have draws of their own."""
        return jnp.sqrt(jnp.sum(self.std_error**2))


@takes(xs=arrays, num_samples=whole(2), repeats=whole(2), rows_at_once=whole(1))
def log_evidence(
    key: Key[Array, ""],
    model: Any,
    guide: Any,
    xs: PyTree,
    *,
    num_samples: int = 1000,
    objective: Any = None,
    repeats: int = 32,
    rows_at_once: int = 16,
) -> Evidence:
    """Estimate log p(x) for every datum, in nats, with standard errors and diagnostics.

    By default the log of the mean weight over `num_samples` draws, whose standard error is
    sqrt((K sum_i s_i^2 - 1) / (K - 1)) by the delta method and whose bias, about -chi2 / (2 K),
    is estimated by the jackknife. With an objective, the mean of independent repeats.

    Args:
        key: a typed random key.
        model: `model(z, x)`, the joint log-density.
        guide: `guide(x)`, a density over z.
        xs: the data, along the first axis.
        num_samples: draws a datum, for the default estimate and for the diagnostics.
        objective: for example `jm.multilevel()`.
        repeats: independent values of the objective, at least 2.
        rows_at_once: data whose draws are in memory together.

    Raises:
        ValueError: if there are fewer than 2 draws or repeats.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> guide = lambda x: jm.Normal(x / 2, 0.8)
        >>> found = jm.log_evidence(jax.random.key(0), model, guide, jnp.zeros(1))
        >>> bool(abs(found.value[0] + 1.2655) < 4 * found.std_error[0])
        True
    """
    check_call("log_evidence", key, model, guide)
    if objective is not None:
        having("evaluate", how="jm.iwae, jm.multilevel and the like")(objective, "objective")
    rows, xs = checked_rows(xs), gathered(xs)
    k_weights, k_repeats = jax.random.split(key)

    at_once = min(rows, rows_at_once) if isinstance(rows, int) else None
    value, error, chi2, ess, tail, bias, nonfinite = in_one_program(
        _diagnostics(num_samples, at_once), (model, guide), jax.random.split(k_weights, rows), xs
    )
    samples = jnp.full((rows,), num_samples)
    largest, direction = jnp.abs(value), "lower"
    dead = value == -jnp.inf
    bad = nonfinite & ~dead
    undefined = jnp.zeros_like(bad)
    if objective is not None:
        draws, used, peaks = jax.lax.map(
            lambda k: tuple(objective.evaluate(k, model, guide, xs)),
            jax.random.split(k_repeats, repeats),
        )
        value = jnp.mean(draws, 0)
        error = jnp.std(draws, 0, ddof=1) / jnp.sqrt(jnp.asarray(repeats, draws.dtype))
        samples, largest = jnp.sum(used, 0), jnp.max(peaks, 0)
        bias, direction = jnp.zeros_like(value), objective.direction
        undefined = ~bad & ~jnp.isfinite(value)
    found = [bad | (dead & (objective is None)), undefined, tail == jnp.inf, ~(tail <= 0.7)]
    result = jax.vmap(_code)(found)
    return Evidence(value, error, chi2, ess, tail, bias, largest, samples, result, direction)


@functools.lru_cache(maxsize=64)
def _diagnostics(num_samples: int, at_once: int | None) -> Callable:
    """A function (model, guide, keys, xs) to `weight_diagnostics` a row, so many rows at once."""

    def of_rows(model, guide, keys, xs):
        def one(given):
            key, x = given
            q = checked_guide(guide, x, "score")
            return weight_diagnostics(weighed(key, model, q, x, num_samples)[1])

        return jax.lax.map(one, (keys, xs), batch_size=at_once)

    return of_rows


def _code(found: list[Array]) -> RESULTS:
    """The gravest code of one row."""
    result = RESULTS.successful
    for code, is_so in reversed(list(zip(CODES, found, strict=True))):
        result = RESULTS.where(is_so, code, result)
    return result


def weight_diagnostics(log_w: Float[Array, " K"]) -> tuple[Array, ...]:
    """Value, standard error, chi2, ESS, Pareto k, jackknife bias, and whether one is not finite."""
    size = log_w.shape[0]
    total = log_mean_exp(log_w)
    share = softmax(log_w)
    square = jnp.sum(share**2)
    none = total == -jnp.inf
    ess = jnp.where(none, jnp.zeros_like(square), 1 / jnp.where(none, 1 + 0 * square, square))
    variance = (size * square - 1) / (size - 1)
    chi2 = jnp.where(none, jnp.full_like(variance, jnp.inf), size * variance)
    error = jnp.where(none, jnp.full_like(variance, jnp.inf), jnp.sqrt(jnp.maximum(variance, 0)))
    # (K - 1) (mean of leave-one-out bounds - bound), whose terms are log1p(-s) + log(K/(K-1)).
    left = jnp.log1p(-jnp.minimum(share, 1 - jnp.finfo(share.dtype).eps))
    bias = (size - 1) * jnp.mean(left - jnp.log1p(jnp.asarray(-1 / size, log_w.dtype)))
    nonfinite = ~jnp.all(log_w < jnp.inf) | none
    return total, error, chi2, ess, pareto_k(log_w), bias, nonfinite


@takes(xs=arrays, function=of_one, num_samples=whole(1))
def posterior_mean(
    key: Key[Array, ""],
    model: Any,
    guide: Any,
    xs: PyTree,
    function: Callable,
    *,
    num_samples: int = 1000,
) -> tuple[Array, Array]:
    """Self-normalised estimate of E[function(z) | x] for every datum, and its standard error.

    sum_i s_i f(z_i), the weights normalised to 1 once; its bias is O(1 / num_samples). Error:
    sqrt(sum_i s_i^2 (f(z_i) - mean)^2).

    Args:
        key: a typed random key.
        model: `model(z, x)`, the joint log-density.
        guide: `guide(x)`, a density over z.
        xs: the data, along the first axis.
        function: of one latent, to one array of numbers or truths; asked only where a weight is positive.
        num_samples: draws a datum.

    Returns:
        Two arrays (N, ...): means and standard errors; NaN and infinity where all weights are 0.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> model = lambda z, x: jm.Normal(0, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
        >>> guide = lambda x: jm.Normal(x / 2, 1)
        >>> key, one = jax.random.key(0), jnp.ones(1)
        >>> mean, error = jm.objectives.posterior_mean(key, model, guide, one, lambda z: z)
        >>> bool(abs(mean[0] - 0.5) < 4 * error[0])
        True
    """
    check_call("posterior_mean", key, model, guide)
    given = (model, guide, function)
    run = lambda xs, key: in_one_program(_posterior_means(num_samples), given, key, xs)
    return on_its_mesh(run, xs, key, held=arrays_held(given))


@functools.lru_cache(maxsize=64)
def _posterior_means(num_samples: int) -> Callable:
    """A function (model, guide, function, key, xs) to the means and their errors."""

    def of_rows(model, guide, function, key, xs):
        def one(key, x):
            q = checked_guide(guide, x, "score")
            zs, log_w = weighed(key, model, q, x, num_samples)
            share = softmax(log_w)
            # Asked only where the weight is positive.
            inside = share > 0
            rows = jnp.where(inside, jnp.arange(num_samples), jnp.argmax(inside))
            asked = refusing_slopes(function, take(zs, 0))
            values = numbers()(jax.vmap(asked)(take(zs, rows)), "The value of function")
            if not jnp.issubdtype(values.dtype, jnp.inexact):  # truths, whole numbers
                values = values.astype(share.dtype)
            mean = jnp.tensordot(share, values, 1, precision="highest")
            square = (values - mean[None]) ** 2
            error = jnp.sqrt(jnp.tensordot(share**2, square, 1, precision="highest"))
            found = jnp.any(inside)
            return jnp.where(found, mean, jnp.nan), jnp.where(found, error, jnp.inf)

        return jax.vmap(one)(*aligned((jax.random.split(key, checked_rows(xs)), xs)))

    return of_rows


@takes(log_w=numbers(1, floating=True), order=whole(1))
def jackknifed(log_w: Float[Array, " K"], order: int = 1) -> Array:
    """The jackknife estimate of log p(x), in nats, from log-weights that are already there.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> float(jm.objectives.jackknifed(jnp.zeros(4)))
        0.0
    """
    return combine(log_w, [LeaveOut(order)]).value
