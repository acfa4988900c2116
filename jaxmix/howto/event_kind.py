"""Add an event kind: what a table's values become as arrays, and back; one registration.

A density whose events are numbers or vectors needs none: its `domain = jm.Domain(...)` says enough.
For others `jm.event_kind` registers, by the density's class, what `jm.encode` and `jm.decode` do,
and, where they should differ from those of numbers, `describe` (reports), `draw` (pictures) and
`typical` (what `impute` puts in place of a missing one). The class may then be saved by `jm.save`.

- `encode(density, values, where)` gives NumPy arrays with the rows first, one or a tree of them; a
  value that is none raises `where.refuse(row, value, "what was expected")`, which names the field.
- Missing values never reach it: a field that may be missing is a `jm.Optional` of the density.
- `decode(density, events)` gets the same arrays, and gives a list of Python values.

Example:
    >>> from typing import Any
    >>> import jax, jax.numpy as jnp, jaxmix as jm, numpy as np
    >>> class TimeOfDay(jm.LogDensity):  # "23:30" as an angle; log p(x) = log q(x), q on a circle
    ...     angle: Any
    ...
    ...     def log_prob(self, x):
    ...         return self.angle.log_prob(x)
    >>> def encode(density, values, where):
    ...     minutes = np.empty(len(values))
    ...     for row, value in enumerate(values):
    ...         try:
    ...             hours, rest = value.split(":")
    ...             minutes[row] = 60 * int(hours) + int(rest)
    ...         except (AttributeError, ValueError):
    ...             raise where.refuse(row, value, 'a time of day such as "9:05"') from None
    ...     return minutes * np.pi / 720
    >>> def decode(density, events):
    ...     minutes = np.round(np.asarray(events) * 720 / np.pi).astype(int) % 1440
    ...     return [f"{m // 60}:{m % 60:02}" for m in minutes.tolist()]
    >>> middle = lambda density, whole: density.angle.loc
    >>> jm.event_kind(TimeOfDay, encode=encode, decode=decode, typical=middle)
    >>> record = jm.Composite({"at": jm.Optional(TimeOfDay(jm.VonMises.template()))})
    >>> rows = [{"at": time} for time in ("23:30", "0:20", None, "0:10")]
    >>> model = jm.em.run(record, data := jm.encode(record, rows)).model
    >>> jm.decode(model, jax.vmap(model.impute)(data))[2]
    {'at': '0:00'}
    >>> jm.encode(record, [{"at": 12}])
    Traceback (most recent call last):
    ValueError: Row 0, field at: 12 was given, a time of day such as "9:05" was expected.
"""
