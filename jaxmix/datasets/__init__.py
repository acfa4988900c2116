"""Small real tables that ship with the package."""

from .._lazy import public as _public
from .penguins import Penguins as Penguins
from .penguins import penguins as penguins


def __dir__() -> list[str]:
    return _public(globals())
