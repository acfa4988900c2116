"""Expectation-maximisation: tilt, differentiate, refit. START HERE, then read `solver.py`.

In this order: `solver` (and why a loop stops), `state`, `run` (the step and the one compiled loop;
`accelerate` has further solvers); `parts`, `expected`, `product_form`, `chunks` (a pass; `sharded`:
over devices); `m_step`; `entry`, `checks` (what a call is given); `fit`, `drive` (the one loop on the
host; `solution` is what it gives); `solve`, `residual` (rest). Rooms of their own
are `search` (the starts of a fit, and which of them go on), `streaming` (data that do not fit in
memory), `priors` and `uncertainty`.

- leaf: a density that an M-step refits from statistics; a stack of them is one leaf.
- loose arrays: parameters without statistics, moved by a gradient step.
- pass: one look at all rows under a model, for log-likelihood and statistics; made by chunks.
- step: an M-step, a solver's proposal, a pass under it, a verdict.
- loop: steps until one of its rules ends it, the same under every entry.
- rules: what a loop goes by: its solver, prior, limits, and how it passes over the data.
- block: what runs between two looks of the host; for lanes, one round.
- lane: one of several fits side by side: a restart, or a fit under `vmap`.
- prior: pseudo-statistics that join the data's; a floor is one that keeps variances above 0.
- origin: the point about which a leaf's statistics are residuals.
- bucket: the shape that others are padded to, at weight or probability 0.
- rest: where a further step changes nothing but rounding; `residual` vanishes there.
"""

from .._lazy import directory as _directory
from .._platform import sized_for as sized_for
from .accelerate import LBFGS as LBFGS
from .accelerate import Guarded as Guarded
from .accelerate import Squarem as Squarem
from .expected import expected_stats as expected_stats
from .fit import fit as fit
from .m_step import MStep as MStep
from .m_step import m_step as m_step
from .m_step import recentre as recentre
from .priors.conjugacy import InverseGamma as InverseGamma
from .priors.conjugacy import InverseWishart as InverseWishart
from .priors.conjugacy import NormalInverseGamma as NormalInverseGamma
from .priors.conjugacy import NormalInverseWishart as NormalInverseWishart
from .priors.conjugacy import PseudoEvents as PseudoEvents
from .priors.conjugacy import PseudoRows as PseudoRows
from .priors.conjugacy import Ridge as Ridge
from .priors.conjugate_prior import conjugate_prior as conjugate_prior
from .priors.prior import Prior as Prior
from .run import Solution as Solution
from .run import run as run
from .run import step as step
from .search.initialise import init as init
from .sharded import shard_components as shard_components
from .sharded import shard_rows as shard_rows
from .solution import Fit as Fit
from .solution import Restarts as Restarts
from .solve import FixedPoint as FixedPoint
from .solve import fixed_point as fixed_point
from .solve import solve as solve
from .solver import PlainEM as PlainEM
from .solver import Point as Point
from .solver import Proposal as Proposal
from .solver import Solver as Solver
from .solver import Verdict as Verdict
from .state import History as History
from .streaming.online import Online as Online
from .streaming.online import online as online
from .uncertainty.bootstrap import Bootstrap as Bootstrap
from .uncertainty.bootstrap import bootstrap as bootstrap
from .uncertainty.bootstrap import matched as matched
from .uncertainty.errors import Interval as Interval
from .uncertainty.errors import Posterior as Posterior
from .uncertainty.errors import influence as influence
from .uncertainty.errors import posterior as posterior
from .uncertainty.errors import profile as profile
from .uncertainty.errors import standard_errors as standard_errors
from .uncertainty.record import Record as Record

__dir__ = _directory(globals())
