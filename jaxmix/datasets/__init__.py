"""Small real tables that ship with the package."""

from .penguins import Penguins as Penguins
from .penguins import penguins as penguins
