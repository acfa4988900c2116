"""Densities of one exponential family as rows of natural parameters, in double precision."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._density import LogDensity
from ..._stack import pick
from ...combinators import Mixture, MixtureSameFamily
from ...combinators.natural import FamilyPart, family_parts, same_family
from ...families.categorical import Counts
from ..draws import Draws
from ..family import parts_of


def in_doubles(function: Callable) -> Callable:
    """The function compiled in double precision, whatever is switched on; NumPy's arrays come back."""
    program = eqx.filter_jit(function)
    wide = lambda a: jnp.asarray(np.asarray(a, np.float64)) if eqx.is_inexact_array(a) else a

    @functools.wraps(function)
    def run(*args):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, program(*jax.tree.map(wide, args)))

    return run


def shortened(tree: Any) -> list[Array]:
    """What statistics (or naturals) hold besides their head, less what follows from the rest.

    Outcomes add up to the number of trials: the first of each is left out.
    """
    if isinstance(tree, Counts):
        return [tree.outcomes[..., 1:]]
    return [leaf for name, leaf in zip(tree._fields, tree, strict=True) if name != "count"]


def _ravelled(leaf: Array, stack: tuple[int, ...]) -> Array:
    return leaf.reshape(*stack, -1)


class Coordinates(eqx.Module):
    """One exponential family: a member for its fixed fields, and each part's origin.

    A density is a row: minus the log-normaliser of ONE observation of each part, and the natural
    parameters. An event is a row: how many observations of each part, and the sums of their
    statistics. The log-density is their product, but for the base measure.
    """

    member: PyTree
    origins: list[Any]

    @staticmethod
    def of(grid: PyTree) -> "Coordinates":
        """Of a stack's family, about the origins of its middle member."""
        if not isinstance(grid, LogDensity):
            raise TypeError(
                "The region is a stack of members of one of jaxmix's exponential families; it was a "
                f"{type(grid).__name__}."
            )
        stack = grid.stack_shape
        flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[len(stack) :]), grid)
        middle = pick(flat, int(np.prod(stack)) // 2) if stack else grid
        return Coordinates(middle, [part.leaf.origin for part in family_parts(middle)])

    @property
    def parts(self) -> list[FamilyPart]:
        return family_parts(self.member)

    @property
    def times(self) -> np.ndarray:
        """Observations of each part."""
        return np.array([part.times for part in self.parts])

    def rows(self, densities: PyTree) -> np.ndarray:
        """A stack as rows (V, parts + d); the stack is flattened."""
        return _rows(self, densities)

    def completed(self, natural: np.ndarray) -> np.ndarray:
        """The rows of natural parameters (V, d)."""
        return np.concatenate([_heads(self, natural), natural], 1)

    def features(self, event: PyTree, seen: PyTree = None) -> Array:
        """An event as a row; `seen` says which observations count."""
        counts, sums = [], []
        for part, origin in zip(self.parts, self.origins, strict=True):
            leaf, x = part.leaf, part.field(event)
            mask = None if seen is None else part.field(seen)
            stats = lambda x, leaf=leaf, origin=origin: leaf.stats(x, origin)
            for _ in part.repeats:
                stats = jax.vmap(stats)
            row = jnp.concatenate(
                [_ravelled(s, part.repeats) for s in shortened(stats(x))], axis=-1
            )
            axes = tuple(range(len(part.repeats)))
            if mask is None:
                counts.append(jnp.asarray(part.times, row.dtype))
            else:
                there = jnp.asarray(mask, bool)
                if there.shape not in ((), part.repeats):
                    raise ValueError(
                        f"seen gives one truth value an observation, {part.repeats} of them; the shape "
                        f"was {there.shape}."
                    )
                there = jnp.broadcast_to(there, part.repeats)
                counts.append(jnp.sum(there).astype(row.dtype))
                row = jnp.where(there[..., None], row, jnp.zeros_like(row))
            sums.append(jnp.sum(row, axes))
        return jnp.concatenate([jnp.stack(counts), *sums])

    def heads(self, natural: Array) -> Array:
        """Minus the log-normaliser of one observation of each part, at natural parameters (d,)."""
        return jnp.stack(
            [-leaf.log_normaliser(t, origin) for leaf, origin, t in self._split(natural)]
        )

    def _split(self, natural: Array) -> Iterator[tuple[Any, Any, Any]]:
        """Each part's leaf, origin and natural parameters as a tree, of a row (d,)."""
        start = 0
        for part, origin in zip(self.parts, self.origins, strict=True):
            tree, start = _lengthened(part.leaf.natural(origin), natural, start)
            yield part.leaf, origin, tree

    def log_normaliser(self, natural: Array) -> Array:
        """Of one density's natural parameters (d,), all observations together."""
        heads = self.heads(natural)
        return -jnp.sum(heads * jnp.asarray(self.times, heads.dtype))

    def densities(self, natural: Array) -> PyTree:
        """The member of natural parameters (d,), by its expected statistics."""
        leaves = []
        for leaf, origin, tree in self._split(natural):
            total = lambda t, leaf=leaf, origin=origin: leaf.log_normaliser(t, origin)
            mean = jax.grad(total)(tree)._replace(count=jnp.ones_like(tree.count))
            leaves.append(leaf.from_stats(mean, origin))
        return eqx.tree_at(lambda d: [part.leaf for part in family_parts(d)], self.member, leaves)


def _lengthened(like, natural, start):
    """A natural-parameter tree from its part of a row, and where the next part starts."""
    if isinstance(like, Counts):
        shape = like.outcomes[..., 1:].shape
        size = int(np.prod(shape))
        free = natural[start : start + size].reshape(shape)
        outcomes = jnp.concatenate([jnp.zeros_like(free[..., :1]), free], -1)
        return like._replace(outcomes=outcomes), start + size
    leaves = [like.count]
    for leaf in like[1:]:
        size = int(np.prod(leaf.shape))
        leaves.append(natural[start : start + size].reshape(leaf.shape))
        start += size
    return type(like)(*leaves), start


@in_doubles
def _heads(coordinates: Coordinates, natural: Float[Array, "n d"]) -> Array:
    return jax.vmap(coordinates.heads)(natural)


@in_doubles
def _rows(coordinates: Coordinates, densities: PyTree) -> Array:
    heads, naturals = [], []
    for part, origin in zip(family_parts(densities), coordinates.origins, strict=True):
        leaf = part.leaf
        stack = leaf.stack_shape
        if origin is not None:
            origin = jnp.broadcast_to(origin, (*stack, *origin.shape))
        natural = leaf.natural(origin)
        head = natural.count
        free = shortened(natural)
        if isinstance(natural, Counts):
            trials = jnp.sum(leaf.mean_stats(origin).outcomes, -1, keepdims=True)
            first = natural.outcomes[..., :1]
            free = [natural.outcomes[..., 1:] - first]
            head = head + jnp.sum((trials * first).reshape(*stack, -1), -1)
        heads.append(head.reshape(-1))
        naturals += [f.reshape(int(np.prod(stack)), -1) for f in free]
    return jnp.concatenate([jnp.stack(heads, -1), *naturals], -1)


def proposal_rows(coordinates: Coordinates, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all proposals' components, and the logarithm of each one's share of all draws.

    Shares are nominal, where labels were drawn at random.

    Raises:
        ValueError: if a proposal is no member of the family, nor a mixture of members.
    """
    shares = np.asarray(draws.counts if draws.shares is None else draws.shares, np.float64)
    shares = shares / shares.sum() if draws.shares is None else shares
    rows, logs, start = [], [], 0
    for part in parts_of(draws.proposals, "proposals"):
        share = np.log(shares[start : start + part.size])
        start += part.size
        for stack, inner in _components(part.density):
            why = same_family(coordinates.member, stack)
            if why:
                raise ValueError(
                    "Proposals must be members of the region's family, or mixtures of members, so "
                    f"that the largest weight can be proved: {why}."
                )
            found = coordinates.rows(stack)
            inner = np.broadcast_to(inner, (share.size, len(found) // share.size))
            rows.append(found)
            logs.append((share[:, None] + inner).ravel())
    rows, logs = np.concatenate(rows), np.concatenate(logs)
    rows, logs = rows[logs > -np.inf], logs[logs > -np.inf]
    check_inside(rows, "Proposal")
    return rows, logs


def _components(density: Any) -> list[tuple[PyTree, np.ndarray]]:
    if not isinstance(density, Mixture | MixtureSameFamily):
        return [(density, np.zeros(1))]
    weights = np.log(np.asarray(density.weights, np.float64))
    if isinstance(density, MixtureSameFamily):
        return [(density.components, weights)]
    return [
        (inner, weights[..., k, None] + log)
        for k, part in enumerate(density.components)
        for inner, log in _components(part)
    ]


def check_inside(rows: np.ndarray, role: str) -> None:
    """A sentence where a member sits on the boundary of its family."""
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        raise ValueError(
            f"{role} {int(np.argmax(bad))} is on the boundary of its family (or outside): a "
            "natural parameter or its log-normaliser is not finite, and no bound passes through it."
        )
