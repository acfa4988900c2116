"""Is the larger model needed: a likelihood-ratio test by parametric bootstrap."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .._compile import Quick
from .._refuse import on_host
from .._results import RESULTS
from .._sharding import on_automatic_axes
from .._trees import alone, float_of, in_numpy, num_rows
from ..em import init, run
from ..em.chunks import densities
from ..em.priors.prior import DEFAULT_FLOOR
from ..em.run import Solution
from ..em.search.padding import padded_rows
from ..em.search.small import ELEMENTS

FEW_ROWS = 16_384  # of more rows a padded copy is not cheap beside the compilation


class LikelihoodRatio(NamedTuple):
    """A test of one model against a larger one.

    - `statistic`: twice the gain in log-likelihood, in nats.
    - `p_value`: share of the data sets simulated from the smaller model, and of the data
      themselves, whose statistic is as large; `std_error`: its Monte Carlo error.
    - `replicates`: the simulated statistics; NaN where a fit collapsed (`num_failed` of them),
      which are left out.
    """

    statistic: Array
    p_value: Array
    std_error: Array
    replicates: Float[Array, " num"]
    num_failed: Array


def in_a_bucket(data: PyTree, weights: np.ndarray, dtype: Any) -> tuple[PyTree, Any]:
    """Rows and their weights, padded unless they are many: another number compiles nothing."""
    if len(weights) <= FEW_ROWS:
        return padded_rows(in_numpy(data), weights, dtype)
    return data, jnp.asarray(weights, dtype)


def level(found: Solution) -> Array:
    """The log-likelihood of a fit; one that collapsed does not count."""
    bad = (found.result == RESULTS.degenerate) | (found.result == RESULTS.nonfinite)
    return jnp.where(bad, -jnp.inf, found.log_likelihood)


@on_host("call it outside.")
@on_automatic_axes
def likelihood_ratio_test(
    key: Key[Array, ""],
    null: PyTree,
    alternative: PyTree,
    data: PyTree,
    *,
    num: int = 199,
    num_restarts: int = 4,
    max_steps: int = 500,
    tol: float = 1e-7,
    floor: float = DEFAULT_FLOOR,
    batch_size: int = 32,
) -> LikelihoodRatio:
    """Test a fitted model against a larger fitted one by simulating from the smaller.

    Mixtures with different numbers of components violate the conditions of Wilks: twice the gain
    has no chi-squared law, so its law is simulated (McLachlan 1987, doi:10.2307/2347790). Each
    data set drawn from `null` is fitted by both models, the smaller from `null` itself, the larger
    from `alternative` and from fresh starts: p = (1 + #{LR* >= LR}) / (1 + num).

    Args:
        key: a typed key.
        null: the smaller model, fitted.
        alternative: the larger model, fitted.
        data: the events, stacked along a leading axis.
        num: simulated data sets.
        num_restarts: fresh starts of the larger model for each.
        max_steps: EM steps of a fit.
        tol: EM's tolerance, in nats a datum.
        floor: least variance of a component, as a share of the data's.
        batch_size: data sets fitted at once.

    Returns:
        A `LikelihoodRatio`.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.concatenate([jnp.linspace(-5, -4, 40), jnp.linspace(4, 5, 40)])[:, None]
        >>> templates = jm.choice.gaussian_templates(1, [1, 2], ["full"])
        >>> fits = jm.choice.sweep(jax.random.key(0), templates, x, num_restarts=4).fits
        >>> one, two = fits["full", 1].model, fits["full", 2].model
        >>> test = jm.choice.likelihood_ratio_test(jax.random.key(1), one, two, x, num=19)
        >>> float(test.p_value.round(3))
        0.05
    """
    if num < 1 or num_restarts < 0:
        raise ValueError("num must be at least 1 and num_restarts at least 0.")
    data, case = in_a_bucket(data, np.ones(num_rows(data)), float_of(null))
    # Numbers go in as arrays, so that others compile nothing.
    numbers = jax.device_put((max_steps, tol, floor))
    batch = min(batch_size, num)
    return _tested(
        key, null, alternative, data, case, *numbers, num, num_restarts, max_steps, batch
    )


def _is_brief(key, null, alternative, data, case, max_steps, tol, floor, num, restarts, *_) -> bool:
    """Whether all fits cost less than compiling them well."""
    return len(case) * max(1, densities(alternative)) * num * (restarts + 2) <= ELEMENTS


def _test(
    key, null, alternative, data, case, max_steps, tol, floor, num, num_restarts, most, batch
) -> LikelihoodRatio:
    options = {"max_steps": max_steps, "history_size": most, "tol": tol, "floor": floor}
    rows = len(case)

    def best(starts, data):
        """The highest log-likelihood of several starts."""
        one = lambda start: level(run(start, data, weights=case, **options))
        return jnp.max(jax.vmap(one)(starts))

    def ratio(data, fresh):
        starts = alone(alternative)
        if num_restarts:
            begin = lambda k: init(k, alternative, data, weights=case)
            join = lambda a, b: jnp.concatenate([a, b])
            starts = jax.tree.map(join, starts, jax.vmap(begin)(fresh))
        twice = 2 * (best(starts, data) - best(alone(null), data))
        return jnp.where(jnp.isfinite(twice), twice, jnp.nan)

    def replicate(each):
        # The data themselves come first.
        is_first, key = each
        k_rows, k_starts = jax.random.split(key)
        # A row's draw depends on its number alone, not on the room that the rows lie in.
        of_row = jax.vmap(lambda row: null.sample(jax.random.fold_in(k_rows, row)))
        pick = lambda given, new: jnp.where(is_first, given, new.astype(given.dtype))
        drawn = jax.tree.map(pick, data, of_row(jnp.arange(rows)))
        return ratio(drawn, jax.random.split(k_starts, num_restarts))

    each = (jnp.arange(1 + num) == 0, jax.random.split(key, 1 + num))
    values = jax.lax.map(replicate, each, batch_size=batch)
    statistic, replicates = values[0], values[1:]
    failed = jnp.isnan(replicates)
    count = lambda flags: jnp.sum(flags, dtype=statistic.dtype)
    valid = num - count(failed)
    p = (1 + count(replicates >= statistic)) / (1 + valid)
    p = jnp.where(jnp.isnan(statistic), jnp.nan, p)
    error = jnp.sqrt(p * (1 - p) / (1 + valid))
    return LikelihoodRatio(statistic, p, error, replicates, jnp.sum(failed))


_tested = Quick(_test, _is_brief)
