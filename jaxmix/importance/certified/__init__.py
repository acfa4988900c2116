"""Bounds over whole regions of parameters, with a proof."""

from .betting import mean_upper as mean_upper
from .calibrate import Threshold as Threshold
from .calibrate import calibrate as calibrate
from .calibrate import draw_labelled as draw_labelled
from .cells import Simplices as Simplices
from .certify import certify as certify
from .max_weight import max_weight as max_weight
from .placement import Placement as Placement
from .placement import place as place
from .result import Certificate as Certificate
from .support import Box as Box
from .tilt import tilt_bound as tilt_bound
from .tilt import tilt_level as tilt_level
