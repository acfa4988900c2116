"""Kinds of events: one registry of what is done with an event beside its log-density.

Each function dispatches on the density whose events are meant, wrappers and mixtures taken off.
The house's kinds are registered where their words are, in `data`, `plot` and the report's.
"""

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import PyTree

CLASSES: list[type] = []  # of a user's own, which files may name


def _asked(what: str) -> Any:
    def default(density, *args):
        del args
        raise NotImplementedError(f"Events of {type(density).__name__} have no {what}.")

    return functools.singledispatch(default)


encode = _asked("encode")  # (density, values, where): Python values to stacked arrays of NumPy
decode = _asked("decode")  # (density, events): stacked arrays of NumPy to a list of Python values
describe = _asked("describe")  # (density, rows, kurtosis): a few words, with errors of so many rows
draw = _asked("draw")  # (density, axes, events, shares, palette, under): the panel of a field
typical = _asked("typical")  # (density, whole): the value that stands for a missing one
KINDS = (encode, decode, describe, draw, typical)


def event_kind(
    density: type,
    *,
    encode: Callable[..., PyTree] | None = None,
    decode: Callable[..., list] | None = None,
    describe: Callable[..., str] | None = None,
    draw: Callable[..., None] | None = None,
    typical: Callable[..., PyTree] | None = None,
) -> None:
    """Say what becomes of the events of a density of one's own: one registration for all rooms.

    A density whose events are numbers or vectors needs none: a `domain = jm.Domain(...)` says
    enough. What is not given is as of numbers. The class may be saved without `classes=`.

    Args:
        density: the class.
        encode: (density, values, where) to NumPy arrays stacked along a leading axis, for
            `jm.encode`; `raise where.refuse(row, value, "what was expected")` names a bad value.
        decode: (density, events) to a list of Python values, for `jm.decode`.
        describe: (density, rows, kurtosis) to a few words, for reports of tables; rows may be None.
        draw: (density, axes, events, shares, palette, under), the panel of a field in
            `jm.plot.fields`: shares (rows, components) are posterior probabilities, `under(events)`
            each component's density.
        typical: (density, whole) to the event that stands for a missing one, in `impute`; whole is
            the mixture, or the density itself.

    Example:
        >>> import jax, jaxmix as jm, numpy as np
        >>> class Impedance(jm.LogDensity):  # of a complex number
        ...     parts: jm.DiagonalNormal
        ...
        ...     def log_prob(self, x):
        ...         return self.parts.log_prob(x)
        >>> jm.event_kind(
        ...     Impedance,
        ...     encode=lambda density, values, where: np.array([[z.real, z.imag] for z in values]),
        ...     decode=lambda density, events: [complex(*pair) for pair in events.tolist()],
        ...     typical=lambda density, whole: density.parts.mean,
        ... )
        >>> field = jm.Optional(Impedance(jm.DiagonalNormal.template(2)))
        >>> rows = [{"z": 1 + 2j, "n": 3}, {"z": None, "n": 0}, {"z": 3 - 1j, "n": 2}]
        >>> record = jm.Composite({"z": field, "n": jm.Poisson(1.0)})
        >>> model = jm.em.run(record, data := jm.encode(record, rows)).model
        >>> jm.decode(model, jax.vmap(model.impute)(data))[1]
        {'z': (2+0.5j), 'n': 0}
    """
    given = (encode, decode, describe, draw, typical)
    for registry, function in zip(KINDS, given, strict=True):
        if function is not None:
            registry.register(density, function)
    if density not in CLASSES:
        CLASSES.append(density)
