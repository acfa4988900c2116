"""Small real tables that ship with the package."""

from .._lazy import directory as _directory
from .penguins import Penguins as Penguins
from .penguins import penguins as penguins

__dir__ = _directory(globals())
