"""Regressions of a truth value, a count and a positive number."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._density import made
from ..families._entrances import exp_of, store
from ..families._support import COUNT, POSITIVE, TRUTH
from ..families.bernoulli import Bernoulli
from ..families.gamma import Gamma
from ..families.negative_binomial import NegativeBinomial
from ..families.poisson import Poisson
from .generalised import GeneralisedLinear, Local

FORETOLD = 64  # rounding errors of a positive number


class _OnePredictor(GeneralisedLinear):
    """A regression with one linear predictor, of counts unless another support is declared."""

    responses: ClassVar[Any] = COUNT
    coefficients: Float[Array, "*stack p"]
    intercept: Float[Array, "*stack"]
    offset: bool = eqx.field(static=True)

    def __init__(self, coefficients, intercept, *, offset: bool = False):
        store(self, coefficients=coefficients, intercept=intercept)
        self.offset = offset

    def predictor(self, x: Float[Array, " p"], offset: Any = 0.0) -> Array:
        """The linear predictor at covariates, offset included."""
        return self.predictors(x, offset)[0]


class LogisticRegression(_OnePredictor):
    """Distribution of a truth value whose log-odds are linear in covariates, in nats.

    log p(y | x) = y eta - log(1 + exp(eta)), eta = intercept + <coefficients, x>. An event is a
    pair (y, x), or with `offset` a triple. An M-step is one Newton step.

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        offset: whether events carry an offset of eta (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model = jm.LogisticRegression(jnp.array([1.0]), 0.0)
        >>> model.log_prob((jnp.array(1), jnp.array([0.0]))).round(4)
        Array(-0.6931, dtype=float32)
    """

    responses = TRUTH

    def law(self, eta, shapes) -> Bernoulli:
        return Bernoulli(logits=eta[0])

    def local_log_prob(self, y, eta, shapes):
        return -jax.nn.softplus((1 - 2 * y) * eta[0])

    def _derivatives(self, y, eta, shapes):
        # Of a response foretold by 100 nats they have all their digits.
        yes, no = jax.nn.sigmoid(eta), jax.nn.sigmoid(-eta)
        return Local(y * no - (1 - y) * yes, (yes * no)[None], shapes, shapes)


class PoissonRegression(_OnePredictor):
    """Distribution of a count whose log-rate is linear in covariates, in nats.

    log p(y | x) = y eta - exp(eta) - log y!, eta = intercept + <coefficients, x>. An event is a
    pair (y, x), or with `offset` a triple (y, x, log exposure). An M-step is one Newton step.

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        offset: whether events carry an offset of eta (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model = jm.PoissonRegression(jnp.array([1.0]), 0.0)
        >>> model.log_prob((jnp.array(0), jnp.array([0.0])))
        Array(-1., dtype=float32)
    """

    def law(self, eta, shapes) -> Poisson:
        return Poisson(log_rate=eta[0])


class GammaRegression(_OnePredictor):
    """Gamma density of a positive number whose log-mean is linear in covariates, in nats.

    With mean m = exp(intercept + <coefficients, x>), the shape k and the rate k / m:
    log p(y | x) = k log(k / m) + (k - 1) log y - k y / m - log Gamma(k).

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        shape: the shape k, positive: 1 / k is the squared coefficient of variation; or its
            logarithm as `log_shape`.
        offset: whether events carry an offset of the log-mean (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model = jm.GammaRegression(jnp.array([1.0]), 0.0, 1.0)
        >>> model.log_prob((jnp.array(2.0), jnp.array([0.0])))
        Array(-2., dtype=float32)
    """

    responses = POSITIVE
    shapes: ClassVar[tuple[str, ...]] = ("log_shape",)

    log_shape: Float[Array, "*stack"]
    shape = exp_of("log_shape")

    def __init__(
        self, coefficients, intercept, shape=None, *, log_shape=None, offset: bool = False
    ):
        forms = {"shape": shape, "log_shape": log_shape}
        store(self, coefficients=coefficients, intercept=intercept, **forms)
        self.offset = offset

    def law(self, eta, shapes) -> Gamma:
        return made(Gamma, log_mean=eta[0], log_shape=shapes[0])

    def on_boundary(self, floor):
        # Foretold to rounding: the likelihood has no bound.
        return self.log_shape > -2 * float(np.log(FORETOLD * jnp.finfo(self.log_shape.dtype).eps))


class NegativeBinomialRegression(_OnePredictor):
    """Distribution of an overdispersed count whose log-mean is linear in covariates, in nats.

    With mean m = exp(intercept + <coefficients, x>) and r successes the variance is m + m^2 / r
    (the form called NB2): log p(y | x) = log Gamma(y + r) - log Gamma(r) - log y!
    + r log(r / (r + m)) + y log(m / (r + m)).

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        successes: r, positive, or its logarithm as `log_successes`; statsmodels' alpha is 1 / r.
        offset: whether events carry an offset of the log-mean (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> model = jm.NegativeBinomialRegression(jnp.array([1.0]), 0.0, 1.0)
        >>> model.log_prob((jnp.array(0), jnp.array([0.0]))).round(4)
        Array(-0.6931, dtype=float32)
    """

    shapes: ClassVar[tuple[str, ...]] = ("log_successes",)

    log_successes: Float[Array, "*stack"]
    successes = exp_of("log_successes")

    def __init__(
        self, coefficients, intercept, successes=None, *, log_successes=None, offset: bool = False
    ):
        forms = {"successes": successes, "log_successes": log_successes}
        store(self, coefficients=coefficients, intercept=intercept, **forms)
        self.offset = offset

    def law(self, eta, shapes) -> NegativeBinomial:
        return NegativeBinomial(log_successes=shapes[0], logits=shapes[0] - eta[0])
