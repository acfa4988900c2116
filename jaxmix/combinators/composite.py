"""Independent fields: a tuple or a dict of densities over a tuple or a dict event."""

from collections import OrderedDict
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity, as_part, check_kind, check_parts
from ._conditioning import check_one_event, filled, plain, typical
from .optional import Optional


class Composite(LogDensity):
    """Density of a record of independent fields: log p(x) = sum_i log p_i(x[i]), in nats.

    Args:
        parts: a tuple, or a dict, of densities; events are tuples, or dicts with the same keys.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> record = jm.Composite({"height": jm.Normal(0, 1), "count": jm.Poisson(2.0)})
        >>> record.log_prob({"height": jnp.array(0.0), "count": jnp.array(0)}).round(4)
        Array(-2.9189, dtype=float32)
    """

    parts: tuple[PyTree, ...] | dict[str, PyTree]

    def __init__(self, parts):
        if not isinstance(parts, Iterable) or hasattr(parts, "dtype"):
            raise TypeError(
                f"Composite takes densities in a tuple or a dict; a {type(parts).__name__} was given."
            )
        # Ordered: a plain dict comes out of any transformation with its keys sorted.
        self.parts = OrderedDict(parts) if isinstance(parts, dict) else tuple(parts)
        for name, part in self.items():
            as_part(f"Field {name!r} of Composite", part)

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(getattr(part, "reparametrised", False) for _, part in self.items())

    def items(self) -> list[tuple]:
        """Pairs of a field's name (its position in a tuple) and its density."""
        if isinstance(self.parts, dict):
            return list(self.parts.items())
        return list(enumerate(self.parts))

    def _check(self, x):
        kind = dict if isinstance(self.parts, dict) else tuple
        names = [name for name, _ in self.items()]
        expected = f"a {kind.__name__} of the fields {names}"
        # Numbers may come as an array, one a field.
        holds = isinstance(x, dict | tuple | list) or bool(getattr(x, "ndim", 0))
        check_kind(self, holds, expected, x)
        given = list(x) if isinstance(x, dict) else list(range(len(x)))
        if set(given) != set(names):
            raise ValueError(f"One event of this Composite is {expected}; it was given {given}.")

    def _log_probs(self, x: PyTree, names: Iterable) -> list[Scalar]:
        """Log-densities of some fields; what one of them refuses is told with its name."""
        found = []
        for name, part in self.items():
            if name in names:
                try:
                    found.append(part.log_prob(x[name]))
                except (TypeError, ValueError) as error:
                    if type(error) not in (TypeError, ValueError):
                        raise
                    raise type(error)(f"Field {name!r}: {error}") from error
        return found

    def check_rows(self, rows: PyTree) -> None:
        check_parts([(part, rows[name]) for name, part in self.items()])

    def log_prob(self, x: PyTree) -> Scalar:
        self._check(x)
        terms = self._log_probs(x, dict(self.items()))
        return sum(terms[1:], terms[0])

    def split(self, event: PyTree, field) -> tuple[Scalar, PyTree]:
        """Log-density of an event's other fields, and the density of this one given them."""
        self._check(event)
        parts = dict(self.items())
        if field not in parts:
            raise ValueError(f"This Composite has the fields {sorted(parts)}, and no {field!r}.")
        terms = self._log_probs(event, parts.keys() - {field})
        part = plain(parts[field])
        if isinstance(part, Optional):
            if part.missing is not None:
                absent = part.missing.log_prob(jnp.asarray(True))
                terms.append(jnp.where(event[field].present, jnp.zeros_like(absent), absent))
            part = part.value
        return sum(terms[1:], terms[0]) if terms else jnp.zeros(()), part

    def conditional(self, event: PyTree, field) -> PyTree:
        """The density of one field's value: that of its part, for fields are independent."""
        check_one_event(self, event)
        return self.split(event, field)[1]

    def marginal(self, fields) -> PyTree:
        """The Composite of some fields, or the density of the one field named.

        Example:
            >>> import jaxmix as jm
            >>> record = jm.Composite({"a": jm.Normal(0, 1), "b": jm.Poisson(2)})
            >>> type(record.marginal("b")).__name__, list(record.marginal(["a"]).parts)
            ('Poisson', ['a'])
        """
        if isinstance(fields, str | int):
            return self.parts[fields]  # pyright: ignore[reportArgumentType, reportCallIssue]
        if isinstance(self.parts, dict):
            return Composite({name: self.parts[name] for name in fields})
        return Composite([self.parts[index] for index in fields])

    def impute(self, event: PyTree, key: Key[Array, ""] | None = None) -> PyTree:
        """A record with its missing fields filled in (means, or draws), its Optionals stripped."""
        check_one_event(self, event)
        if key is None:
            return filled(event, lambda name: typical(self.split(event, name)[1]))
        names = [name for name, _ in self.items()]
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        return filled(event, lambda name: self.split(event, name)[1].sample(keys[name]))

    def sample(self, key: Key[Array, ""]) -> PyTree:
        names = [name for name, _ in self.items()]
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        drawn = {name: part.sample(keys[name]) for name, part in self.items()}
        return drawn if isinstance(self.parts, dict) else tuple(drawn[n] for n in names)
