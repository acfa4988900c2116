"""The region that vertices span: its cells, and the largest value of a bound inside each."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ..._density import is_density
from ...combinators.natural import family_parts, same_family
from ...families import Multinomial, MultivariateNormal, TiedMultivariateNormal
from ...families._directions import Direction
from .coordinates import Coordinates, in_doubles

STEPS = 60


class Simplices(eqx.Module):
    """A region as hulls of some of a stack's members, in natural parameters.

    Args:
        vertices: a stack of densities with one axis.
        cells: whole numbers (c, m), the m members that span each cell.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> family = jax.vmap(jm.Binomial, (None, 0))(10, jnp.array([0.2, 0.3, 0.4]))
        >>> jm.importance.Simplices(family, jnp.array([[0, 1], [1, 2]])).cells.shape
        (2, 2)
    """

    vertices: PyTree
    cells: Int[Array, "c m"]


class Region:
    """Vertices as rows of natural parameters, and which of them are the corners of each cell."""

    def __init__(self, grid: PyTree):
        if isinstance(grid, list | tuple):
            grid = _joined(list(grid))
        boxes = not isinstance(grid, Simplices)
        self.boxes = boxes
        stack = grid if boxes else grid.vertices  # pyright: ignore[reportAttributeAccessIssue]
        if not is_density(stack):
            raise ValueError(
                "The region is a stack of densities whose neighbours span cells, a list of stacks "
                f"(the corners of a simplex each), or jm.importance.Simplices; it was a "
                f"{type(stack).__name__}."
            )
        family_parts(stack)  # refuses what is no exponential family
        self.stack = stack
        self.vertex_shape = stack.stack_shape
        self.coordinates = Coordinates.of(stack)
        self.rows = self.coordinates.rows(stack)
        self.cell_shape, self.corners = (
            grid_cells(self.vertex_shape)
            if boxes
            else _listed(np.asarray(grid.cells), self.vertex_shape)  # pyright: ignore[reportAttributeAccessIssue]
        )
        if boxes and len(self.rows) > 1:
            _refuse_bent(stack)

    @property
    def natural(self) -> np.ndarray:
        """The vertices' natural parameters (V, d)."""
        return self.rows[:, len(self.coordinates.parts) :]

    def inside(self, values: np.ndarray) -> np.ndarray:
        """The largest exp(gap(l)) sum_v l_v values_v of each cell, from above."""
        return np.exp(self._log_most(np.log(values)))

    def bounds(self, limits: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        """The least of what is known of each cell by its corners' limits and its own gap."""
        return np.minimum(self.inside(limits), np.exp(gaps) * limits[self.corners].max(1))

    def gaps(self) -> np.ndarray:
        """The largest Jensen gap of the log-normaliser in each cell, from above, in nats."""
        return self._log_most(np.zeros(len(self.rows)))

    def vertex_gaps(self) -> np.ndarray:
        """For each vertex, the largest gap of the cells it is a corner of."""
        found = np.zeros(len(self.rows))
        np.maximum.at(found, self.corners, self.gaps()[:, None])
        return found

    def between(self, shares: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Rows of the members at convex combinations (n, m) of m vertices."""
        return self.coordinates.completed(shares @ self.natural[corners])

    def part(self, rows: np.ndarray, corners: np.ndarray) -> "Region":
        """A region of the same family on other vertices."""
        other = object.__new__(Region)
        other.__dict__.update(self.__dict__, rows=rows, corners=corners)
        return other

    def _log_most(self, logs) -> np.ndarray:
        normalisers = -self.rows[:, : len(self.coordinates.parts)] @ self.coordinates.times
        tables = (a[self.corners] for a in (self.natural, normalisers, logs))
        return _interior(self.coordinates, *tables)


def grid_cells(shape: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    """Cells along each axis of a grid of vertices, and the flat indices of each one's corners."""
    if any(n < 2 for n in shape):
        raise ValueError(
            f"Each axis of the grid needs 2 vertices or more, which span its cells; it is {shape}."
        )
    if not shape:  # one density is a region of one point
        return (), np.zeros((1, 1), int)
    cells = tuple(n - 1 for n in shape)
    starts = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(
        -1, len(shape)
    )
    offsets = np.stack(np.meshgrid(*[[0, 1]] * len(shape), indexing="ij"), -1)
    offsets = offsets.reshape(-1, len(shape))
    index = starts[:, None, :] + offsets[None]
    return cells, np.asarray(np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), shape))


def _listed(cells: np.ndarray, shape) -> tuple[tuple[int, ...], np.ndarray]:
    if len(shape) != 1 or cells.ndim != 2 or not np.issubdtype(cells.dtype, np.integer):
        raise ValueError(
            "Simplices takes a stack with one axis, and whole numbers (cells, corners); they have "
            f"shapes {shape} and {cells.shape}."
        )
    if cells.size == 0 or cells.min() < 0 or cells.max() >= shape[0]:
        raise ValueError(f"Simplices names members from 0 to {shape[0] - 1} only.")
    return (len(cells),), cells


def _joined(stacks: list) -> Simplices:
    sizes = {getattr(s, "stack_shape", ()) for s in stacks}
    if not stacks or len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise ValueError(
            "A list of simplices holds stacks of as many corners each, with one leading axis; "
            f"their stack shapes are {sorted(sizes)}."
        )
    for other in stacks[1:]:
        why = same_family(stacks[0], other)
        if why:
            raise ValueError(f"The simplices must be of one family: {why}.")
    size: int = stacks[0].stack_shape[0]
    vertices = jax.tree.map(lambda *a: jnp.concatenate(a), *stacks)
    return Simplices(vertices, jnp.arange(len(stacks) * size).reshape(-1, size))


def _refuse_bent(stack: Any) -> None:
    """A box of these families' parameters is no polytope in natural parameters."""
    for part in family_parts(stack):
        leaf: Any = part.leaf
        bent = isinstance(leaf, Direction | Multinomial)
        if isinstance(leaf, MultivariateNormal | TiedMultivariateNormal):
            factor = np.asarray(leaf.covariance)
            bent = np.ptp(factor.reshape(-1, leaf.dim**2), axis=0).max() > 0
        if bent:
            raise ValueError(
                f"A grid over the parameters of a {type(leaf).__name__} spans no box in its natural "
                "parameters, where the cells are hulls; give the simplices of a polytope that "
                "contains the region, as a list or as jm.importance.Simplices."
            )


@in_doubles
def _interior(
    coordinates: Coordinates,
    natural: Float[Array, "c m d"],
    normalisers: Float[Array, "c m"],
    logs: Float[Array, "c m"],
) -> Array:
    """Largest sum_v l_v A_v - A(sum_v l_v t_v) + log sum_v l_v exp(logs_v), concave in l.

    Moves along edges of the simplex, each by one step of Newton's method. Whatever l is reached, the
    value there and the duality gap of Frank and Wolfe, max_v d_v - sum_v l_v d_v, are a bound.
    """
    slope_of = jax.grad(coordinates.log_normaliser)

    def one(natural, normalisers, logs):
        u = jnp.exp(logs - jnp.max(logs))

        def state(shares):
            at = shares @ natural
            mean = shares @ u
            value = shares @ normalisers - coordinates.log_normaliser(at) + jnp.log(mean)
            slopes = normalisers - natural @ slope_of(at) + u / mean
            bound = value + jnp.max(slopes) - shares @ slopes
            return at, mean, slopes, bound

        def step(_, carry):
            shares, best = carry
            at, mean, slopes, bound = state(shares)
            up = jnp.argmax(slopes)
            down = jnp.argmin(jnp.where(shares > 0, slopes, jnp.inf))
            along = natural[up] - natural[down]
            bend = along @ jax.jvp(slope_of, (at,), (along,))[1] + ((u[up] - u[down]) / mean) ** 2
            rise = slopes[up] - slopes[down]
            length = jnp.minimum(rise / jnp.where(bend > 0, bend, 1), shares[down])
            length = jnp.where(
                (bend > 0) & (rise > 0), length, jnp.where(rise > 0, shares[down], 0)
            )
            new = jnp.maximum(shares.at[up].add(length).at[down].add(-length), 0)
            return new / jnp.sum(new), jnp.minimum(best, bound)

        begin = jax.nn.one_hot(jnp.argmax(logs), logs.shape[0], dtype=logs.dtype)
        begin = jnp.where(jnp.ptp(logs) > 0, begin, jnp.full_like(begin, 1 / logs.shape[0]))
        start = begin, jnp.asarray(jnp.inf, logs.dtype)
        shares, best = jax.lax.fori_loop(0, STEPS, step, start)
        rounding = 64 * jnp.finfo(logs.dtype).eps * (1 + jnp.max(jnp.abs(normalisers)))
        return jnp.minimum(best, state(shares)[3]) + jnp.max(logs) + rounding

    return jax.lax.map(lambda cell: one(*cell), (natural, normalisers, logs), batch_size=1024)
