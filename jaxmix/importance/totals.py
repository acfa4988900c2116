"""Additive totals of importance terms by proposal, and what is estimated from them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .tables import Table, log_mixtures


class Totals(NamedTuple):
    """Sums over draws of the terms f(x) p_j(x) / q_j(x), by proposal k, target j and value m.

    Terms are divided by exp(shift[j]). `square` sums squares about the proposal's own mean,
    `cross` products of terms and masses about theirs. Merging two of them (`merge`) is
    associative up to rounding: over blocks of draws, files or devices.
    """

    counts: Float[Array, " k"]
    shift: Float[Array, " j"]
    mean: Float[Array, "k j m"]
    square: Float[Array, "k j m"]
    size: Float[Array, "k j m"]
    largest: Float[Array, "k j m"]
    hits: Float[Array, "j m"]
    mass_shift: Float[Array, " j"]
    mass: Float[Array, "k j"]
    mass_square: Float[Array, "k j"]
    cross: Float[Array, "k j m"]


def _by_stratum(table: Table, reduce, segment, values: Array) -> Array:
    k = table.counts.shape[0]
    if table.each is not None:  # equal counts: a reshape, and no scatter
        return reduce(values.reshape(k, table.each, *values.shape[1:]), 1)
    return segment(values, table.stratum, k)


def sum_by_stratum(table: Table, values: Array) -> Array:
    """Sums over each proposal's own draws."""
    return _by_stratum(table, jnp.sum, jax.ops.segment_sum, values)


def max_by_stratum(table: Table, values: Array) -> Array:
    """Largest over each proposal's own draws, of values that are not negative."""
    largest = _by_stratum(table, jnp.max, jax.ops.segment_max, values)
    return jnp.maximum(largest, jnp.zeros_like(largest))


def mean_and_residual(table: Table, values: Array) -> tuple[Array, Array]:
    """Means over each proposal's draws, and each draw's distance from its mean."""
    counts = _divisor(table.counts, values)
    mean = sum_by_stratum(table, values) / counts.reshape(-1, *(1,) * (values.ndim - 1))
    if table.each is not None:
        k = table.counts.shape[0]
        blocks = values.reshape(k, table.each, *values.shape[1:])
        return mean, (blocks - mean[:, None]).reshape(values.shape)
    return mean, values - mean[table.stratum]


def _divisor(counts, like):
    return jnp.maximum(counts, jnp.ones_like(counts)).astype(like.dtype)


def log_ratios(table: Table, weights: Array | None) -> tuple[Array, Array]:
    """Log p_j(x_n) / q_j(x_n), and whether draw n counts for target j (its weight is not 0)."""
    log_proposals = jax.lax.stop_gradient(table.log_proposals)
    if weights is None:
        used = jnp.ones((table.stratum.shape[0], 1), bool)
        log_q = log_mixtures(log_proposals, table.shares[None, :])
    else:
        used = (jax.lax.stop_gradient(weights).T > 0)[table.stratum]
        # A proposal without draws may carry weight: it belongs to q all the same.
        log_q = log_mixtures(log_proposals, weights, used)
    inside = used & (jax.lax.stop_gradient(table.log_targets) > -jnp.inf)
    # Replaced before the subtraction, so that -inf - (-inf) is never formed nor differentiated.
    log_p = jnp.where(inside, table.log_targets, jnp.zeros_like(table.log_targets))
    log_q = jnp.where(inside, log_q, jnp.zeros_like(log_p))
    return log_p - log_q, inside


def terms(table: Table, values: Array, ratios: Array, inside: Array):
    """Terms f p / q and masses p / q, each over its own scale: (terms, shift, masses, shift)."""
    ratios_now = jax.lax.stop_gradient(ratios)
    hit = jnp.any(values != 0, 1)[:, None] & inside
    shift, mass_shift = _peak(ratios_now, hit), _peak(ratios_now, inside)
    # A value of exactly 0 selects 0: 0 times an infinite ratio is NaN.
    scaled = jnp.where(hit, jnp.exp(jnp.where(hit, ratios - shift, jnp.zeros_like(ratios))), 0)
    used = hit if values.shape[1] == 1 else (hit[:, :, None] & (values != 0)[:, None, :])
    if values.shape[1] == 1:
        y = (scaled * jnp.where(hit, values, jnp.zeros_like(values)))[:, :, None]
    else:
        y = scaled[:, :, None] * jnp.where(used, values[:, None, :], 0)
    mass = jnp.exp(jnp.where(inside, ratios - mass_shift, -jnp.inf))
    return y, shift[0], mass, mass_shift[0]


def _peak(ratios, mask):
    peak = jnp.max(jnp.where(mask, ratios, -jnp.inf), 0, keepdims=True)
    return jnp.where(jnp.isfinite(peak), peak, jnp.zeros_like(peak))


def totals(table: Table, values: Array, ratios: Array, inside: Array) -> Totals:
    """Totals of one block of draws; `values` are f(x_n), flattened to (n, m)."""
    y, shift, mass, mass_shift = terms(table, values, ratios, inside)
    mean, residual = mean_and_residual(table, y)
    mass_mean, mass_residual = mean_and_residual(table, mass)
    still = jax.lax.stop_gradient
    return Totals(
        counts=table.counts.astype(y.dtype),
        shift=shift,
        mean=mean,
        square=sum_by_stratum(table, residual**2),
        size=mean_and_residual(table, jnp.abs(y))[0],
        largest=max_by_stratum(table, still(jnp.abs(y))),
        hits=jnp.sum(still(y) != 0, 0).astype(y.dtype),
        mass_shift=mass_shift,
        mass=mass_mean,
        mass_square=sum_by_stratum(table, mass_residual**2),
        cross=sum_by_stratum(table, residual * mass_residual[:, :, None]),
    )


def merge(a: Totals, b: Totals) -> Totals:
    """Totals of the draws of both, which must be of the same proposals, targets and weights.

    Means and centred squares merge as Chan, Golub and LeVeque (1983) do.
    """
    shift = jnp.maximum(a.shift, b.shift)
    mass_shift = jnp.maximum(a.mass_shift, b.mass_shift)
    # A side without hits has no scale of its own.
    shift = jnp.where(jnp.any(a.hits > 0, -1), shift, b.shift)
    shift = jnp.where(jnp.any(b.hits > 0, -1), shift, a.shift)
    a, b = (_rescaled(t, shift, mass_shift) for t in (a, b))
    counts = a.counts + b.counts
    safe = jnp.maximum(counts, jnp.ones_like(counts))
    part = (b.counts / safe)[:, None]
    joint = (a.counts * b.counts / safe)[:, None]
    d_mean, d_mass = b.mean - a.mean, b.mass - a.mass
    return Totals(
        counts=counts,
        shift=shift,
        mean=a.mean + part[..., None] * d_mean,
        square=a.square + b.square + joint[..., None] * d_mean**2,
        size=a.size + part[..., None] * (b.size - a.size),
        largest=jnp.maximum(a.largest, b.largest),
        hits=a.hits + b.hits,
        mass_shift=mass_shift,
        mass=a.mass + part * d_mass,
        mass_square=a.mass_square + b.mass_square + joint * d_mass**2,
        cross=a.cross + b.cross + joint[..., None] * d_mean * d_mass[..., None],
    )


def _rescaled(t: Totals, shift: Array, mass_shift: Array) -> Totals:
    scale = jnp.exp(t.shift - shift)[None, :, None]
    mass_scale = jnp.exp(t.mass_shift - mass_shift)[None, :]
    return t._replace(
        shift=shift,
        mean=t.mean * scale,
        square=t.square * scale**2,
        size=t.size * scale,
        largest=t.largest * scale,
        mass_shift=mass_shift,
        mass=t.mass * mass_scale,
        mass_square=t.mass_square * mass_scale**2,
        cross=t.cross * scale * mass_scale[:, :, None],
    )


class Summary(NamedTuple):
    """What totals say of each target: arrays (j, m), and (j,) of the mass."""

    value: Array
    std_error: Array
    log_size: Array
    ess: Array
    max_share: Array
    hits: Array
    mass: Array
    mass_error: Array


def summarise(t: Totals, weights: Array, *, self_normalised: bool) -> Summary:
    """Estimates and their stratified errors, from totals and normalised weights (j or 1, k).

    Var = sum_k weights[j, k]^2 s_jk^2 / n_k, s^2 with n_k - 1. A single draw from a proposal has no
    s^2: its squared term stands in, which is never too small in the mean.
    """
    w = weights.T  # (k, j or 1)
    value = jnp.sum(w[:, :, None] * t.mean, 0)
    mass = jnp.sum(w * t.mass, 0)
    mass_variance = _stratified(t.counts[:, None], w, t.mass_square, t.mass)
    counts, w3 = t.counts[:, None, None], w[:, :, None]
    scale = jnp.exp(t.shift)[:, None]
    if self_normalised:
        ratio = value / mass[:, None]
        wide = ratio[None]  # (1, j, m)
        square = t.square - 2 * wide * t.cross + wide**2 * t.mass_square[:, :, None]
        centred = t.mean - wide * t.mass[:, :, None]
        variance = _stratified(counts, w3, square, centred) / mass[:, None] ** 2
        value, scale = ratio, jnp.exp(t.shift - t.mass_shift)[:, None]
    else:
        variance = _stratified(counts, w3, t.square, t.mean)
    safe = jnp.maximum(counts, jnp.ones_like(counts))
    share = w3 / safe
    size = jnp.sum(w3 * t.size, 0)
    squares = jnp.sum(share**2 * (t.square + counts * t.mean**2), 0)
    largest = jnp.max(share * t.largest, 0)
    nothing = size == 0
    over = lambda x, y: jnp.where(nothing, 0, x / jnp.where(nothing, 1, y))
    mass_scale = jnp.exp(t.mass_shift)
    return Summary(
        value=value * scale,
        # The square root of 0 has no derivative; the error of a constant is 0.
        std_error=_root(variance) * scale,
        log_size=jnp.log(size) + t.shift[:, None],
        ess=over(size**2, squares),
        max_share=over(largest, size),
        hits=t.hits,
        mass=mass * mass_scale,
        mass_error=_root(mass_variance) * mass_scale,
    )


def _stratified(counts, w, square, mean):
    several = counts > 1
    safe = jnp.where(several, counts - 1, jnp.ones_like(counts))
    variance = jnp.where(several, square / safe, mean**2)
    # A proposal that has weight but gave no draw cannot be left out of the estimate.
    at_least_one = jnp.where(counts > 0, counts, jnp.ones_like(counts))
    drawn = jnp.where((counts == 0) & (w > 0), jnp.nan, w**2 * variance / at_least_one)
    return jnp.sum(drawn, 0)


def _root(x):
    positive = x > 0
    root = jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x)))
    return jnp.where(positive, root, jnp.where(x <= 0, jnp.zeros_like(x), x))
