"""A parameter's two entrances: in its usual form, or in the unconstrained one that is stored."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._numerics import as_float, constant, log_of, logit_of


def entrance(owner: str, **forms: Any) -> str:
    """The name of the one form of a parameter that was given, or a TypeError."""
    used = [name for name, value in forms.items() if value is not None]
    if len(used) != 1:
        wanted = f"one of {listed(forms)}" if len(forms) > 1 else listed(forms)
        given = f"both {listed(used)}" if used else "neither" if len(forms) == 2 else "none"
        raise TypeError(f"{owner} takes {wanted}; it was given {given}.")
    return used[0]


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


class Form(property):
    """A parameter in its usual form, by the field that stores it unconstrained."""

    def __init__(self, field: str, usual: Callable, stored: Callable, doc: str):
        super().__init__(lambda self: usual(getattr(self, field)))
        self.field, self.stored, self.__doc__ = field, stored, doc


def exp_of(field: str, power: int = 1) -> Any:
    """The property of a parameter whose logarithm is stored, or of a power of it."""
    if power == 1:
        return Form(field, jnp.exp, log_of, f"The exponential of {field}.")
    value = lambda self: jnp.exp(power * getattr(self, field))
    return property(value, doc=f"The exponential of {power} {field}.")


def sigmoid_of(field: str) -> Any:
    """The property of a probability whose logit is stored."""
    return Form(field, jax.nn.sigmoid, logit_of, f"The logistic function of {field}.")


def softmax_of(field: str) -> Any:
    """The property of probabilities whose logarithms are stored, up to a constant."""
    return Form(field, jax.nn.softmax, log_of, f"The softmax of {field}.")


def store(density: Any, **given: Any) -> dict[str, Array]:
    """Fill a density's fields from its arguments, each in one of the forms it may have.

    A field's own name is the form in which it is stored. Others are properties that are a `Form`,
    or stand in the class's `forms`, as a field and how it stores them. Returns what was stored.

    Raises:
        TypeError: unless exactly one form of each was given.
        ValueError: for axes that are not those of ONE density, naming all shapes.
    """
    kind, taken = type(density), {}
    for name, value in given.items():
        form: Any = getattr(kind, name, None)
        form = (form.field, form.stored) if isinstance(form, Form) else (name, lambda a: a)
        field, stored = getattr(kind, "forms", {}).get(name, form)
        field = "logit" if field == "logits" and "logit" in kind.ranks else field
        taken.setdefault(field, {})[name] = value, stored
    names = {
        f: entrance(kind.__name__, **{n: v for n, (v, _) in forms.items()})
        for f, forms in taken.items()
    }
    chosen = [taken[field][name] for field, name in names.items()]
    values = as_float(*(value for value, _ in chosen))
    _check_one(kind, names, [value.shape for value in values])
    each = zip(names, values, chosen, strict=True)
    found = {field: _stored(given, stored, value) for field, value, (given, stored) in each}
    for field in found.keys() & kind.ranks.keys():
        object.__setattr__(density, field, found[field])
    return found


def _stored(given: Any, stored: Callable, value: Array) -> Array:
    if stored is not log_of or not isinstance(given, np.ndarray):
        return stored(value)
    with np.errstate(divide="ignore", invalid="ignore"):  # on the host, where it compiles nothing
        return constant(np.log(given.astype(float)), value.dtype)


def _check_one(kind: Any, names: dict[str, str], shapes: list[tuple[int, ...]]) -> None:
    """Refuse parameters whose axes are not those of one density, or of different sizes."""
    axes, sizes = [kind._axes.get(field, ()) for field in names], {}
    if any(axes):
        cut = lambda shape, own: shape[max(len(shape) - len(own), 0) :] if kind.shared else shape
        pairs = [(own, cut(shape, own)) for own, shape in zip(axes, shapes, strict=True)]
        alike = lambda size, n: sizes.setdefault(size, n) == n
        fine = all(len(own) == len(core) and all(map(alike, own, core)) for own, core in pairs)
    else:  # of numbers a stack may come as it is
        fine = len(set(shapes) - {()}) < 2
    if not fine:
        wanted = [f"{n} ({', '.join(own)})" for n, own in zip(names.values(), axes, strict=True)]
        raise ValueError(
            f"{kind.__name__} takes {', '.join(wanted)}; it was given shapes "
            f"{', '.join(map(str, shapes))}. For a stack, jax.vmap the class."
        )


def stated(formula: Callable[[Any], Array], *axes: str) -> Any:
    """The property that a formula gives: one number a density, or an array with these axes."""
    formula.__annotations__ = {"return": Float[Array, " ".join(("*stack", *axes))]}  # for pages
    return property(formula)


def of_field(field: str, name: str) -> Any:
    """The property that is one of what a field holds."""
    return property(lambda self: getattr(getattr(self, field), name), doc=f"Of `{field}`.")
