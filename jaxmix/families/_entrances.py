"""A parameter's two entrances: in its usual form, or in the unconstrained one that is stored."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def entrance(
    owner: str, convert: Callable[[Array], Array] = jnp.log, **two: Any
) -> tuple[Callable[[Array], Array], Any]:
    """How to store the one that was given of a usual form and a stored one, and its value.

    Raises:
        TypeError: unless exactly one of them was given.
    """
    used = [name for name, value in two.items() if value is not None]
    if len(used) != 1:
        given = f"both {' and '.join(used)}" if used else "neither"
        raise TypeError(f"{owner} takes one of {' and '.join(two)}; it was given {given}.")
    name = used[0]
    return convert if name == next(iter(two)) else (lambda stored: stored), two[name]
