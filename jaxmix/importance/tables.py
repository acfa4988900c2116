"""The table behind every estimate: log-densities of draws, and mixtures of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._numerics import logsumexp, unanimous


class Strata(NamedTuple):
    """Which proposal gave each draw; draws are sorted by proposal."""

    stratum: Int[Array, " n"]
    counts: Int[Array, " k"]
    each: int | None

    def shares(self, dtype) -> Float[Array, " k"]:
        """The pooled weights: what share of the draws each proposal gave."""
        counts = self.counts.astype(dtype)
        return counts / jnp.sum(counts)

    def to_rows(self, by_proposal: Array) -> Array:
        """An array (k, ...) repeated for each draw (n, ...)."""
        if self.each is None:
            return by_proposal[self.stratum]
        k, shape = by_proposal.shape[0], by_proposal.shape[1:]  # a broadcast, and no gather
        wide = jnp.broadcast_to(by_proposal[:, None], (k, self.each, *shape))
        return wide.reshape(k * self.each, *shape)


class Table(NamedTuple):
    """Log-densities of n draws under J targets and K proposals, and where each draw came from."""

    log_targets: Float[Array, "n j"]
    log_proposals: Float[Array, "n k"]
    stratum: Int[Array, " n"]
    counts: Int[Array, " k"]
    each: int | None

    @property
    def strata(self) -> Strata:
        """Where each draw came from."""
        return Strata(self.stratum, self.counts, self.each)

    @property
    def shares(self) -> Float[Array, " k"]:
        """The pooled weights: what share of the draws each proposal gave."""
        return self.strata.shares(self.log_proposals.dtype)


def _log_mixture_exact(log_proposals: Array, weights: Array) -> Array:
    by_target = jax.lax.map(lambda w: logsumexp(log_proposals + jnp.log(w)[None, :]), weights)
    return jnp.swapaxes(by_target, 0, 1)


def log_mixtures(
    log_proposals: Float[Array, "n k"],
    weights: Float[Array, "j k"],
    needed: Array | None = None,
) -> Float[Array, "n j"]:
    """Log sum_k weights[j, k] p_k(x_n) for every draw and every row of weights, in nats.

    One matrix product, stabilised by each draw's largest density, serves all rows. Where a
    weight of 0 falls on the largest density the product can underflow: if it does at a needed
    entry, all are computed again by exact logsumexps.

    Args:
        log_proposals: table of log p_k(x_n).
        weights: non-negative; a row a mixture.
        needed: which entries must be exact (n, j); None for all.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> table = jnp.log(jnp.array([[0.2, 0.4]]))
        >>> jnp.exp(jm.importance.log_mixtures(table, jnp.array([[0.5, 0.5]]))).tolist()
        [[0.300]]
    """
    if weights.shape[0] == 1:  # one row: its logsumexp is no dearer than the product
        return logsumexp(log_proposals + jnp.log(weights))[:, None]
    peak = jax.lax.stop_gradient(jnp.max(log_proposals, 1, keepdims=True))
    peak = jnp.where(jnp.isfinite(peak), peak, jnp.zeros_like(peak))
    scaled = jnp.exp(log_proposals - peak)
    product = jnp.matmul(scaled, weights.T, precision=jax.lax.Precision.HIGHEST)
    info = jnp.finfo(product.dtype)
    fast = jnp.log(jnp.maximum(product, info.tiny)) + peak
    # Terms below `tiny` are lost; against a sum above tiny/eps they do not matter.
    least = info.tiny / info.eps
    known = jnp.ones(product.shape, bool) if needed is None else needed
    # A positive weight on the largest density is enough: then no entry need be looked at.
    kept = jax.lax.cond(
        jnp.all(weights > least),
        lambda: jnp.asarray(True),
        lambda: ~jnp.any((product < least) & known),
    )
    # Under `vmap` a mapped predicate would run both branches.
    return jax.lax.cond(
        unanimous(kept), lambda: fast, lambda: _log_mixture_exact(log_proposals, weights)
    )
