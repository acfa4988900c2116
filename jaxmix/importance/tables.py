"""The table behind every estimate: log-densities of draws, and mixtures of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._arguments import numbers, takes
from .._log_sums import finite_or_zero, logsumexp
from .._numerics import unanimous
from .._platform import product_precision
from .._sharding import gathered


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


@takes(log_proposals=numbers(2, floating=True), weights=numbers(2, floating=True))
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
    log_proposals, weights = gathered((log_proposals, weights))
    if weights.shape[1] != log_proposals.shape[1]:
        raise ValueError(
            f"weights have a column for each of the {log_proposals.shape[1]} proposals; their shape "
            f"is {weights.shape}."
        )
    if weights.shape[0] == 1:  # one row: its logsumexp is no dearer than the product
        return logsumexp(log_proposals + jnp.log(weights))[:, None]
    peak, product, kept = _product(log_proposals, weights, needed)
    return jax.lax.cond(
        kept,
        lambda: jnp.log(product) + peak,
        lambda: _log_mixture_exact(log_proposals, weights),
    )


def _product(log_proposals: Array, weights: Array, needed: Array | None):
    """Each draw's largest log-density, the mixtures over it, and whether these are exact."""
    peak = jax.lax.stop_gradient(jnp.max(log_proposals, 1, keepdims=True))
    peak = finite_or_zero(peak)
    scaled = jnp.exp(log_proposals - peak)
    product = jnp.matmul(scaled, weights.T, precision=product_precision(scaled))
    info = jnp.finfo(product.dtype)
    # Terms below `tiny` are lost; against a sum above tiny/eps they do not matter. Its square
    # root, so that the squares of what is divided by the sum are finite too.
    least = (info.tiny / info.eps) ** 0.5
    known = jnp.ones(product.shape, bool) if needed is None else needed
    # A positive weight on the largest density is enough: then no entry need be looked at.
    enough = jnp.all(weights > least)
    kept = jax.lax.cond(
        enough,
        lambda: enough | jnp.any(jnp.zeros_like(product, bool)),  # of the other branch's type
        lambda: ~jnp.any((product < least) & known),
    )
    # Under `vmap` a mapped predicate would run both branches.
    return peak, jnp.maximum(product, jnp.asarray(least, product.dtype)), unanimous(kept)


class Ratios(NamedTuple):
    """p_j / q_j of n draws, as exp(`relative`) / `divisor`, and which draws count for which j.

    The divisor is at most 1, and its square no underflow: neither logarithm nor quotient is lost.
    """

    relative: Float[Array, "n j"]
    divisor: Float[Array, "..."]
    inside: Bool[Array, "n j"]

    @property
    def log(self) -> Float[Array, "n j"]:
        """The logarithms."""
        return self.relative - jnp.log(self.divisor)


def ratios_to_mixtures(
    log_targets: Array, log_proposals: Array, strata: Strata, weights: Array
) -> Ratios:
    """Each target over its own mixture of the proposals, at every draw.

    Args:
        log_targets: log p_j(x_n).
        log_proposals: log p_k(x_n), for ALL proposals k.
        strata: of these draws, which may be those of some of the proposals only.
        weights: (j or 1, k); draws of a proposal of weight 0 do not count.
    """
    log_proposals = jax.lax.stop_gradient(log_proposals)
    drawn = jax.lax.stop_gradient(weights).T > 0
    if strata.counts.shape[0] < drawn.shape[0]:
        drawn = jax.lax.dynamic_slice_in_dim(drawn, strata.stratum[0], strata.counts.shape[0])
    used = strata.to_rows(drawn)
    # A NaN counts, and is told by the value.
    inside = used & ~(jax.lax.stop_gradient(log_targets) == -jnp.inf)
    # Replaced before the subtraction, so that -inf - (-inf) is never formed nor differentiated.
    log_p = jnp.where(inside, log_targets, jnp.zeros_like(log_targets))
    # A proposal without draws may carry weight: it belongs to q all the same.
    if weights.shape[0] == 1:
        log_q = jnp.where(used, log_mixtures(log_proposals, weights), jnp.zeros_like(log_p))
        return Ratios(log_p - log_q, jnp.ones((), log_p.dtype), inside)
    peak, product, kept = _product(log_proposals, weights, used)

    def exactly():
        log_q = _log_mixture_exact(log_proposals, weights)
        return log_p - jnp.where(used, log_q, jnp.zeros_like(log_q)), jnp.ones_like(product)

    relative, divisor = jax.lax.cond(kept, lambda: (log_p - peak, product), exactly)
    return Ratios(relative, divisor, inside)
