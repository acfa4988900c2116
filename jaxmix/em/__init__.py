"""Expectation-maximisation: tilt, differentiate, refit."""

from .bootstrap import Bootstrap as Bootstrap
from .bootstrap import bootstrap as bootstrap
from .bootstrap import matched as matched
from .expected import expected_stats as expected_stats
from .fit import fit as fit
from .information import Record as Record
from .initialise import init as init
from .maximise import Prior as Prior
from .online import Online as Online
from .online import online as online
from .posterior import Posterior as Posterior
from .posterior import posterior as posterior
from .run import Solution as Solution
from .run import run as run
from .run import step as step
from .sharded import shard_rows as shard_rows
from .solution import Fit as Fit
from .solution import Restarts as Restarts
from .solve import FixedPoint as FixedPoint
from .solve import fixed_point as fixed_point
from .solve import solve as solve
from .state import History as History
from .uncertainty import Interval as Interval
from .uncertainty import influence as influence
from .uncertainty import profile as profile
from .uncertainty import standard_errors as standard_errors
