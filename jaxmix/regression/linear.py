"""Linear regression with normal errors, of one response or of several."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._density import made
from ..families._entrances import exp_of, store
from ..families._factors import (
    COVARIANCE,
    HIGHEST,
    covariance_of,
    precision_factor,
    product,
    whitener,
)
from ..families._moments import at_floor
from ..families.multivariate_normal import MultivariateNormal
from ..families.normal import Normal
from .design import joined, response_of, taken_apart
from .linear_form import LinearForm, Residuals


class LinearRegression(LinearForm):
    """Normal density of a response that is linear in covariates, in nats.

    log p(y | x) = log N(y; intercept + <coefficients, x>, scale). An event is a pair (y, x), or
    with `offset` a triple (y, x, offset) whose last number is added to the mean. The M-step is
    weighted least squares on residuals about the coefficients before, so that it refines itself.

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        scale: standard deviation of the errors, positive; or its logarithm as `log_scale`.
        offset: whether events carry an offset (static).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> line = jm.LinearRegression(jnp.array([2.0]), 1.0, 0.5)
        >>> line.log_prob((jnp.array(3.0), jnp.array([1.0]))).round(4)  # N(3; 3, 0.5)
        Array(-0.2258, dtype=float32)
        >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
        >>> fit = jm.em.run(jm.LinearRegression.template(1), (jnp.array([1.0, 2.9, 5.1, 7.0]), x))
        >>> round(float(fit.model.coefficients[0]), 4), round(float(fit.model.intercept), 4)
        (2.02, 0.97)
    """

    coefficients: Float[Array, "*stack p"]
    intercept: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    offset: bool = eqx.field(static=True)
    scale = exp_of("log_scale")

    def __init__(
        self, coefficients, intercept, scale=None, *, log_scale=None, offset: bool = False
    ):
        forms = {"scale": scale, "log_scale": log_scale}
        store(self, coefficients=coefficients, intercept=intercept, **forms)
        self.offset = offset

    num_responses = property(lambda self: 1)
    factor_of_errors = property(lambda self: -self.log_scale[..., None, None])
    origin = property(lambda self: joined(self.coefficients, self.intercept)[..., None, :])

    def given(self, x: Float[Array, " p"], offset: Any = 0.0) -> Normal:
        """The density of the response given covariates.

        Example:
            >>> import jaxmix as jm, jax.numpy as jnp
            >>> jm.LinearRegression(jnp.array([2.0]), 1.0, 0.5).given(jnp.array([1.0])).mean
            Array(3., dtype=float32)
        """
        mean = jnp.dot(self.coefficients, x, precision=HIGHEST) + self.intercept + offset
        return Normal(mean, log_scale=self.log_scale)

    def taken(self, event):
        y, x, offset = taken_apart(event, self.num_features, self.offset, self.log_scale.dtype)
        return (response_of(y, (), self.log_scale.dtype) - offset)[None], x

    def placed(self, rows, covariance):
        lines = {"coefficients": rows[..., 0, :-1], "intercept": rows[..., 0, -1]}
        return self._replace(**lines, log_scale=0.5 * jnp.log(covariance[..., 0, 0]))

    def on_boundary(self, floor: Residuals):
        return at_floor(jnp.exp(2 * self.log_scale), floor.square[..., 0, 0], 0 * self.log_scale)


class MultivariateLinearRegression(LinearForm):
    """Normal density of a vector that is linear in covariates, with a full covariance, in nats.

    log p(y | x) = log N(y; intercept + coefficients x, covariance). An event is a pair (y, x).

    Args:
        coefficients: matrix (r, p).
        intercept: vector (r,).
        covariance: positive definite matrix (r, r) of the errors; or `scale_tril`, `precision` or
            `factor` instead, as in `MultivariateNormal`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> plane = jm.MultivariateLinearRegression(jnp.ones((2, 1)), jnp.zeros(2), jnp.eye(2))
        >>> plane.log_prob((jnp.ones(2), jnp.ones(1))).round(4)
        Array(-1.8379, dtype=float32)
    """

    coefficients: Float[Array, "*stack r p"]
    intercept: Float[Array, "*stack r"]
    factor: Float[Array, "*stack r r"]
    triangular: ClassVar[tuple[str, ...]] = ("factor",)
    forms = COVARIANCE
    num_responses = property(lambda self: self.intercept.shape[-1])
    covariance = property(lambda self: covariance_of(self.factor))
    factor_of_errors = property(lambda self: self.factor)
    origin = property(lambda self: joined(self.coefficients, self.intercept))

    def __init__(self, coefficients, intercept, covariance=None, *, scale_tril=None,
                 precision=None, factor=None):  # fmt: skip
        forms = {"scale_tril": scale_tril, "precision": precision, "factor": factor}
        lines = {"coefficients": coefficients, "intercept": intercept}
        store(self, **lines, covariance=covariance, **forms)

    @classmethod
    def template(cls, num_features: int, num_responses: int) -> Self:
        """A placeholder for a fit."""
        r = num_responses
        return cls(jnp.zeros((r, num_features)), jnp.zeros(r), jnp.eye(r))

    def given(self, x: Float[Array, " p"]) -> MultivariateNormal:
        """The density of the response given covariates."""
        mean = jnp.dot(self.coefficients, x, precision=HIGHEST) + self.intercept
        return made(MultivariateNormal, mean=mean, factor=self.factor)

    def taken(self, event):
        y, x, _ = taken_apart(event, self.num_features, False, self.intercept.dtype)
        return response_of(y, (self.num_responses,), self.intercept.dtype), x

    def placed(self, rows, covariance):
        factor = precision_factor(covariance)
        return self._replace(coefficients=rows[..., :-1], intercept=rows[..., -1], factor=factor)

    def on_boundary(self, floor: Residuals):
        # In units of the floor's own diagonal: responses have units of their own.
        scale = jnp.sqrt(jnp.diagonal(floor.square, axis1=-2, axis2=-1))
        white = whitener(self.factor) * jnp.where(scale > 0, scale, 1)[..., :, None]
        precisions = jnp.linalg.eigvalsh(product(white, jnp.swapaxes(white, -1, -2)))
        return (precisions[..., -1] >= 0.5) & jnp.any(scale > 0, -1)
