"""Expectations under many densities from one set of draws, with their errors."""

from .._lazy import directory as _directory
from .._pareto import pareto_k as pareto_k
from .._pareto import psis as psis
from .amis import Rounds as Rounds
from .amis import amis as amis
from .certified.betting import mean_upper as mean_upper
from .certified.calibrate import Threshold as Threshold
from .certified.calibrate import calibrate as calibrate
from .certified.calibrate import draw_labelled as draw_labelled
from .certified.cells import Simplices as Simplices
from .certified.certify import certify as certify
from .certified.max_weight import max_weight as max_weight
from .certified.placement import Placement as Placement
from .certified.placement import place as place
from .certified.result import Certificate as Certificate
from .certified.support import Box as Box
from .certified.tilt import tilt_bound as tilt_bound
from .certified.tilt import tilt_level as tilt_level
from .constants import Constants as Constants
from .constants import bridge as bridge
from .constants import normalising_constants as normalising_constants
from .draws import Draws as Draws
from .draws import allocate as allocate
from .draws import concatenate as concatenate
from .draws import draw as draw
from .estimate import from_table as from_table
from .estimate import imp_est as imp_est
from .family import log_table as log_table
from .joining import merge as merge
from .low_rank import LowRankNormal as LowRankNormal
from .low_rank import MultivariateT as MultivariateT
from .pilot import Pilot as Pilot
from .pilot import adapt as adapt
from .pilot import mixture_of_targets as mixture_of_targets
from .result import Estimate as Estimate
from .stream import block_totals as block_totals
from .stream import estimate_totals as estimate_totals
from .stream import stream as stream
from .tables import Table as Table
from .tables import log_mixtures as log_mixtures
from .totals import Totals as Totals
from .weights import OptimalWeights as OptimalWeights
from .weights import optimal_weights as optimal_weights
from .weights import second_moments as second_moments

__dir__ = _directory(globals())
