"""Between Python rows or tables, and event pytrees."""

from .._lazy import directory as _directory
from .decode import decode as decode
from .encode import encode as encode
from .folds import CrossValidated as CrossValidated
from .folds import cross_validate as cross_validate
from .folds import k_fold as k_fold
from .folds import partition as partition
from .imputed import Imputed as Imputed
from .imputed import imputed as imputed
from .infer import infer_template as infer_template
from .labels import OTHER as OTHER
from .labels import reserve as reserve
from .npy import NpyFile as NpyFile
from .npy import NpyFolder as NpyFolder
from .save import load as load
from .save import save as save
from .sources import Arrays as Arrays
from .sources import Batches as Batches
from .sources import Parquet as Parquet

__dir__ = _directory(globals())
