"""Every objective is a linear combination of log-mean-exps over subsets of one set of weights.

`_combine` is the core; `_fixed` and `_random` evaluate it, `_rules` says who learns what.
"""

from ._combine import Blocks as Blocks
from ._combine import Combined as Combined
from ._combine import Halves as Halves
from ._combine import Prefixes as Prefixes
from ._combine import combine as combine
from ._compare import Comparison as Comparison
from ._compare import compare as compare
from ._evidence import Evidence as Evidence
from ._evidence import jackknifed as jackknifed
from ._evidence import log_evidence as log_evidence
from ._evidence import posterior_mean as posterior_mean
from ._fixed import FixedObjective as FixedObjective
from ._laws import GeometricLevels as GeometricLevels
from ._laws import HarmonicCounts as HarmonicCounts
from ._laws import InfiniteVarianceWarning as InfiniteVarianceWarning
from ._multilevel import Multilevel as Multilevel
from ._multilevel import Sumo as Sumo
from ._multilevel import multilevel as multilevel
from ._multilevel import sumo as sumo
from ._named import ciwae as ciwae
from ._named import cubo as cubo
from ._named import delta_method as delta_method
from ._named import elbo as elbo
from ._named import eubo as eubo
from ._named import iwae as iwae
from ._named import jackknife as jackknife
from ._named import miwae as miwae
from ._named import piwae as piwae
from ._named import renyi as renyi
from ._random import RandomObjective as RandomObjective
from ._rules import GUIDE_RULES as GUIDE_RULES
from ._terms import DeltaCorrection as DeltaCorrection
from ._terms import LeaveOut as LeaveOut
from ._terms import Posterior as Posterior
from ._terms import Tempered as Tempered
from ._tree import Tree as Tree
