"""Expectations under many densities from one set of draws, with their errors."""

from .draws import Draws as Draws
from .draws import allocate as allocate
from .draws import concatenate as concatenate
from .draws import draw as draw
from .draws import log_table as log_table
from .estimate import from_table as from_table
from .estimate import imp_est as imp_est
from .pareto import pareto_k as pareto_k
from .pareto import psis as psis
from .result import Estimate as Estimate
from .tables import Table as Table
from .tables import log_mixtures as log_mixtures
