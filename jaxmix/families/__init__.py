"""Families of densities, one a file."""

from .bernoulli import Bernoulli as Bernoulli
from .bernoulli_set import BernoulliSet as BernoulliSet
from .categorical import Categorical as Categorical
from .diagonal_normal import DiagonalNormal as DiagonalNormal
from .diagonal_normal import SphericalNormal as SphericalNormal
from .exponential import Exponential as Exponential
from .gamma import Gamma as Gamma
from .geometric import Geometric as Geometric
from .multivariate_normal import MultivariateNormal as MultivariateNormal
from .multivariate_normal import TiedMultivariateNormal as TiedMultivariateNormal
from .normal import LogNormal as LogNormal
from .normal import Normal as Normal
from .poisson import Poisson as Poisson
from .student_t import StudentT as StudentT
