"""Families of densities, one a file."""

from .categorical import Categorical as Categorical
from .diagonal_normal import DiagonalNormal as DiagonalNormal
from .diagonal_normal import SphericalNormal as SphericalNormal
from .multivariate_normal import MultivariateNormal as MultivariateNormal
from .multivariate_normal import TiedMultivariateNormal as TiedMultivariateNormal
from .normal import LogNormal as LogNormal
from .normal import Normal as Normal
