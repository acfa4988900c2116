"""A parameter's two entrances: in its usual form, or in the unconstrained one that is stored."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import as_float, log_of, logit_of


def entrance(
    owner: str, convert: Callable[[Array], Array] = log_of, **two: Any
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


def check_one(density: Any) -> None:
    """Refuse parameters whose axes are not those of ONE density, or of different sizes.

    Raises:
        ValueError: naming all shapes.
    """
    sizes: dict[str, int] = {}
    alike = lambda name, size: sizes.setdefault(name, size) == size
    given = {field: getattr(density, field).shape for field in density._axes}
    for field, shape in given.items():
        names = density._axes[field]
        if len(shape) != len(names) or not all(map(alike, names, shape)):
            wanted = [f"{name} ({', '.join(axes)})" for name, axes in density._axes.items()]
            raise ValueError(
                f"{type(density).__name__} takes {', '.join(wanted)}; it was given shapes "
                f"{', '.join(map(str, given.values()))}. For a stack, jax.vmap the class."
            )


def logs(owner: str, **given: tuple[Any, Any]) -> tuple[Array, ...]:
    """Logarithms of positive parameters, each given as a pair (itself, its logarithm)."""
    pairs = [
        entrance(owner, **{name: pair[0], f"log_{name}": pair[1]}) for name, pair in given.items()
    ]
    values = as_float(*(value for _, value in pairs))
    if len({value.shape for value in values} - {()}) > 1:
        shapes = " and ".join(str(value.shape) for value in values)
        raise ValueError(
            f"{owner} takes one number for each of {', '.join(given)}; the shapes were {shapes}. "
            "For a stack, jax.vmap the class."
        )
    return tuple(log(value) for (log, _), value in zip(pairs, values, strict=True))


def logit(owner: str, prob: Any, logits: Any, name: str = "prob") -> Array:
    """The logit of a probability, or of many, given as itself or as `logits`."""
    stored, value = entrance(owner, logit_of, **{name: prob, "logits": logits})
    return stored(*as_float(value))


def exp_of(field: str, power: int = 1) -> Any:
    """The property of a parameter whose logarithm is stored, or of a power of it."""
    value = lambda self: jnp.exp(
        getattr(self, field) if power == 1 else power * getattr(self, field)
    )
    return property(value, doc=f"The exponential of {'' if power == 1 else f'{power} '}{field}.")


def sigmoid_of(field: str) -> Any:
    """The property of a probability whose logit is stored."""
    sigmoid = lambda self: jax.nn.sigmoid(getattr(self, field))
    return property(sigmoid, doc=f"The logistic function of {field}.")


def stated(formula: Callable[[Any], Array], *axes: str) -> Any:
    """The property that a formula gives: one number a density, or an array with these axes."""
    formula.__annotations__ = {"return": Float[Array, " ".join(("*stack", *axes))]}  # for pages
    return property(formula)


def of_field(field: str, name: str) -> Any:
    """The property that is one of what a field holds."""
    return property(lambda self: getattr(getattr(self, field), name), doc=f"Of `{field}`.")
