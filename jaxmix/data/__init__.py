"""Between Python rows or tables, and event pytrees."""

# Data larger than memory, for `jm.fit`.
from .decode import decode as decode
from .encode import encode as encode
from .infer import infer_template as infer_template
from .labels import OTHER as OTHER
from .partition import partition as partition
from .save import load as load
from .save import save as save
from .sources import Arrays as Arrays
from .sources import Batches as Batches
from .sources import NpyFile as NpyFile
from .sources import NpyFolder as NpyFolder
from .sources import Parquet as Parquet
