"""jaxmix: mixtures and everything that is a logarithm of an average, as JAX pytrees."""

import typing as _typing

from . import _command as _command  # first: the imports below take a second
from ._lazy import lazily as _lazily

# Densities of one event; `jax.vmap` adds every batch axis.
from ._density import LogDensity as LogDensity
from ._exponential import ExponentialFamily as ExponentialFamily
from ._refittable import Moments as Moments
from ._refittable import Total as Total
from .families._support import Domain as Domain
from ._refittable import Refittable as Refittable
from ._events import event_kind as event_kind
from ._check import Checked as Checked
from ._check import check_density as check_density

# Families.
from .families import Bernoulli as Bernoulli
from .families import BernoulliSet as BernoulliSet
from .families import Beta as Beta
from .families import Binomial as Binomial
from .families import Categorical as Categorical
from .families import ContinuousBernoulli as ContinuousBernoulli
from .families import DiagonalNormal as DiagonalNormal
from .families import Dirichlet as Dirichlet
from .families import Exponential as Exponential
from .families import FactorAnalysis as FactorAnalysis
from .families import Gamma as Gamma
from .families import Geometric as Geometric
from .families import IntegerCategorical as IntegerCategorical
from .families import InverseGaussian as InverseGaussian
from .families import Kumaraswamy as Kumaraswamy
from .families import Laplace as Laplace
from .families import LogNormal as LogNormal
from .families import MatrixNormal as MatrixNormal
from .families import Multinomial as Multinomial
from .families import MultivariateNormal as MultivariateNormal
from .families import NegativeBinomial as NegativeBinomial
from .families import NoisyEvent as NoisyEvent
from .families import NoisyNormal as NoisyNormal
from .families import Normal as Normal
from .families import PartialDiagonalNormal as PartialDiagonalNormal
from .families import PartialNormal as PartialNormal
from .families import Poisson as Poisson
from .families import ProbabilisticPCA as ProbabilisticPCA
from .families import Skellam as Skellam
from .families import SphericalNormal as SphericalNormal
from .families import SpikeAndSlab as SpikeAndSlab
from .families import StudentT as StudentT
from .families import TiedMultivariateNormal as TiedMultivariateNormal
from .families import TruncatedNormal as TruncatedNormal
from .families import CensoredNormal as CensoredNormal
from .families import Uniform as Uniform
from .families import VonMises as VonMises
from .families import VonMisesFisher as VonMisesFisher
from .families import Weibull as Weibull
from .families import Wishart as Wishart
from .families import Zeta as Zeta

# Densities made of densities.
from .combinators import Censored as Censored
from .combinators import Composite as Composite
from .combinators import Conditional as Conditional
from .combinators import Discretised as Discretised
from .combinators import HiddenMarkov as HiddenMarkov
from .combinators import HierarchicalMixture as HierarchicalMixture
from .combinators import Hurdle as Hurdle
from .combinators import IntervalEvent as IntervalEvent
from .combinators import JointMixture as JointMixture
from .combinators import LabelledEvent as LabelledEvent
from .combinators import MarkovChain as MarkovChain
from .combinators import Mixture as Mixture
from .combinators import MixtureSameFamily as MixtureSameFamily
from .combinators import Optional as Optional
from .combinators import OptionalEvent as OptionalEvent
from .combinators import ProductOfExperts as ProductOfExperts
from .combinators import Repeated as Repeated
from .combinators import Scaled as Scaled
from .combinators import SemiSupervised as SemiSupervised
from .combinators import Sequence as Sequence
from .combinators import SequenceEvent as SequenceEvent
from .combinators import Truncated as Truncated
from .combinators import ZeroInflated as ZeroInflated
from ._stand_ins import constant as constant
from .combinators import frozen as frozen
from .combinators import gaussian_mixture as gaussian_mixture
from .combinators import mixture_of as mixture_of
from .combinators import tie as tie
from .combinators import trainable as trainable
from .combinators import unwrap as unwrap

# Densities given covariates.
from .regression import GammaRegression as GammaRegression
from .regression import Gated as Gated
from .regression import LinearRegression as LinearRegression
from .regression import LogisticRegression as LogisticRegression
from .regression import MultinomialRegression as MultinomialRegression
from .regression import MultivariateLinearRegression as MultivariateLinearRegression
from .regression import NegativeBinomialRegression as NegativeBinomialRegression
from .regression import PoissonRegression as PoissonRegression
from .regression import Regression as Regression

# What came of an iterative method.
from ._results import RESULTS as RESULTS

# Compiled programs: their life beyond the process, the digits of their products.
from ._compile import compilation_cache as compilation_cache
from ._platform import products_in as products_in

# What follows is imported when it is first used.
if _typing.TYPE_CHECKING:
    # Expectation-maximisation.
    from . import em as em
    from .em import Fit as Fit
    from .em import fit as fit

    # Which model: sweeps over models, tests, merges and moves.
    from . import choice as choice

    # Importance sampling with mixtures.
    from . import importance as importance
    from .importance import imp_est as imp_est

    # Objectives: bounds and unbiased estimates of log p(x).
    from . import objectives as objectives
    from .objectives import ciwae as ciwae
    from .objectives import delta_method as delta_method
    from .objectives import elbo as elbo
    from .objectives import iwae as iwae
    from .objectives import jackknife as jackknife
    from .objectives import log_evidence as log_evidence
    from .objectives import miwae as miwae
    from .objectives import multilevel as multilevel
    from .objectives import piwae as piwae
    from .objectives import renyi as renyi
    from .objectives import sumo as sumo

    # Pictures, and small real tables to try things on.
    from . import datasets as datasets
    from . import plot as plot

    # Python rows and tables, and events; data larger than memory.
    from . import data as data
    from .data import decode as decode
    from .data import encode as encode
    from .data import infer_template as infer_template
    from .data import load as load
    from .data import save as save
    from .data import partition as partition

    # Divergences between densities.
    from . import divergences as divergences
    from .divergences import Divergence as Divergence
    from .divergences import empirical_kl as empirical_kl
    from .divergences import kl_divergence as kl_divergence

    # Distributions of other libraries as densities, and ours as theirs. See also `jaxmix.sklearn`.
    from . import adapters as adapters
else:
    __getattr__, __dir__ = _lazily(
        __name__,
        globals(),
        {
            "em": "Fit fit",
            "choice": "",
            "importance": "imp_est",
            "objectives": "ciwae delta_method elbo iwae jackknife log_evidence miwae multilevel "
            "piwae renyi sumo",
            "datasets": "",
            "plot": "",
            "data": "decode encode infer_template load save partition",
            "divergences": "Divergence empirical_kl kl_divergence",
            "adapters": "",
        },
    )
