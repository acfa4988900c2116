"""Which model: sweeps, tests and merges of mixtures, and moves out of poor optima."""

from .._lazy import directory as _directory
from .likelihood_ratio import LikelihoodRatio as LikelihoodRatio
from .likelihood_ratio import likelihood_ratio_test as likelihood_ratio_test
from .merging import Merging as Merging
from .merging import merge_components as merge_components
from .moves import Moves as Moves
from .moves import split_and_merge as split_and_merge
from .sweep import Sweep as Sweep
from .sweep import gaussian_templates as gaussian_templates
from .sweep import sweep as sweep

__dir__ = _directory(globals())
