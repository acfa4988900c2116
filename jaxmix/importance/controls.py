"""Control variates: densities of known mass, fitted on the draws they are not applied to."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .tables import Table, log_mixtures
from .totals import mean_and_residual

FOLDS = 5


def fold_numbers(table: Table) -> Array:
    """Each draw's fold: dealt out in turn within each proposal."""
    firsts = jnp.cumsum(table.counts) - table.counts
    return (jnp.arange(table.stratum.shape[0]) - firsts[table.stratum]) % FOLDS


def _basis(z: Array) -> Array:
    """Coefficients that make the columns of z orthonormal, collinear directions left out as 0.

    By singular values and not normal equations: neighbouring proposals are nearly collinear,
    and what sets them apart is what sharpens the estimate.
    """
    _, triangle = jnp.linalg.qr(z)
    _, singular, right = jnp.linalg.svd(triangle)
    kept = singular > 300 * jnp.finfo(z.dtype).eps * singular[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, jnp.ones_like(singular)), 0)
    return right.T * inverse[None, :]


def _solve(gram: Array, moment: Array) -> Array:
    """Least squares in the orthonormal basis; a column of zeros gets the coefficient 0."""
    empty = jnp.diagonal(gram) == 0
    return jnp.linalg.solve(gram + jnp.diag(empty.astype(gram.dtype)), moment)


def controlled(
    table: Table, y: Float[Array, "n m"], z: Float[Array, "n c"], weights: Float[Array, " k"]
) -> Float[Array, "n m"]:
    """Terms less their fitted combination of the variates, whose known mean is 1.

    The coefficients minimise the stratified variance. Each fold's are fitted on the other folds
    (within each proposal the folds are dealt in turn), so that value and error stay honest.

    Args:
        table: where the draws came from.
        y: terms f p_j / q_j of one mixture q_j.
        z: variates p_c / q_j.
        weights: the mixture's weights over the proposals.
    """
    fold = fold_numbers(table)
    counts = table.counts.astype(y.dtype)
    _, zr = mean_and_residual(table.strata, z)
    _, yr = mean_and_residual(table.strata, y)
    share = (weights / jnp.maximum(counts, jnp.ones_like(counts)))[table.stratum][:, None]
    zr, yr = zr * share, yr * share
    basis = _basis(zr)
    zr = jnp.matmul(zr, basis, precision="highest")

    def moments(f):
        own = jnp.where((fold == f)[:, None], zr, jnp.zeros_like(zr))
        gram = jnp.matmul(own.T, zr, precision="highest")
        return gram, jnp.matmul(own.T, yr, precision="highest")

    grams, crosses = jax.lax.map(moments, jnp.arange(FOLDS))
    gram, cross = jnp.sum(grams, 0), jnp.sum(crosses, 0)
    betas = jax.vmap(lambda g, c: _solve(gram - g, cross - c))(grams, crosses)
    z = jnp.matmul(z - 1, basis, precision="highest")

    def apply(f, total):
        mine = (fold == f)[:, None]
        moved = jnp.matmul(z, betas[f], precision="highest")
        return total + jnp.where(mine, moved, jnp.zeros_like(moved))

    return y - jax.lax.fori_loop(0, FOLDS, apply, jnp.zeros_like(y))


def with_controls(table: Table, y: Array, log_controls: Array, weights: Array | None) -> Array:
    """Terms (n, j, m) of every target, controlled under its own mixture (None: the pooled one)."""
    log_proposals = jax.lax.stop_gradient(table.log_proposals)
    if weights is None:
        log_q = log_mixtures(log_proposals, table.shares[None, :])
        flat = y.reshape(y.shape[0], -1)
        done = controlled(table, flat, jnp.exp(log_controls - log_q), table.shares)
        return done.reshape(y.shape)

    def one(given):
        w, own = given
        used = (jax.lax.stop_gradient(w) > 0)[table.stratum][:, None]
        log_q = log_mixtures(log_proposals, w[None, :])
        # Draws that do not count for this target are kept off the fit.
        z = jnp.where(used, jnp.exp(log_controls - jnp.where(used, log_q, 0)), 1)
        return controlled(table, own, z, w)

    return jnp.moveaxis(jax.lax.map(one, (weights, jnp.moveaxis(y, 1, 0))), 0, 1)
