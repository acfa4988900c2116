"""Expectations under many densities from one set of draws, with their errors."""

from .adapt import Pilot as Pilot
from .adapt import adapt as adapt
from .adapt import mixture_of_targets as mixture_of_targets
from .draws import Draws as Draws
from .draws import allocate as allocate
from .draws import concatenate as concatenate
from .draws import draw as draw
from .draws import log_table as log_table
from .estimate import from_table as from_table
from .estimate import imp_est as imp_est
from .low_rank import LowRankNormal as LowRankNormal
from .low_rank import MultivariateT as MultivariateT
from .pareto import pareto_k as pareto_k
from .low_rank import LowRankNormal as LowRankNormal
from .low_rank import MultivariateT as MultivariateT
from .pareto import psis as psis
from .result import Estimate as Estimate
from .tables import Table as Table
from .tables import log_mixtures as log_mixtures
from .weights import OptimalWeights as OptimalWeights
from .weights import optimal_weights as optimal_weights
from .weights import second_moments as second_moments
