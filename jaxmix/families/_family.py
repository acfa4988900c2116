"""The words that a family is written in, together."""

from .._density import LogDensity as LogDensity
from .._density import made as made
from .._density import one_event as one_event
from .._exponential import ExponentialFamily as ExponentialFamily
from .._exponential import Moments as Moments
from .._exponential import ProductForm as ProductForm
from .._exponential import Refittable as Refittable
from .._exponential import Total as Total
from .._newton import newton_maximum as newton_maximum
from .._numerics import as_float as as_float
from .._numerics import times as times
from ._entrances import entrance as entrance
from ._entrances import exp_of as exp_of
from ._entrances import length_of as length_of
from ._entrances import logit as logit
from ._entrances import logs as logs
from ._entrances import of_field as of_field
from ._entrances import sigmoid_of as sigmoid_of
from ._special import LOG_2_PI as LOG_2_PI
from ._support import COUNT as COUNT
from ._support import NON_NEGATIVE as NON_NEGATIVE
from ._support import POSITIVE as POSITIVE
from ._support import TRIALS as TRIALS
from ._support import UNIT as UNIT
from ._support import Domain as Domain
from ._support import outside as outside
