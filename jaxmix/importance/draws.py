"""Draws from each of several proposals, and how many of each."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from .._arguments import in_doubles, takes, whole
from .._compile import FAIR, Quick, numbers_in
from .._numerics import as_array
from .._refuse import checked_key
from .._sharding import gathered
from .._stack import over_stack, pick
from .family import all_reached, as_densities, family_size, parts_of
from .tables import Strata

FEW = 30_000  # draws times numbers of a density: quickly made whatever the compiler's effort


class Draws(eqx.Module):
    """Independent draws from each of several proposals, sorted by proposal.

    Attributes:
        events: the draws, stacked along a leading axis of length `num_draws`.
        stratum: number of the proposal that each draw came from.
        counts: how many draws each proposal gave.
        proposals: the densities they came from.
        shares: of the proposals, where labels were drawn at random by `draw_labelled`.
        reached: whether the proposals were adapted to the event itself, if they were adapted.
    """

    events: PyTree
    stratum: Int[Array, " n"]
    counts: Int[Array, " k"]
    proposals: PyTree
    each: int | None = eqx.field(static=True, default=None)  # the count, if all are equal
    shares: Float[Array, " k"] | None = None
    reached: bool = eqx.field(static=True, default=True)

    @property
    def num_draws(self) -> int:
        """Draws from all proposals together."""
        return self.stratum.shape[0]

    @property
    def strata(self) -> Strata:
        """Where each draw came from."""
        return Strata(self.stratum, self.counts, self.each)

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
        reached, proposals = all_reached(proposals), as_densities(proposals)
        events = gathered(jax.tree.map(as_array, events))
        shapes = {jnp.shape(a)[:2] for a in jax.tree.leaves(events)}
        size = family_size(proposals)
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueError(
                "Events must have leaves of shape (k, n, ...), n draws from each of k proposals; "
                f"their leading axes are {sorted(shapes)}."
            )
        ((k, each),) = shapes
        if k != size:
            raise ValueError(f"Events of {k} proposals were given for {size} proposals.")
        if isinstance(each, int) and not each:
            raise ValueError("Events hold no draws: their second axis has length 0.")
        flat = jax.tree.map(lambda a: a.reshape(k * each, *a.shape[2:]), events)
        if not isinstance(each, int):  # a symbol, to be exported for any number
            stratum = jnp.broadcast_to(jnp.arange(k)[:, None], (k, each)).reshape(-1)
            return cls(flat, stratum, jnp.full(k, each), proposals, each, reached=reached)
        return cls(flat, *_strata([each] * k), proposals, each, reached=reached)


def _strata(counts) -> tuple[Array, Array]:
    counts = np.asarray(counts)
    return jnp.asarray(np.repeat(np.arange(counts.size), counts)), jnp.asarray(counts)


def _sample(parts, key, totals, which):
    """So many draws of each part, one after another."""
    sampled = []
    own_keys = jax.random.split(key, len(parts))
    for part, own, total, chosen in zip(parts, own_keys, totals, which, strict=True):
        if total == 0:
            continue
        keys = jax.random.split(own, total)
        if part.single:
            events = jax.vmap(part.density.sample)(keys)
        elif chosen is None:  # the same number from each density of the stack
            events = over_stack(
                lambda density, own: jax.vmap(density.sample)(own),
                part.density,
                keys.reshape(part.size, -1),
            )
            events = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), events)
        else:
            one = lambda key, k, stack=part.density: pick(stack, k).sample(key)
            events = jax.vmap(one)(keys, chosen)
        sampled.append(events)
    return jax.lax.stop_gradient(jax.tree.map(lambda *a: jnp.concatenate(a), *sampled))


_sample_quickly, _sample_fairly = Quick(_sample), Quick(_sample, options=FAIR)


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
    key, reached = checked_key(key, "draw"), all_reached(proposals)
    proposals = as_densities(proposals)
    parts = parts_of(proposals, "proposals")
    size = sum(part.size for part in parts)
    in_doubles(num_draws, "num_draws of draw")  # or a sentence
    equal = np.ndim(num_draws) == 0
    counts = np.full(size, num_draws) if equal else np.asarray(num_draws)
    if counts.shape != (size,) or (counts < 0).any() or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            f"num_draws must be one whole number, or one for each of the {size} proposals, none "
            f"negative; it was {num_draws}."
        )
    if counts.sum() == 0:
        raise ValueError("num_draws is 0 for every proposal: there is nothing to draw.")
    for part in parts:
        if not callable(getattr(part.density, "sample", None)):
            raise ValueError(
                f"proposals hold a {type(part.density).__name__}, which has no method sample."
            )
    ends = np.cumsum([part.size for part in parts])
    each_part = np.split(counts, ends[:-1])
    which = [None if equal else np.repeat(np.arange(own.size), own) for own in each_part]
    totals = tuple(int(own.sum()) for own in each_part)
    few = sum(t * numbers_in(p.density) / p.size for t, p in zip(totals, parts, strict=True)) <= FEW
    events = (_sample_quickly if few else _sample_fairly)(parts, key, totals, which)
    each = int(num_draws) if equal else None
    return Draws(events, *_strata(counts), proposals, each, reached=reached)


def checked_draws(draws: Any) -> Draws:
    """The draws, if they are `Draws`; a sentence says how to make them."""
    if not isinstance(draws, Draws):
        raise TypeError(
            f"draws must be Draws, from jm.importance.draw(key, proposals, num_draws) or, of events "
            f"made elsewhere, jm.importance.Draws.of; a {type(draws).__name__} was given."
        )
    return gathered(draws)


def concatenate(*draws: Draws) -> Draws:
    """All draws of several rounds as draws from all of the rounds' proposals.

    Raises:
        ValueError: if there are none, or events differ in structure or shape.

    Example:
        >>> import jax, jaxmix as jm
        >>> k_a, k_b = jax.random.split(jax.random.key(0))
        >>> a = jm.importance.draw(k_a, jm.Normal(0, 1), 10)
        >>> b = jm.importance.draw(k_b, jm.Normal(1, 1), 10)
        >>> jm.importance.concatenate(a, b).num_proposals
        2
    """
    if not draws:
        raise ValueError("concatenate needs at least one Draws; none was given.")
    draws = tuple(checked_draws(d) for d in draws)
    forms = [
        (jax.tree.structure(d.events), [jnp.shape(a)[1:] for a in jax.tree.leaves(d.events)])
        for d in draws
    ]
    if any(form != forms[0] for form in forms):
        raise ValueError(f"Draws of different events cannot be joined; they are {forms}.")
    events = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[d.events for d in draws])
    before = np.cumsum([0] + [d.num_proposals for d in draws[:-1]])
    stratum = jnp.concatenate([d.stratum + int(b) for d, b in zip(draws, before, strict=True)])
    counts = jnp.concatenate([d.counts for d in draws])
    proposals = []
    for d in draws:
        listed = isinstance(d.proposals, list | tuple)
        proposals.extend(d.proposals if listed else [d.proposals])
    sizes = {d.each for d in draws}
    each, reached = sizes.pop() if len(sizes) == 1 else None, all(d.reached for d in draws)
    return Draws(events, stratum, counts, tuple(proposals), each, reached=reached)


@takes("allocate before: counts are shapes.", weights=in_doubles, total=whole(0), at_least=whole(0))
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
    bad = shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any()
    if bad or free < 0 or shares.sum() == 0:
        raise ValueError(
            f"{total} draws cannot be shared over weights {shares.tolist()} with at least "
            f"{at_least} each: the weights must be finite, non-negative and not all 0."
        )
    ideal = free * shares / shares.sum()
    counts = np.floor(ideal).astype(int)
    order = np.argsort(counts - ideal, kind="stable")
    counts[order[: free - counts.sum()]] += 1
    return counts + at_least
