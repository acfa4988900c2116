"""Densities made of densities."""

from ._lengths import SequenceEvent as SequenceEvent
from .composite import Composite as Composite
from .conditional import Conditional as Conditional
from .frozen import Frozen as Frozen
from .frozen import frozen as frozen
from .frozen import trainable as trainable
from .frozen import unwrap as unwrap
from .gaussian import gaussian_mixture as gaussian_mixture
from .hidden_markov import HiddenMarkov as HiddenMarkov
from .hierarchical import HierarchicalMixture as HierarchicalMixture
from .joint import JointMixture as JointMixture
from .markov import MarkovChain as MarkovChain
from .mixture import AbstractMixture as AbstractMixture
from .mixture import Mixture as Mixture
from .mixture import MixtureSameFamily as MixtureSameFamily
from .mixture import mixture_of as mixture_of
from .optional import Optional as Optional
from .optional import OptionalEvent as OptionalEvent
from .repeated import Repeated as Repeated
from .semi_supervised import LabelledEvent as LabelledEvent
from .semi_supervised import SemiSupervised as SemiSupervised
from .sequence import Sequence as Sequence
from .tied import Tied as Tied
from .tied import tie as tie
from .zero_inflated import ZeroInflated as ZeroInflated
