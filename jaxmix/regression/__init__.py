"""Densities given covariates: the natural parameter of a family, linear in features."""

from .counts_and_rates import GammaRegression as GammaRegression
from .counts_and_rates import LogisticRegression as LogisticRegression
from .counts_and_rates import NegativeBinomialRegression as NegativeBinomialRegression
from .counts_and_rates import PoissonRegression as PoissonRegression
from .gated import Gated as Gated
from .lifted import Regression as Regression
from .linear import LinearRegression as LinearRegression
from .linear import MultivariateLinearRegression as MultivariateLinearRegression
from .multinomial import MultinomialRegression as MultinomialRegression
