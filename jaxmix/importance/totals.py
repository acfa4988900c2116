"""Additive totals of importance terms by proposal, and what is estimated from them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from .._log_sums import finite_or_zero, logsumexp
from .._numerics import or_one
from .tables import Ratios, Strata

KEPT = "kept"  # what is small of a block, backwards too, where the rest is computed again


class Totals(NamedTuple):
    """Sums over draws of the terms f(x) p_j(x) / q_j(x), by proposal k, target j and value m.

    Terms are divided by exp(shift[j, m]); a shift of -inf says that all are 0. `square` sums squares
    about the proposal's own mean, `cross` products of terms and masses about theirs.
    `joining.merge` merges two of them. `unreached` is `()`, which is part of the structure, where
    the proposals were not adapted to the event itself.
    """

    counts: Float[Array, " k"]
    shift: Float[Array, "j m"]
    mean: Float[Array, "k j m"]
    square: Float[Array, "k j m"]
    size: Float[Array, "k j m"]
    largest: Float[Array, "k j m"]
    hits: Float[Array, "j m"]
    mass_shift: Float[Array, " j"]
    mass: Float[Array, "k j"]
    mass_square: Float[Array, "k j"]
    cross: Float[Array, "k j m"]
    unreached: tuple[()] | None = None


def _by_stratum(strata: Strata, reduce, segment, values: Array) -> Array:
    k = strata.counts.shape[0]
    if strata.each is not None:  # equal counts: a reshape, and no scatter
        return reduce(values.reshape(k, strata.each, *values.shape[1:]), 1)
    return segment(values, strata.stratum, k, indices_are_sorted=True)


def sum_by_stratum(strata: Strata, values: Array) -> Array:
    """Sums over each proposal's own draws."""
    return _by_stratum(strata, jnp.sum, jax.ops.segment_sum, values)


def max_by_stratum(strata: Strata, values: Array) -> Array:
    """Largest over each proposal's own draws, of values that are not negative."""
    largest = _by_stratum(strata, jnp.max, jax.ops.segment_max, values)
    return jnp.maximum(largest, jnp.zeros_like(largest))


def mean_and_residual(strata: Strata, values: Array) -> tuple[Array, Array]:
    """Means over each proposal's draws, and each draw's distance from its mean."""
    counts = jnp.maximum(strata.counts, jnp.ones_like(strata.counts)).astype(values.dtype)
    mean = sum_by_stratum(strata, values) / counts.reshape(-1, *(1,) * (values.ndim - 1))
    return mean, values - strata.to_rows(mean)


def _units(values: Array, relative: Array, inside: Array, peak: Array) -> Array:
    """Units of the values (m,), in which no term's square over- or underflows.

    They are 1, exactly, unless the largest value is beyond 1 / eps^2 or below eps^2: only then is
    it asked which values have a weight, and what they are worth by it.
    """
    sizes, relative = jax.lax.stop_gradient((jnp.abs(values), relative))
    sizes = jnp.where(jnp.isfinite(sizes), sizes, jnp.zeros_like(sizes))
    largest = jnp.max(sizes, 0)
    info = jnp.finfo(values.dtype)
    least, tiny = float(info.eps) ** 2, float(info.tiny)
    plain = jnp.all((largest == 0) | ((largest >= least) & (largest <= 1 / least)))

    def by_weight():
        rows = jnp.max(jnp.where(inside, relative - peak, -jnp.inf), 1)
        counted = jnp.where((rows > -jnp.inf)[:, None], sizes, jnp.zeros_like(sizes))
        unit = jnp.exp(jnp.max(jnp.log(counted) + rows[:, None], 0))
        # Neither a value over its unit overflows, nor the unit's reciprocal.
        unit = jnp.clip(unit, jnp.max(counted, 0) * tiny, 1 / tiny)
        return or_one(unit)

    as_other = lambda: jnp.ones_like(largest) + jnp.max(jnp.zeros_like(relative))
    return checkpoint_name(jax.lax.cond(plain, as_other, by_weight), KEPT)


def terms(values: Array, ratios: Ratios):
    """Terms f p / q and masses p / q, each over its own scale: (terms, shift, masses, shift)."""
    relative, inside = ratios.relative, ratios.inside
    mass_shift, _ = _peak(relative, inside)
    unit = _units(values, relative, inside, mass_shift)
    values = values / unit[None, :]
    hit = jnp.any(values != 0, 1)[:, None] & inside
    shift, log_largest = _peak(relative, hit)

    def over(mask, peak):
        scaled = jnp.exp(jnp.where(mask, relative - peak, jnp.zeros_like(relative)))
        return scaled / ratios.divisor

    # Values are masked too: 0 times an infinite value is NaN.
    if values.shape[1] == 1:
        y = over(hit, shift) * jnp.where(hit, values, jnp.zeros_like(values))
        # Selected again: no other kernel then takes the exponentials into its sums, slower there.
        y = jnp.where(hit, y, jnp.zeros_like(y))[:, :, None]
    else:
        y = over(hit, shift)[:, :, None] * jnp.where(hit[:, :, None], values[:, None, :], 0)
    mass = jnp.where(inside, over(inside, mass_shift), 0)
    return y, log_largest[0][:, None] + jnp.log(unit)[None, :], mass, mass_shift[0]


def _peak(relative, mask):
    """The largest of each target, 0 where there is no finite one; and -inf where there is none."""
    peak = jnp.max(jnp.where(mask, jax.lax.stop_gradient(relative), -jnp.inf), 0, keepdims=True)
    peak = checkpoint_name(peak, KEPT)
    finite = finite_or_zero(peak)
    return finite, jnp.where(peak == -jnp.inf, peak, finite)


def totals(strata: Strata, values: Array, ratios: Ratios) -> Totals:
    """Totals of one block of draws; `values` are f(x_n), flattened to (n, m)."""
    y, shift, mass, mass_shift = terms(values, ratios)
    mean, residual = mean_and_residual(strata, y)
    mass_mean, mass_residual = mean_and_residual(strata, mass)
    still = jax.lax.stop_gradient
    return Totals(
        counts=strata.counts.astype(y.dtype),
        shift=shift,
        mean=mean,
        square=sum_by_stratum(strata, residual**2),
        size=mean_and_residual(strata, jnp.abs(y))[0],
        largest=max_by_stratum(strata, still(jnp.abs(y))),
        hits=jnp.sum(still(y) != 0, 0).astype(y.dtype),
        mass_shift=mass_shift,
        mass=mass_mean,
        mass_square=sum_by_stratum(strata, mass_residual**2),
        cross=sum_by_stratum(strata, residual * mass_residual[:, :, None]),
    )


class Summary(NamedTuple):
    """What totals say of each target: arrays (j, m), and (j,) of the mass.

    Values and errors may over- or underflow; their logarithms and relative errors do not.
    """

    value: Array
    std_error: Array
    log_value: Array
    log_std_error: Array
    ess: Array
    max_weight: Array
    hits: Array
    mass: Array
    mass_error: Array
    log_mass: Array
    log_mass_error: Array
    undrawn: Array


def summarise(
    t: Totals, weights: Array, *, self_normalised: bool, r_eff: Array | None = None
) -> Summary:
    """Estimates and their stratified errors, from totals and normalised weights (j or 1, k).

    Var = sum_k weights[j, k]^2 s_jk^2 / (n_k r_k), s^2 with n_k - 1, r_k = `r_eff` (k,), or 1. A
    single draw from a proposal has no s^2: its squared term stands in, which is never too small
    in the mean.
    """
    w = weights.T  # (k, j or 1)
    value = jnp.sum(w[:, :, None] * t.mean, 0)
    mass = jnp.sum(w * t.mass, 0)
    effect = jnp.ones_like(t.counts) if r_eff is None else r_eff
    mass_variance = _stratified(t.counts[:, None], effect[:, None], w, t.mass_square, t.mass)
    counts, w3, effect = t.counts[:, None, None], w[:, :, None], effect[:, None, None]
    log_scale = t.shift
    if self_normalised:
        seen = mass > 0
        ratio = value / jnp.where(seen, mass, jnp.full_like(mass, jnp.nan))[:, None]
        wide = ratio[None]  # (1, j, m)
        square = t.square - 2 * wide * t.cross + wide**2 * t.mass_square[:, :, None]
        centred = t.mean - wide * t.mass[:, :, None]
        variance = _stratified(counts, effect, w3, square, centred) / mass[:, None] ** 2
        value, log_scale = ratio, t.shift - jnp.where(seen, t.mass_shift, 0)[:, None]
    else:
        variance = _stratified(counts, effect, w3, t.square, t.mean)
    safe = jnp.maximum(counts, jnp.ones_like(counts))
    share = w3 / safe
    size = jnp.sum(w3 * t.size, 0)
    squares = jnp.sum(share**2 * (t.square + counts * t.mean**2) / effect, 0)
    largest = jnp.max(share * t.largest, 0)
    nothing = size == 0
    over = lambda x, y: jnp.where(nothing, 0, x / jnp.where(nothing, 1, y))
    # The square root of 0 has no derivative; the error of a constant is 0.
    error, mass_error = _root(variance), _root(mass_variance)
    scale, mass_scale = jnp.exp(log_scale), jnp.exp(t.mass_shift)
    undrawn = jnp.sum(jnp.where(t.counts[:, None] == 0, jax.lax.stop_gradient(w), 0), 0)
    return Summary(
        value=value * scale,
        std_error=error * scale,
        log_value=_log_size(value) + log_scale,
        log_std_error=_relative(error, value),
        ess=over(size**2, squares),
        max_weight=over(largest, size),
        hits=t.hits,
        mass=mass * mass_scale,
        mass_error=mass_error * mass_scale,
        log_mass=_log_size(mass) + t.mass_shift,
        log_mass_error=_relative(mass_error, mass),
        undrawn=jnp.broadcast_to(undrawn, mass.shape),
    )


def _stratified(counts, effect, w, square, mean):
    several = counts > 1
    safe = jnp.where(several, counts - 1, jnp.ones_like(counts))
    variance = jnp.where(several, square / safe, mean**2)
    # A proposal that has weight but gave no draw cannot be left out of the estimate.
    at_least_one = or_one(counts) * effect
    drawn = jnp.where((counts == 0) & (w > 0), jnp.inf, w**2 * variance / at_least_one)
    return jnp.sum(drawn, 0)


def _log_size(x):
    """log |x|, with no gradient at 0 instead of a NaN."""
    nothing = x == 0
    log = jnp.log(jnp.abs(jnp.where(nothing, jnp.ones_like(x), x)))
    return jnp.where(nothing, jnp.full_like(log, -jnp.inf), log)


def log_norms(values: Array) -> Array:
    """Half the logarithm of each row's sum of squares, of values of any size."""
    return 0.5 * logsumexp(2 * _log_size(values))


def _relative(error, x):
    nothing = x == 0
    over = error / jnp.abs(jnp.where(nothing, jnp.ones_like(x), x))
    return jnp.where(nothing, jnp.full_like(over, jnp.inf), over)


def _root(x):
    positive = x > 0
    root = jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x)))
    return jnp.where(positive, root, jnp.where(x <= 0, jnp.zeros_like(x), x))
