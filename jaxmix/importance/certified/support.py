"""Where an event, and with it a row of statistics, may lie: the family's support, or a promise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._hooks import SaysDomain
from ..._refittable import Moments, Total
from ...families import LogNormal
from ...families._directions import Direction
from ...families.gamma import GammaMoments
from ...families.geometric import Trials
from ...families.simplex import Beta, Logs
from .coordinates import Coordinates, shortened


class Box(NamedTuple):
    """A declared support: f is 0 unless low <= x <= high, coordinate by coordinate.

    Attributes:
        low: shaped like an event; -inf where nothing is promised.
        high: shaped like an event; None for no upper ends.

    Example:
        >>> import jaxmix as jm
        >>> jm.importance.Box(1.5).low  # no rejection of a z statistic below 1.5
        1.5
    """

    low: PyTree
    high: PyTree = None


def boxes_of(bound: Any, events: PyTree) -> list[Any]:
    """A declared support of events as boxes whose union it is; [None] if nothing is declared."""
    if bound is None:
        return [None]
    listed = isinstance(bound, list | tuple) and not isinstance(bound, Box)
    boxes: list[Any] = list(bound) if listed else [bound]
    if not boxes or not all(isinstance(box, Box) for box in boxes):
        raise ValueError("bound must be a jm.importance.Box, or a list of them (their union).")
    leaves, structure = jax.tree.flatten(events)
    for box in boxes:
        sides = box.low, box.low if box.high is None else box.high
        for end in sides:
            ends, same = jax.tree.flatten(end)
            pairs = zip(ends, leaves, strict=False)
            if same != structure or any(np.shape(e) not in ((), x.shape[1:]) for e, x in pairs):
                raise ValueError(
                    f"A Box's ends are shaped like an event, {[x.shape[1:] for x in leaves]}; one was "
                    f"{end}."
                )
        pairs = zip(*map(jax.tree.leaves, sides), strict=True)
        if not all(np.all(np.asarray(low) <= high) for low, high in pairs):  # NaN is neither
            raise ValueError(f"A Box holds what lies from low up to high; it was {box}.")
    return boxes


def holds(boxes: list[Any], event: PyTree) -> Any:
    """Whether an event lies in one of the boxes."""
    inside = jnp.asarray(False)
    for box in boxes:
        if box is None:
            return jnp.asarray(True)
        each = jnp.asarray(True)
        for below, ends in ((True, box.low), (False, box.high)):
            if ends is None:
                continue
            sides = jax.tree.map(
                lambda x, end, below=below: jnp.all(
                    x >= jnp.asarray(end, x.dtype) if below else x <= jnp.asarray(end, x.dtype)
                ),
                event,
                ends,
            )
            each = each & jnp.all(jnp.stack(jax.tree.leaves(sides)))
        inside = inside | each
    return inside


def statistics_box(coordinates: Coordinates, box: Box | None) -> tuple[np.ndarray, np.ndarray]:
    """Ends (parts + d,) between which every row of statistics of the support lies."""
    lows, highs = [], []
    for part, origin in zip(coordinates.parts, coordinates.origins, strict=True):
        low, high = -np.inf, np.inf
        if box is not None:
            if part.repeats:
                raise ValueError(
                    "A declared support is of single observations, or of the law of their "
                    "sufficient statistic; a Repeated has neither."
                )
            low = part.field(box.low)
            high = np.inf if box.high is None else part.field(box.high)
        declared = box is not None
        below, above = _range(part.leaf, origin, low, high, declared)
        lows += [part.times * np.ravel(s) for s in below]
        highs += [part.times * np.ravel(s) for s in above]
    ones = coordinates.times.astype(float)
    return np.concatenate([ones, *lows]), np.concatenate([ones, *highs])


def _range(leaf: Any, origin: Any, low: Any, high: Any, declared: bool):
    """Ends of the statistics of one event between `low` and `high`; a superset where in doubt."""
    like = shortened(leaf.natural(leaf.origin))
    shapes = [np.shape(s) for s in like]
    natural = leaf.natural(leaf.origin)
    centre: Any = None if origin is None else np.asarray(origin, np.float64)
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if isinstance(leaf, SaysDomain):
        low, high = np.maximum(low, leaf.domain.low), np.minimum(high, leaf.domain.high)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if isinstance(natural, Moments):
            if isinstance(leaf, LogNormal):
                low, high = np.log(low) if np.all(low > 0) else -np.inf, np.log(high)
            return _moments(low - centre, high - centre, shapes)
        if isinstance(natural, Total):
            return [low], [high]
        if isinstance(natural, Trials):
            return [low - 1], [high - 1]
        if isinstance(natural, GammaMoments):
            ends = [np.log(low) - centre, np.log(high) - centre]
            return [np.expm1(ends[0]), ends[0]], [np.expm1(ends[1]), ends[1]]
        if isinstance(leaf, Beta):
            logs = lambda a, b: np.stack([np.log(a), np.log1p(-b)]) - centre
            return [logs(low, high)], [logs(high, low)]
        if declared and not hasattr(leaf, "trials"):
            raise ValueError(f"No support can be declared for a {type(leaf).__name__}.")
        if isinstance(natural, Logs):
            return [np.full(shapes[0], -np.inf)], [-np.broadcast_to(centre, shapes[0])]
        if isinstance(leaf, Direction):
            size = np.ones(shapes[0])
            middle = 0.0 if shapes[0] == () else centre
            return [-size - middle, np.zeros(())], [size - middle, np.full((), 2.0)]
        if hasattr(leaf, "low"):  # a Binomial
            return [np.reshape(low - leaf.low, 1)], [np.reshape(high - leaf.low, 1)]
        if declared:
            raise ValueError(f"No support can be declared for a {type(leaf).__name__}.")
        trials = float(getattr(leaf, "trials", 1))
        return [np.zeros(s) for s in shapes], [np.full(s, trials) for s in shapes]


def _moments(low, high, shapes):
    """Ends of residuals and of their squares (of all products, where they are a matrix)."""
    first, second = shapes
    low, high = np.broadcast_to(low, first), np.broadcast_to(high, first)
    squares = np.maximum(low * low, high * high)
    least = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(low * low, high * high))
    if second == first:
        return [low, least], [high, squares]
    if second == ():
        return [low, least.sum()], [high, squares.sum()]
    off = ~np.eye(first[0], dtype=bool)
    return (
        [low, np.where(off, -np.inf, np.diag(least))],
        [high, np.where(off, np.inf, np.diag(squares))],
    )
