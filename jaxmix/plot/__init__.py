"""Pictures of models and fits; matplotlib (the extra `plot`) is imported when one is drawn."""

from .._lazy import directory as _directory
from .certificate import certificate as certificate
from .comparisons import comparison as comparison
from .comparisons import merging as merging
from .comparisons import sweep as sweep
from .fields import fields as fields
from .fits import history as history
from .fits import influence as influence
from .fits import intervals as intervals
from .importance import estimates as estimates
from .importance import proposals as proposals
from .importance import threshold as threshold
from .importance import weights as weights
from .mixture import assignments as assignments
from .mixture import mixture as mixture

__dir__ = _directory(globals())
