"""The one pass over the draws: their totals, and the logarithms of their terms."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._platform import sizes
from .._trees import take
from .blocks import divisor, map_blocks, over_blocks
from .checks import checked_weights
from .draws import Draws
from .family import Part, log_probs, parts_of, size_of
from .joining import gathered
from .tables import Ratios, Strata, Table, ratios_to_mixtures
from .totals import KEPT, Totals, totals
from .values import flatten_values, values_at

PROBES = 16
MAX_PROBED = 1 << 26


class Densities(eqx.Module):
    """Log-densities under targets and proposals of rows that are events."""

    targets: list[Part]
    proposals: list[Part]

    def __call__(self, events: PyTree) -> tuple[Array, Array]:
        return log_probs(self.targets, events), log_probs(self.proposals, events)

    def sizes(self, events: PyTree) -> tuple[int, int]:
        """How many targets and proposals there are."""
        return size_of(self.targets), size_of(self.proposals)


class Given(eqx.Module):
    """The same, of rows that are the two tables themselves."""

    def __call__(self, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        return rows

    def sizes(self, rows: tuple[Array, Array]) -> tuple[int, int]:
        """How many targets and proposals there are."""
        return rows[0].shape[1], rows[1].shape[1]


class Sample(NamedTuple):
    """All draws: what `look` reads their log-densities from, f at them, where they came from."""

    look: Densities | Given
    rows: PyTree
    values: Float[Array, "n m"]
    strata: Strata

    @property
    def table(self) -> Table:
        """All log-densities at once."""
        log_targets, log_proposals = over_blocks(self.look, self.rows)
        return Table(log_targets, log_proposals, *self.strata)


def looked_at(f: Any, targets: PyTree, draws: Draws) -> tuple[Densities, PyTree]:
    """What reads log-densities of the draws' events, and the values of f at them."""
    values = values_at(f, targets, draws.events)
    return Densities(parts_of(targets, "targets"), parts_of(draws.proposals, "proposals")), values


def as_sample(
    look: Densities | Given, rows: PyTree, values: PyTree, strata: Strata, weights: Any
) -> tuple[Sample, Any, Array | None]:
    """All draws, which of f's values are truth values, and weights if there are; checked."""
    n = strata.stratum.shape[0]
    if isinstance(n, int) and not n:
        raise ValueError("There are no draws: an expectation needs at least one.")
    flat, truths = flatten_values(values, n)
    if weights is not None:
        weights = checked_weights(weights, look.sizes(rows))
    return Sample(look, rows, flat, strata), truths, weights


def of_one_dtype(sample: Sample, *others: Any) -> tuple[Any, ...]:
    """Values, and other numbers if there are, in the dtype of the log-densities."""
    dtype = jax.eval_shape(sample.look, sample.rows)[0].dtype
    cast = lambda a: None if a is None else a.astype(dtype)
    return sample._replace(values=cast(sample.values)), *map(cast, others)


def numbers_looked_at(look: Densities | Given, rows: PyTree) -> int:
    """How many numbers the log-densities of all rows are made of."""
    events = sum(leaf.size for leaf in jax.tree.leaves(rows))
    if isinstance(look, Given):
        return events
    return events * sum(look.sizes(rows))


def _layout(strata: Strata) -> tuple[int, int] | None:
    """Proposals and draws of each in a block; None where draws make no even blocks."""
    if strata.each is None or strata.each == 0:
        return None
    if not isinstance(strata.each, int):  # a symbolic number: all in one block
        return strata.counts.shape[0], strata.each
    most = sizes().draws
    each = divisor(strata.each, most)
    if each == strata.each:
        return divisor(strata.counts.shape[0], max(1, most // each)), each
    return (1, each) if 8 * each >= most else None


def sweep(sample: Sample, weights: Float[Array, "j k"]) -> tuple[Totals, Float[Array, "n j m"]]:
    """Totals of all draws, and log |w_jk / n_k f p_j / q_j| of each; weights are (j or 1, k).

    Draws of equal counts go block by block, and no table is kept; what is not used of the
    result is not computed.
    """
    look, rows, values, strata = sample
    layout = _layout(strata)
    counts = jnp.maximum(strata.counts, jnp.ones_like(strata.counts))
    log_shares = jax.lax.stop_gradient(jnp.log(weights.T / counts[:, None].astype(weights.dtype)))

    def log_terms(values, ratios: Ratios, log_shares):
        hit = ratios.inside[:, :, None] & (values != 0)[:, None, :]
        out = (ratios.log + log_shares)[:, :, None] + jnp.log(jnp.abs(values))[:, None, :]
        return jax.lax.stop_gradient(jnp.where(hit, out, -jnp.inf))

    if layout is None:

        def ratios_of(block):
            rows, stratum = block
            own = Strata(stratum, strata.counts, None)
            ratios = ratios_to_mixtures(*look(rows), own, weights)
            return ratios._replace(divisor=jnp.broadcast_to(ratios.divisor, ratios.relative.shape))

        ratios = over_blocks(ratios_of, (rows, strata.stratum))
        logs = log_terms(values, ratios, strata.to_rows(log_shares))
        return totals(strata, values, ratios), logs

    size, each = layout

    def one(block):
        rows, values, stratum = block
        own = Strata(stratum, jnp.full(size, each), each)
        shares = jax.lax.dynamic_slice_in_dim(log_shares, stratum[0], size)
        ratios = ratios_to_mixtures(*look(rows), own, weights)
        return totals(own, values, ratios), log_terms(values, ratios, own.to_rows(shares))

    if values.shape[0] != size * each:  # backwards, a block is computed again rather than kept
        one = jax.checkpoint(one, policy=jax.checkpoint_policies.save_only_these_names(KEPT))
    blocks, logs = map_blocks(one, (rows, values, strata.stratum), size * each)
    # Not as the loop made it: known counts are part of the program.
    counts = jnp.full((logs.shape[0], size), each)
    blocks = blocks._replace(counts=counts.astype(weights.dtype))
    return gathered(blocks, strata.counts.shape[0]), logs.reshape(-1, *logs.shape[2:])


def weight_bound(sample: Sample, w: Array) -> Array:
    """1 / w_jk where target j is proposal k (their densities agree at every probe); else inf."""
    n = sample.values.shape[0]
    rows = np.linspace(0, n - 1, min(PROBES, n)).astype(int)
    target, proposal = sample.look(take(sample.rows, rows))
    if target.size * proposal.shape[1] > MAX_PROBED:
        return jnp.full(target.shape[1], jnp.inf, w.dtype)
    gap = jnp.abs(target[:, :, None] - proposal[:, None, :])
    allowed = 100 * jnp.finfo(w.dtype).eps * (1 + jnp.abs(target))[:, :, None]
    # Infinities would agree with everything.
    same = jnp.all((gap <= allowed) & jnp.isfinite(gap), 0)
    return jnp.min(jnp.where(same & (w > 0), 1 / w, jnp.inf), 1)
