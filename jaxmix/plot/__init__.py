"""Pictures of models and fits; matplotlib (the extra `plot`) is imported when one is drawn."""

from .._lazy import directory as _directory
from .assignments import assignments as assignments
from .certified import certificate as certificate
from .certified import threshold as threshold
from .choice import merging as merging
from .choice import sweep as sweep
from .errors import influence as influence
from .errors import intervals as intervals
from .fields import fields as fields
from .history import history as history
from .importance import estimates as estimates
from .importance import proposals as proposals
from .importance import weights as weights
from .mixture import mixture as mixture
from .objectives import comparison as comparison

__dir__ = _directory(globals())
