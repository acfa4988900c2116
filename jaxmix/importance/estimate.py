"""The estimator: expectations under many targets from one set of draws."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._arguments import made_by, takes
from .._compile import of_few_numbers
from .._density import is_normalised
from .._pareto import in_full, pareto_k, psis, refuse_symbolic
from .._platform import with_precision
from .._sharding import gathered
from .._trees import is_traced
from .checks import check_controls, checked_efficiencies, least_of, refuse_nan
from .controls import with_controls
from .draws import Draws, checked_draws
from .family import is_single, log_table
from .result import Estimate, make_estimate, of_held
from .sweep import (
    Given,
    Sample,
    as_sample,
    looked_at,
    numbers_looked_at,
    of_one_dtype,
    sweep,
    weight_bound,
)
from .tables import Ratios, Strata, Table, ratios_to_mixtures
from .totals import Summary, mean_and_residual, summarise, terms, totals
from .upper import hit_limits


@with_precision
def imp_est(
    f: Callable | PyTree,
    targets: PyTree,
    draws: Draws,
    *,
    weights: Float[Array, "j k"] | None = None,
    control_variates: bool | PyTree = False,
    self_normalised: bool = False,
    smooth: bool = False,
    covariance: bool = False,
    r_eff: float | Float[Array, " k"] = 1.0,
    precision: str | None = None,
) -> Estimate:
    """Expectations of f under every target, by mixture importance sampling.

    est_j = sum_k (w_jk / n_k) sum_i f(X_ik) p_j(X_ik) / q_j(X_ik),  q_j = sum_k w_jk p_k.

    Unbiased for any fixed weights and counts. Without weights q is the mixture in proportion to
    the counts: the balance heuristic (Veach and Guibas 1995). Everything is done in log space.
    The older call `imp_est(rejs, X, ws, mus)`, X of shape (K, n) drawn from Normal(mus, 1), is
    `imp_est(rejs.ravel(), family(mus[:J]), Draws.of(X, family(mus)), weights=ws).value` with
    `family = lambda m: jax.vmap(jm.Normal)(m, jnp.ones_like(m))`.

    Gradients in the targets' parameters are those of the expectations, also where a target is
    itself a proposal: draws and proposals are constants of the differentiation. What would be
    silently 0 is refused by a sentence: the slope of a threshold in f (f is 0 or 1, and the draws
    are held), and that of the error in the proposals (see `second_moments`).

    f is asked only where some target is positive. Targets of any size: `log_value`, `log_mass` and
    their errors neither under- nor overflow.

    Args:
        f: function of one event, with a number, a truth value, an array or a pytree of them as
            value; or these values at all draws, stacked along a leading axis.
        targets: a stack of densities, one density, or a list; normalised or (with
            `self_normalised`) not.
        draws: from `jm.importance.draw`.
        weights: non-negative, a row a target that sums to 1, a column a proposal; None to pool.
        control_variates: True to use the proposals' known masses (Owen and Zhou 2000), or any
            stack or list of normalised densities to use theirs. Cross-fitted.
        self_normalised: divide by the estimated mass: for targets known up to a factor. The
            value is then biased by the order of 1 / ess, and its error is by the delta method.
        smooth: Pareto-smooth each target's weights p_j / q_j (a bias for less variance).
        covariance: estimate the covariance between all values.
        r_eff: effective draws a draw, one number or one for each proposal, below 1 for draws of
            Markov chains: variances are divided by it, so many draws count in `ess` and in limits,
            and `smooth` takes a longer tail.
        precision: of float32 matrix products; None for all digits, or see `jm.products_in`.

    Returns:
        An `Estimate`; for J targets each field has a leading axis of J.

    Raises:
        ValueError: if shapes do not fit, weights are negative or do not sum to 1, or f gave NaN
            on the support of a target.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> targets = jax.vmap(jm.Normal)(jnp.array([-1.0, 0.0]), jnp.ones(2))
        >>> draws = jm.importance.draw(jax.random.key(0), jm.Normal(2, 1.2), 4000)
        >>> estimate = jm.imp_est(lambda x: x > 2, targets, draws)
        >>> exact = jnp.array([0.00135, 0.02275])
        >>> bool((abs(estimate.value - exact) < 4 * estimate.std_error).all())
        True
    """
    del precision  # held by the decorator
    draws, given = jax.lax.stop_gradient(checked_draws(draws)), draws
    look, values = looked_at(f, targets, draws)
    log_controls = None
    if control_variates is True:
        log_controls = log_table(draws.proposals, draws.events)
    elif control_variates is not False:
        log_controls = log_table(control_variates, draws.events, "control_variates")
    normalised = tuple(is_normalised(p.density) for p in look.targets for _ in range(p.size))
    out = _estimate(
        look, draws.events, values, draws.strata, weights, log_controls, self_normalised, smooth,
        covariance, is_single(targets), r_eff, normalised, draws.reached,
    )  # fmt: skip
    return of_held(out, given.proposals)


@takes(table=made_by(Table, "jm.importance.Table"))
def from_table(
    table: Table,
    values: PyTree,
    *,
    weights: Float[Array, "j k"] | None = None,
    log_controls: Float[Array, "n c"] | None = None,
    self_normalised: bool = False,
    smooth: bool = False,
    covariance: bool = False,
    single: bool = False,
    r_eff: float | Float[Array, " k"] = 1.0,
) -> Estimate:
    """`imp_est` on a table of log-densities and the values of f at the draws.

    Args:
        table: log-densities of the draws; the targets may be unnormalised.
        values: f at the draws, leaves with a leading axis of draws.
        weights: as in `imp_est`.
        log_controls: log-densities of the control variates at the draws.
        self_normalised: as in `imp_est`.
        smooth: as in `imp_est`.
        covariance: as in `imp_est`.
        single: whether to drop the axis of targets (there must be one).
        r_eff: as in `imp_est`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> flat = jnp.zeros((4, 1))
        >>> table = jm.importance.Table(flat, flat, jnp.zeros(4, int), jnp.array([4]), 4)
        >>> jm.importance.from_table(table, jnp.array([0.0, 1.0, 1.0, 0.0])).value
        Array([0.5], dtype=float32)
    """
    table, values, log_controls = gathered((table, values, log_controls))
    rows = tuple(in_full(a) for a in (table.log_targets, table.log_proposals))
    out = _estimate(
        Given(), rows, values, table.strata, weights, log_controls, self_normalised, smooth,
        covariance, single, r_eff,
    )  # fmt: skip
    return of_held(out, table.log_proposals)


def _estimate(
    look, rows, values, strata, weights, controls, self_normalised, smooth, covariance, single,
    r_eff, normalised=None, reached=True,
):  # fmt: skip
    """Check, compute, and shape."""
    refuse_symbolic(strata.stratum.shape[0])
    sample, truths, weights = as_sample(look, rows, values, strata, weights)
    r_eff = checked_efficiencies(r_eff, strata.counts.shape[0], sample.values.dtype)
    # How many weights are smoothed is a shape: where it is not known, as many as of independent ones.
    smooth = least_of(r_eff) if smooth and not is_traced(r_eff) else float(smooth)
    if controls is not None:
        check_controls(controls, self_normalised)
        controls = jax.lax.stop_gradient(controls)
    summary, upper, pareto, bad, matrix = _computed(
        sample, weights, controls, truths, self_normalised, smooth, covariance, r_eff
    )
    refuse_nan(bad)
    like = jax.tree.map(lambda leaf: np.empty(leaf.shape[1:]), values)
    n = strata.stratum.shape[0]
    return make_estimate(summary, upper, pareto, matrix, like, single, n, normalised, reached)


@functools.partial(
    of_few_numbers, count=lambda sample, *_: 3 * numbers_looked_at(sample.look, sample.rows)
)
def _computed(
    sample: Sample, weights, controls, truths, self_normalised, smooth, covariance, r_eff
):
    """By the cheapest way that gives all that is asked for: block by block, or by the table."""
    sample, weights, r_eff = of_one_dtype(sample, weights, r_eff)
    w = sample.strata.shares(sample.values.dtype)[None, :] if weights is None else weights
    if controls is None and not smooth and not covariance:
        (sums, logs), y, mass = sweep(sample, w), None, None
    else:
        sums, logs, y, mass = _by_table(sample, w, weights, controls, smooth)
    summary = summarise(sums, w, self_normalised=self_normalised, r_eff=r_eff)
    bound = weight_bound(sample, w)
    upper = hit_limits(sums.counts, w, summary, sums.mass_shift, truths, bound, r_eff)
    matrix = None
    if covariance:
        matrix = _covariance(sample.strata, y, mass, w, sums, summary, self_normalised, r_eff)
    return summary, upper, _pareto(logs), _wrong(sample.values, logs), matrix


def _by_table(sample: Sample, w, weights, controls, smooth):
    """Totals, the logarithms of all terms, and the terms and masses themselves."""
    table, flat, strata = sample.table, sample.values, sample.strata
    ratios = ratios_to_mixtures(table.log_targets, table.log_proposals, strata, w)
    if smooth:
        ratios = _smoothed(ratios, smooth)
    sums = totals(strata, flat, ratios)
    y, _, mass, _ = terms(flat, ratios)
    size = jax.lax.stop_gradient(jnp.abs(y) * _shares(strata, w)[:, :, None])
    if controls is not None:
        y = with_controls(table, y, controls, weights)
        mean, residual = mean_and_residual(strata, y)
        square = mean_and_residual(strata, residual**2)[0] * sums.counts[:, None, None]
        sums = sums._replace(mean=mean, square=square)
    return sums, jnp.log(size), y, mass


def _smoothed(ratios: Ratios, r_eff: float) -> Ratios:
    masked = jnp.where(ratios.inside, ratios.log, -jnp.inf)
    smooth = jax.vmap(lambda column: psis(column, r_eff=r_eff)[0], in_axes=1, out_axes=1)(masked)
    smooth = jnp.where(ratios.inside, smooth, ratios.log)
    return Ratios(smooth, jnp.ones((), smooth.dtype), ratios.inside)


def _shares(strata: Strata, w: Array) -> Array:
    """w_jk / n_k of each draw (n, j or 1)."""
    counts = jnp.maximum(strata.counts, jnp.ones_like(strata.counts)).astype(w.dtype)
    return strata.to_rows((w / counts[None, :]).T)


def _wrong(values, log_terms):
    """Where f is NaN on the support of a target: how many draws, and the first."""
    count = jnp.any(jnp.isnan(values)[:, None, :] & ~(log_terms == -jnp.inf), (1, 2))
    return jnp.sum(count), jnp.argmax(count)


def _pareto(log_terms):
    """Pareto k of each target's terms (n, j, m), weighted as they enter the estimate."""
    columns = log_terms.reshape(log_terms.shape[0], -1)
    k = jax.lax.map(pareto_k, columns.T)
    return k.reshape(log_terms.shape[1:])


def _covariance(strata, y, mass, w, sums, summary: Summary, self_normalised, r_eff):
    log_scale = sums.shift
    if self_normalised:
        scale = sums.mass_shift[:, None] - sums.shift
        known = jnp.isfinite(summary.log_value) & jnp.isfinite(scale)
        ratio = jnp.exp(jnp.where(known, summary.log_value + scale, -jnp.inf))
        y = y - jnp.copysign(ratio, summary.value)[None] * mass[:, :, None]
        log_mass = jnp.where(jnp.isfinite(summary.log_mass), summary.log_mass, 0)
        log_scale = sums.shift - log_mass[:, None]
    _, residual = mean_and_residual(strata, y)
    counts, effect = sums.counts, 1 if r_eff is None else r_eff
    several = counts > 1
    freedom = jnp.where(several, counts / jnp.where(several, counts - 1, 1), jnp.ones_like(counts))
    rows = strata.to_rows
    centred = jnp.where(rows(several)[:, None, None], residual, y)
    factor = rows(jnp.sqrt(freedom / effect))[:, None, None]
    scaled = centred * _shares(strata, w)[:, :, None] * factor
    flat = (scaled * jnp.exp(log_scale)[None]).reshape(y.shape[0], -1)
    unknown = jnp.repeat(summary.undrawn > 0, y.shape[2])
    product = jnp.matmul(flat.T, flat, precision="highest")
    return jnp.where(unknown[:, None] | unknown[None, :], jnp.inf, product)
