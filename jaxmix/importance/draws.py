"""Draws from several proposals, and stacks or lists of densities as one numbered family."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from .._density import LogDensity, is_density, stack_size
from .._stack import over_stack, pick

BLOCK_ROWS = 4096  # rows whose densities are evaluated at a time


class Part(eqx.Module):
    """Some of the densities of a family: a stack of `size`, or one density if `single`."""

    density: Any
    size: int = eqx.field(static=True)
    single: bool = eqx.field(static=True)


def is_single(density: PyTree) -> bool:
    """Whether this is one density and no stack."""
    if isinstance(density, LogDensity):
        return density.stack_shape == ()
    return all(a.ndim == 0 for a in jax.tree.leaves(density) if eqx.is_array(a))


def parts_of(densities: PyTree, role: str) -> list[Part]:
    """A stack, one density, or a list of stacks and densities, as numbered parts."""
    if isinstance(densities, list | tuple):
        if not densities:
            raise ValueError(f"{role} must hold at least one density; the list is empty.")
        return [part for entry in densities for part in _parts_of_entry(entry, role)]
    if not is_density(densities):
        raise ValueError(
            f"{role} must be a density with a method log_prob, a stack of them, or a list; "
            f"it is a {type(densities).__name__}."
        )
    if is_single(densities):
        return [Part(densities, 1, True)]
    return [Part(densities, stack_size(densities, role), False)]


def _parts_of_entry(entry, role):
    if not is_density(entry):
        raise ValueError(
            f"{role} lists a {type(entry).__name__}, which is no density with a method log_prob."
        )
    # A class of the user's own declares no ranks: alone in a list it is one density.
    if not isinstance(entry, LogDensity) or is_single(entry):
        return [Part(entry, 1, True)]
    return [Part(entry, stack_size(entry, role), False)]


def family_size(densities: PyTree, role: str = "proposals") -> int:
    """How many densities a stack or a list of densities and stacks holds."""
    return sum(part.size for part in parts_of(densities, role))


def _log_probs_of_event(parts, x):
    columns = []
    for part in parts:
        if part.single:
            columns.append(part.density.log_prob(x)[None])
        else:
            columns.append(over_stack(lambda density: density.log_prob(x), part.density))
    dtype = jnp.result_type(*columns)
    return jnp.concatenate([column.astype(dtype) for column in columns])


@eqx.filter_jit
def _log_table(parts, events):
    return jax.lax.map(lambda x: _log_probs_of_event(parts, x), events, batch_size=BLOCK_ROWS)


def log_table(densities: PyTree, events: PyTree, role: str = "densities") -> Float[Array, "n k"]:
    """Table of log p_k(x_n), in nats, a row an event and a column a density.

    Args:
        densities: a stack of densities, one density, or a list of stacks and densities.
        events: events stacked along a leading axis.
        role: the name by which an error calls the densities.

    Raises:
        ValueError: if `densities` is none of these.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Normal)(jnp.zeros(3), jnp.ones(3))
        >>> jm.importance.log_table(family, jnp.zeros(5)).shape
        (5, 3)
    """
    return _log_table(parts_of(densities, role), events)


class Draws(eqx.Module):
    """Independent draws from each of several proposals, sorted by proposal.

    Attributes:
        events: the draws, stacked along a leading axis of length `num_draws`.
        stratum: number of the proposal that each draw came from.
        counts: how many draws each proposal gave.
        proposals: the densities they came from.
    """

    events: PyTree
    stratum: Int[Array, " n"]
    counts: Int[Array, " k"]
    proposals: PyTree
    each: int | None = eqx.field(static=True, default=None)  # the count, if all are equal

    @property
    def num_draws(self) -> int:
        """Draws from all proposals together."""
        return self.stratum.shape[0]

    @property
    def num_proposals(self) -> int:
        """How many proposals gave the draws."""
        return self.counts.shape[0]

    @classmethod
    def of(cls, events: PyTree, proposals: PyTree) -> "Draws":
        """Draws that were made elsewhere: leaves of shape (k, n, ...), n from each of k proposals.

        Example:
            >>> import jax, jaxmix as jm, jax.numpy as jnp
            >>> family = jax.vmap(jm.Normal)(jnp.zeros(2), jnp.ones(2))
            >>> jm.importance.Draws.of(jnp.zeros((2, 5)), family).num_draws
            10
        """
        k, each = jax.tree.leaves(events)[0].shape[:2]
        size = family_size(proposals)
        if k != size:
            raise ValueError(f"Events of {k} proposals were given for {size} proposals.")
        flat = jax.tree.map(lambda a: a.reshape(k * each, *a.shape[2:]), events)
        return cls(flat, *_strata([each] * k), proposals, each)


def _strata(counts) -> tuple[Array, Array]:
    counts = np.asarray(counts)
    return jnp.asarray(np.repeat(np.arange(counts.size), counts)), jnp.asarray(counts)


@eqx.filter_jit
def _sample_part(part, keys, which):
    if part.single:
        return jax.vmap(part.density.sample)(keys)
    if which is None:  # the same number from each density of the stack
        sampled = over_stack(
            lambda density, own: jax.vmap(density.sample)(own),
            part.density,
            keys.reshape(part.size, -1),
        )
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), sampled)
    return jax.vmap(lambda key, k: pick(part.density, k).sample(key))(keys, which)


def draw(key: Key[Array, ""], proposals: PyTree, num_draws) -> Draws:
    """Draw from each proposal; no gradient passes through the draws.

    Args:
        key: a typed random key.
        proposals: a stack of densities with `sample`, or a list of stacks and densities.
        num_draws: how many draws from EACH proposal; or one count for each (see `allocate`).

    Returns:
        `Draws`, sorted by proposal.

    Raises:
        ValueError: if a count is negative or the counts do not fit the proposals.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Normal)(jnp.array([0.0, 3.0]), jnp.ones(2))
        >>> jm.importance.draw(jax.random.key(0), family, [100, 50]).num_draws
        150
    """
    parts = parts_of(proposals, "proposals")
    size = sum(part.size for part in parts)
    equal = np.ndim(num_draws) == 0
    counts = np.full(size, num_draws) if equal else np.asarray(num_draws)
    if counts.shape != (size,) or (counts < 0).any() or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            f"num_draws must be one whole number, or one for each of the {size} proposals, none "
            f"negative; it was {num_draws}."
        )
    sampled, start = [], 0
    for part, k_part in zip(parts, jax.random.split(key, len(parts)), strict=True):
        own = counts[start : start + part.size]
        total = int(own.sum())
        which = None if equal else jnp.asarray(np.repeat(np.arange(part.size), own))
        if total > 0:
            sampled.append(_sample_part(part, jax.random.split(k_part, total), which))
        start += part.size
    events = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *sampled)
    events = jax.lax.stop_gradient(events)
    return Draws(events, *_strata(counts), proposals, int(num_draws) if equal else None)


def concatenate(*draws: Draws) -> Draws:
    """All draws of several rounds as draws from all of the rounds' proposals.

    Example:
        >>> import jax, jaxmix as jm
        >>> k_a, k_b = jax.random.split(jax.random.key(0))
        >>> a = jm.importance.draw(k_a, jm.Normal(0, 1), 10)
        >>> b = jm.importance.draw(k_b, jm.Normal(1, 1), 10)
        >>> jm.importance.concatenate(a, b).num_proposals
        2
    """
    events = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[d.events for d in draws])
    before = np.cumsum([0] + [d.num_proposals for d in draws[:-1]])
    stratum = jnp.concatenate([d.stratum + int(b) for d, b in zip(draws, before, strict=True)])
    counts = jnp.concatenate([d.counts for d in draws])
    proposals = []
    for d in draws:
        listed = isinstance(d.proposals, list | tuple)
        proposals.extend(d.proposals if listed else [d.proposals])
    sizes = {d.each for d in draws}
    return Draws(
        events, stratum, counts, tuple(proposals), sizes.pop() if len(sizes) == 1 else None
    )


def allocate(weights: Float[Array, " k"], total: int, *, at_least: int = 0) -> np.ndarray:
    """Whole counts in proportion to weights that add up to `total` (largest remainders).

    Args:
        weights: non-negative shares of the proposals.
        total: how many draws to share out.
        at_least: the least count of a proposal.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.importance.allocate(jnp.array([0.5, 0.3, 0.2]), 7).tolist()
        [4, 2, 1]
    """
    shares = np.asarray(weights, float)
    free = total - at_least * shares.size
    if free < 0 or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() == 0:
        raise ValueError(
            f"{total} draws cannot be shared over weights {shares.tolist()} with at least "
            f"{at_least} each: the weights must be finite, non-negative and not all 0."
        )
    ideal = free * shares / shares.sum()
    counts = np.floor(ideal).astype(int)
    order = np.argsort(counts - ideal, kind="stable")
    counts[order[: free - counts.sum()]] += 1
    return counts + at_least
