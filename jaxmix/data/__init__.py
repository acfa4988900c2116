"""Between Python rows or tables, and event pytrees."""

from .decode import decode as decode
from .encode import encode as encode
from .labels import OTHER as OTHER
from .partition import partition as partition
