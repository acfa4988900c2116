"""The tilt bound of continuous simulation extension, for comparison and extrapolation."""

import itertools
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..._arguments import optional, real, takes
from ...combinators.natural import same_family
from ...families import (
    DiagonalNormal,
    MultivariateNormal,
    Normal,
    SphericalNormal,
    TiedMultivariateNormal,
)
from .coordinates import Coordinates, check_inside, in_doubles, shortened

NORMALS = (Normal, DiagonalNormal, SphericalNormal, MultivariateNormal, TiedMultivariateNormal)


@takes("bound outside.", f=real(0, 1, ends=True), order=optional(real(1, ends=True)))
def tilt_bound(f: float, centre: PyTree, at: PyTree, *, order: float | None = None) -> float:
    """Upper bound of E_t F, 0 <= F <= 1, from one (an upper limit f) at the density `centre`.

    f^(1-1/q) exp{[A(t + q v) - A(t)] / q - [A(t + v) - A(t)]}, by Hoelder's inequality, at its best
    q (Yang, Thompson and Sklar 2022, arXiv 2212.10042). Over the hull of several members, their
    largest where the exponent is known to be largest at a corner: in one natural parameter, for normal
    means of known variance, and for boxes of independent one-parameter densities about the
    centre. Elsewhere (where the published vertex rule is false) the convex [A(t + q v) - A(t)] / q -
    <v, grad A(t)>, which is larger by KL(t || t + v), at its largest corner.

    Args:
        f: expectation of F at the centre, or an upper limit of it.
        centre: a member of an exponential family.
        at: the member to bound at; or a stack, to bound over the hull of its members.
        order: q, at least 1; None for the best.

    Raises:
        ValueError: if f is not in [0, 1] or the densities are not of one family.

    Example:
        >>> import jaxmix as jm
        >>> round(jm.importance.tilt_bound(0.01355, jm.Normal(-0.25, 1), jm.Normal(0, 1)), 4)
        0.0273
    """
    if f in (0.0, 1.0):
        return float(f)
    level = np.log(f)
    exponent = _exponents(centre, at)
    value = lambda q: float((1 - 1 / q) * level + np.max(exponent(q)))
    if order is not None:
        return float(min(np.exp(value(order)), 1.0))
    q = _least(lambda s: value(1 + np.exp(s)))
    return float(min(np.exp(value(1 + np.exp(q))), 1.0))


@takes("bound outside.", alpha=real(0, 1))
def tilt_level(alpha: float, centre: PyTree, at: PyTree) -> float:
    """The largest f at `centre` for which `tilt_bound` stays at alpha: sup_q of its inverse.

    Args:
        alpha: the level to keep over the hull of `at`, in (0, 1).
        centre: as in `tilt_bound`.
        at: as in `tilt_bound`.

    Raises:
        ValueError: as there.

    Example:
        >>> import jaxmix as jm, jax, jax.numpy as jnp
        >>> ends = jax.vmap(jm.Normal, (0, None))(jnp.array([-0.1, 0.1]), 1.0)
        >>> round(jm.importance.tilt_level(0.025, jm.Normal(0, 1), ends), 5)
        0.01896
    """
    exponent = _exponents(centre, at)
    value = lambda q: float((np.max(exponent(q)) - np.log(alpha)) * q / (q - 1))
    q = _least(lambda s: value(1 + np.exp(s)))
    return float(np.exp(-value(1 + np.exp(q))))


def _exponents(centre: Any, at: Any):
    """The exponent at each corner as a function of q, or the convex one that is above it."""
    why = same_family(centre, at)
    if why:
        raise ValueError(f"The densities must be of one exponential family: {why}.")
    coordinates = Coordinates.of(centre)
    rows, start = coordinates.rows(at), coordinates.rows(centre)
    check_inside(np.concatenate([start, rows]), "Density")
    heads = len(coordinates.parts)
    middle, steps = start[0, heads:], rows[:, heads:] - start[:, heads:]
    direct = len(rows) == 1 or _corner_rule(coordinates, steps)

    return lambda q: _tilt(coordinates, middle, steps, np.asarray(q, float), direct)


def _corner_rule(coordinates: Coordinates, steps: np.ndarray) -> bool:
    """Whether the exponent is known to be largest at a corner."""
    moving = np.abs(steps).max(0) > 0
    if moving.sum() <= 1:
        return True
    # Of each column of natural parameters its part, and whether it is a normal's, and a variance.
    columns = [
        (k, isinstance(part.leaf, NORMALS), j > 0)
        for k, part in enumerate(coordinates.parts)
        for j, own in enumerate(shortened(part.leaf.natural(part.leaf.origin)))
        for _ in range(own.size)
    ]
    part, normal, variance = map(np.array, zip(*columns, strict=True))
    if normal.all() and not variance[moving].any():
        return True
    lines = [sorted(set(column)) for column in steps[:, moving].T]
    if np.bincount(part[moving]).max() > 1 or any(
        len(line) != 2 or line[0] > 0 or line[1] < 0 for line in lines
    ):
        return False
    return {tuple(row) for row in steps[:, moving]} == set(itertools.product(*lines))


@in_doubles
def _tilt(coordinates, middle, steps, q, direct: bool):
    a = coordinates.log_normaliser
    at_middle = a(middle)
    far = jax.vmap(lambda v: a(middle + q * v))(steps)
    if direct:
        near = jax.vmap(lambda v: a(middle + v))(steps) - at_middle
    else:
        near = steps @ jax.grad(a)(middle)
    return (far - at_middle) / q - near


def _least(value) -> float:
    """The least of a quasi-convex function of log(q - 1)."""
    from scipy.optimize import minimize_scalar  # not for every import

    grid = np.linspace(-12, 12, 97)
    finite = lambda s: value(s) if np.isfinite(value(s)) else np.finfo(float).max
    middle = int(np.argmin([finite(s) for s in grid]))
    ends = grid[max(middle - 1, 0)], grid[min(middle + 1, len(grid) - 1)]
    return minimize_scalar(finite, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
