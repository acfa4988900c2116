"""A certificate: what is bounded over a region, with what probability, and how closely."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


class Certificate(eqx.Module):
    """Upper bounds of E f over a region of parameters, proved from one set of draws.

    Fields marked * have the structure of f's value. The statement is of `supremum`: with
    probability 1 - delta over the draws it is not below sup E f over the region. Each number of
    `upper` and `vertex_upper` by itself is right with that probability too, but not all of them
    at once, unless `simultaneous`; where the supremum is (`where`) is not certified, and several
    values of f are right with probability 1 - delta each.

    Attributes:
        supremum: * upper bound of the largest E f over the region, at most 1.
        where: * index of the cell with the largest bound.
        upper: * for each cell, the bound over all of it, at most 1.
        vertex_upper: * for each vertex, its own bound (not cut off at 1).
        value: * for each vertex, the estimate of E f.
        gap: for each cell, the largest Jensen gap of the log-normaliser, in nats.
        max_weight: for each cell, the largest weight p / q of its corners, with its proof.
        bet: * for each vertex, what was bet on it, 1 / bet at least the largest weight.
        delta: error probability.
        num_draws: how many draws.
        method: "betting" (certified), or "normal" (asymptotic).
        simultaneous: whether all of `upper` hold at once.
    """

    upper: PyTree
    vertex_upper: PyTree
    value: PyTree
    gap: np.ndarray
    max_weight: np.ndarray
    bet: PyTree
    delta: float = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)
    method: str = eqx.field(static=True)
    simultaneous: bool = eqx.field(static=True)
    again: Any = eqx.field(static=True, repr=False)  # what `refined` needs of the draws

    @property
    def supremum(self) -> PyTree:
        """Upper bound of the largest E f over the region, at most 1, structured as f's value."""
        return jax.tree.map(lambda cells: cells.max(-1), self._cells)

    @property
    def where(self) -> PyTree:
        """Index of the cell with the largest bound, structured as f's value."""
        ends = self.gap.shape
        place = lambda top: (
            np.stack(np.unravel_index(top, ends), -1) if ends else top[..., None][..., :0]
        )
        return jax.tree.map(lambda cells: place(np.argmax(cells, -1)), self._cells)

    @property
    def _cells(self) -> PyTree:
        """The cells' bounds, along one last axis."""
        return jax.tree.map(lambda u: u.reshape(*u.shape[: u.ndim - self.gap.ndim], -1), self.upper)

    def refined(self, cells: int = 8, splits: int = 2) -> "Certificate":
        """The same supremum with the cells that decide it cut finer, by the same draws.

        No draw is made anew and nothing is paid for it: what was bet at each parameter stays as it
        was, so that cells are arithmetic only. Each cell with one of the largest bounds is cut
        `splits` times along each edge; `supremum` and `upper` can only fall.

        Args:
            cells: how many cells to cut.
            splits: into how many parts, along each axis.

        Raises:
            ValueError: for a region of simplices, or a normal interval, which have no such rule.
        """
        return self.again(self, cells, splits)

    def __str__(self) -> str:
        tops, values = jax.tree.leaves(self.supremum), jax.tree.leaves(self.value)
        shown = ", ".join(f"{float(top):.6g}" for top in tops)
        cells = self.gap.size
        vertices = np.asarray(values[0]).size // max(np.asarray(tops[0]).size, 1)
        region = (
            f"every parameter in the hull (in natural parameters) of each of {cells} "
            f"cell{'s' if cells > 1 else ''} on {vertices} "
            f"{'vertices' if vertices > 1 else 'vertex'}"
        )
        each = " each" if len(tops) > 1 or np.asarray(tops[0]).size > 1 else ""
        level = f"{1 - self.delta:.6g}"
        if self.method == "normal":
            return (
                f"Asymptotic, not certified: the expectation of f is at most {shown} for {region}, "
                f"with a probability{each} that tends to {level} as the draws, now "
                f"{self.num_draws:,}, grow in number."
            )
        best = ", ".join(f"{float(np.max(v)):.6g}" for v in values)
        return (
            f"Certified with probability {level}{each} over its {self.num_draws:,} draws: the "
            f"expectation of f is at most {shown} for {region}; the largest estimate at a vertex "
            f"is {best}."
        )
