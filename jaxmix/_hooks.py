"""What a density, or a source of data, may offer beyond what it must: one hook, one Protocol.

A class offers a hook by having its methods, of whatever base it is; who asks does so by
`isinstance(density, Labelled)`. What a wrapper (`jm.frozen`, `jm.tie`) passes on counts as its own.
"""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, PyTree, Scalar

_ProtocolMeta: Any = type(Protocol)


class _Hook(_ProtocolMeta):
    """Asks an instance, and not its class: `__getattr__` of a wrapper has its say.

    `typing.runtime_checkable` does so up to Python 3.11 only.
    """

    def __instancecheck__(cls, instance: Any) -> bool:  # pyright: ignore[reportSelfClsParameterName]
        names = {*vars(cls), *vars(cls).get("__annotations__", {})}
        names = [name for name in names if not name.startswith("_")]
        return all(getattr(instance, name, None) is not None for name in names)


@runtime_checkable
class Labelled(Protocol, metaclass=_Hook):
    """A mixture: one hidden label an event."""

    def joint_log_probs(self, x: PyTree) -> Float[Array, " k"]:
        """Log-density of one event with each label, in nats."""
        ...


@runtime_checkable
class TellsPosterior(Protocol, metaclass=_Hook):
    """A mixture that has its own way to the posterior of the label."""

    def posterior(self, x: PyTree) -> Float[Array, " k"]:
        """Probability of each label given one event."""
        ...


@runtime_checkable
class TellsParts(Protocol, metaclass=_Hook):
    """A mixture whose log-weights are kept apart from its densities."""

    def log_parts(self, x: PyTree) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        """Log-weights, and the log-density of one event under each component."""
        ...


@runtime_checkable
class ByRows(Protocol, metaclass=_Hook):
    """A density that lays out many events by itself, such as those of a chunk."""

    def rows_log_prob(self, rows: PyTree) -> Float[Array, " rows"]:
        """Log-densities of events stacked along a leading axis."""
        ...


@runtime_checkable
class ByOutcomes(Protocol, metaclass=_Hook):
    """A law of labels that has the log-probabilities of all of them at once."""

    def outcome_log_probs(self, size: int) -> Float[Array, " size"]:
        """Log-probabilities of 0, ..., size - 1."""
        ...


@runtime_checkable
class ByItems(Protocol, metaclass=_Hook):
    """A density of an item that sums over a sequence's items before it meets its parameters."""

    def items_log_prob(self, items: PyTree, used: Array) -> Float[Array, " rows"]:
        """Sums over the used items of each row, of items (t * rows, ...) and `used` (t, rows)."""
        ...


@runtime_checkable
class Splits(Protocol, metaclass=_Hook):
    """A density of records or vectors that can be conditioned on some of their fields."""

    def split(self, event: PyTree, field: Any) -> tuple[Scalar, PyTree]:
        """Log-density of the other fields of an event, and the density of `field` given them."""
        ...


@runtime_checkable
class SeesGaps(Protocol, metaclass=_Hook):
    """A density of vectors some of whose coordinates may be missing (NaN)."""

    def observed_log_prob(self, event: PyTree) -> Scalar:
        """Log-density of the coordinates that are there."""
        ...


@runtime_checkable
class TakesNaN(Protocol, metaclass=_Hook):
    """A density under which a coordinate that is NaN is a missing one, if it says True."""

    nan_is_missing: bool


@runtime_checkable
class Marginalises(Protocol, metaclass=_Hook):
    """A density of records or vectors that knows the density of some of their fields."""

    def marginal(self, field: Any) -> PyTree:
        """The density of a field by itself."""
        ...


@runtime_checkable
class ChecksRows(Protocol, metaclass=_Hook):
    """A density that not all rows determine."""

    def check_rows(self, rows: PyTree, *names: Any) -> None:
        """Refuse rows (arrays of NumPy) of which no fit would come, by a ValueError.

        A regression also takes the names of its covariates.
        """
        ...


@runtime_checkable
class SaysDomain(Protocol, metaclass=_Hook):
    """A density that says where its events lie."""

    domain: Any  # a `jm.Domain`


@runtime_checkable
class Source(Protocol, metaclass=_Hook):
    """Data that do not fit in memory."""

    def batches(self) -> Iterator[PyTree]:
        """All rows in turn, in batches: trees of arrays with a leading axis."""
        ...


@runtime_checkable
class TakesRows(Protocol, metaclass=_Hook):
    """A source that can give rows by number."""

    num_rows: int

    def take(self, index: Any) -> PyTree:
        """The rows of these numbers."""
        ...
