"""Pictures of models and fits; matplotlib (the extra `plot`) is imported when one is drawn."""

from .assignments import assignments as assignments
from .history import history as history
from .mixture import mixture as mixture
