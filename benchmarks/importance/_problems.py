"""Rare events and ribbons whose probabilities are known from quadrature or in closed form."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

import jaxmix as jm


def four_branch(b: float, k: float) -> Callable[[Array], Array]:
    """Positive where Waarts' series system with four branches fails."""

    def score(x):
        bend, root = 0.1 * (x[0] - x[1]) ** 2, 2**0.5
        return -jnp.min(
            jnp.stack(
                [
                    b + bend - (x[0] + x[1]) / root,
                    b + bend + (x[0] + x[1]) / root,
                    (x[0] - x[1]) + k / root,
                    (x[1] - x[0]) + k / root,
                ]
            )
        )

    return score


def half_space(beta: float, dim: int) -> Callable[[Array], Array]:
    """Positive beyond a plane at this distance from the origin."""
    return lambda x: jnp.sum(x) / dim**0.5 - beta


class RareEvent(NamedTuple):
    """{score > 0} under a standard normal vector; the bar is on the relative RMSE."""

    name: str
    score: Callable[[Array], Array]
    dim: int
    exact: float
    calls: int
    bar: float
    components: tuple[int, ...]  # each is tried


RARE = (
    RareEvent(
        "four-branch (5, 9)", four_branch(5.0, 9.0), 2, 7.120360734712e-6, 4000, 0.10, (4, 6)
    ),
    RareEvent("half-space 6, d 2", half_space(6.0, 2), 2, 9.865876450e-10, 7000, 0.063, (2,)),
    RareEvent("half-space 4.5, d 100", half_space(4.5, 100), 100, 3.397673e-6, 5000, 0.38, (1,)),
)

THETAS = jnp.linspace(-2.0, 2.0, 11)[1:]  # ten means, those that have a published estimate
CENTRES = jnp.array([2.15110038, 3.52505375, 4.34462706, 2.5527284, 2.99012636])


def normals(means: Array) -> jm.Normal:
    """A stack of normal densities of scale 1."""
    return jax.vmap(jm.Normal, in_axes=(0, None))(means, 1.0)
