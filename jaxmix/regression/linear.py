"""Linear regression with normal errors, of one response or of several."""

from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from .._exponential import ExponentialFamily
from .._numerics import as_float
from ..families._pairs import matrix_of_pairs, products_of_pairs, weights_of_pairs
from ..families.multivariate_normal import MultivariateNormal, precision_factor, whitener
from ..families.normal import LOG_2_PI, Normal
from .design import HIGHEST, joined, response_of, solved, taken_apart, with_intercept
from .identified import check_design, numbered


class Residuals(NamedTuple):
    """Counts; sums of the pairs of (x, 1), of (x, 1) e and of the pairs of e, e the residuals."""

    count: Array
    gram: Array
    cross: Array
    square: Array


def _updated(stats: Residuals, q: int) -> tuple[Array, Array]:
    """The least-squares change (..., q, r) of the coefficients, and what it takes off `square`."""
    step = solved(matrix_of_pairs(stats.gram, q), stats.cross)
    return step, jnp.einsum("...qi,...qj->...ij", stats.cross, step, precision=HIGHEST)


def _recentred(stats: Residuals, shift: Array) -> Residuals:
    """Residual statistics about coefficients that are less by `shift` (..., q, r)."""
    moved = jnp.matmul(matrix_of_pairs(stats.gram, shift.shape[-2]), shift, precision=HIGHEST)
    inner = lambda a, b: jnp.einsum("...qi,...qj->...ij", a, b, precision=HIGHEST)
    once = inner(shift, stats.cross)
    square = stats.square + once + jnp.swapaxes(once, -1, -2) + inner(shift, moved)
    return Residuals(stats.count, stats.gram, stats.cross + moved, square)


class LinearRegression(ExponentialFamily):
    """Normal density of a response that is linear in covariates, in nats.

    log p(y | x) = log N(y; intercept + <coefficients, x>, scale). An event is a pair (y, x), or
    with `offset` a triple (y, x, offset) whose last number is added to the mean. The M-step is
    weighted least squares on residuals about the coefficients before, so that it refines itself.

    Args:
        coefficients: vector (p,).
        intercept: scalar.
        scale: standard deviation of the errors, positive.
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

    ranks: ClassVar[dict[str, int]] = {"coefficients": 1, "intercept": 0, "log_scale": 0}

    coefficients: Float[Array, "*stack p"]
    intercept: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    offset: bool = eqx.field(static=True)

    def __init__(self, coefficients, intercept, scale, *, offset: bool = False):
        self.coefficients, self.intercept, scale = as_float(coefficients, intercept, scale)
        self.log_scale, self.offset = jnp.log(scale), offset

    @classmethod
    def template(cls, num_features: int, *, offset: bool = False) -> Self:
        """A placeholder for a fit."""
        return cls(jnp.zeros(num_features), 0.0, 1.0, offset=offset)

    @property
    def num_features(self) -> int:
        return self.coefficients.shape[-1]

    @property
    def scale(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_scale)

    @property
    def num_parameters(self) -> int:
        return self.num_features + 2

    @property
    def origin(self) -> Float[Array, "*stack q"]:
        return joined(self.coefficients, self.intercept)

    def given(self, x: Float[Array, " p"], offset: Any = 0.0) -> Normal:
        """The density of the response given covariates.

        Example:
            >>> import jaxmix as jm, jax.numpy as jnp
            >>> jm.LinearRegression(jnp.array([2.0]), 1.0, 0.5).given(jnp.array([1.0])).mean
            Array(3., dtype=float32)
        """
        mean = jnp.dot(self.coefficients, x, precision=HIGHEST) + self.intercept + offset
        return Normal(mean, log_scale=self.log_scale)

    def check_rows(self, rows: Any, names: Any = None) -> None:
        """Refuse rows of covariates that determine one another."""
        x = rows[1]
        check_design(x, numbered(x.shape[1]) if names is None else names)

    def _event(self, event):
        y, x, offset = taken_apart(event, self.num_features, self.offset, self.log_scale.dtype)
        return response_of(y, (), self.log_scale.dtype) - offset, with_intercept(x)

    def log_prob(self, x) -> Scalar:
        y, q = self._event(x)
        z = (y - jnp.dot(self.origin, q, precision=HIGHEST)) * jnp.exp(-self.log_scale)
        return -0.5 * z * z - self.log_scale - 0.5 * LOG_2_PI

    def stats(self, x, origin=None) -> Residuals:
        y, q = self._event(x)
        e = y - jnp.dot(self.origin if origin is None else origin, q, precision=HIGHEST)
        return Residuals(jnp.ones_like(e), products_of_pairs(q), q[:, None] * e, e[None, None] ** 2)

    def pair(self, t: Residuals, x, origin=None) -> Scalar:
        # Products with what is alike for all densities of a stack: matrix products over the data.
        y, q = self._event(x)
        e = y - jnp.dot(self.origin if origin is None else origin, q, precision=HIGHEST)
        dot = lambda a, b: jnp.dot(a, b, precision=HIGHEST)
        linear = dot(t.gram, products_of_pairs(q)) + e * dot(t.cross[:, 0], q)
        return t.count + linear + e * e * t.square[0, 0]

    def natural(self, origin=None) -> Residuals:
        shift = self.origin - (self.origin if origin is None else origin)
        precision = jnp.exp(-2 * self.log_scale)
        outer = shift[..., :, None] * shift[..., None, :]
        gram = -0.5 * precision[..., None] * weights_of_pairs(outer)
        cross = (precision[..., None] * shift)[..., None]
        square = (-0.5 * precision)[..., None, None]
        return Residuals(-self.log_scale - 0.5 * LOG_2_PI, gram, cross, square)

    def from_stats(self, stats: Residuals, origin=None) -> Self:
        step, less = _updated(stats, self.num_features + 1)
        new = (self.origin if origin is None else origin) + step[..., 0]
        variance = (stats.square - less)[..., 0, 0] / stats.count
        fields = lambda m: (m.coefficients, m.intercept, m.log_scale)
        return eqx.tree_at(fields, self, (new[..., :-1], new[..., -1], 0.5 * jnp.log(variance)))

    def recentre(self, stats: Residuals, old, new) -> Residuals:
        return _recentred(stats, (old - new)[..., None])

    def floor(self, stats: Residuals, share) -> Residuals:
        """A share of the variance about the mean response: that about a line may be 0."""
        zero = zeros_like(stats)
        mean = stats.cross[..., -1, :] / stats.count[..., None]
        variance = (
            stats.square / stats.count[..., None, None] - mean[..., None] * mean[..., None, :]
        )
        return zero._replace(square=share * variance)

    def on_boundary(self, floor: Residuals):
        return jnp.exp(2 * self.log_scale) <= 2 * floor.square[..., 0, 0]

    def zero_stats(self) -> Residuals:
        q = self.num_features + 1
        pairs = q * (q // 2 + 1)
        zeros = lambda *core: jnp.zeros((*self.stack_shape, *core), self.log_scale.dtype)
        return Residuals(zeros(), zeros(pairs), zeros(q, 1), zeros(1, 1))


def zeros_like(stats: Residuals) -> Residuals:
    return Residuals(*(jnp.zeros_like(a) for a in stats))


class MultivariateLinearRegression(ExponentialFamily):
    """Normal density of a vector that is linear in covariates, with a full covariance, in nats.

    log p(y | x) = log N(y; intercept + coefficients x, covariance). An event is a pair (y, x).

    Args:
        coefficients: matrix (r, p).
        intercept: vector (r,).
        covariance: positive definite matrix (r, r) of the errors.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> plane = jm.MultivariateLinearRegression(jnp.ones((2, 1)), jnp.zeros(2), jnp.eye(2))
        >>> plane.log_prob((jnp.ones(2), jnp.ones(1))).round(4)
        Array(-1.8379, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"coefficients": 2, "intercept": 1, "factor": 2}

    coefficients: Float[Array, "*stack r p"]
    intercept: Float[Array, "*stack r"]
    factor: Float[Array, "*stack r r"]

    def __init__(self, coefficients, intercept, covariance):
        self.coefficients, self.intercept, covariance = as_float(
            coefficients, intercept, covariance
        )
        self.factor = precision_factor(covariance)

    @classmethod
    def template(cls, num_features: int, num_responses: int) -> Self:
        """A placeholder for a fit."""
        r = num_responses
        return cls(jnp.zeros((r, num_features)), jnp.zeros(r), jnp.eye(r))

    @property
    def num_features(self) -> int:
        return self.coefficients.shape[-1]

    @property
    def num_responses(self) -> int:
        return self.intercept.shape[-1]

    @property
    def covariance(self) -> Float[Array, "*stack r r"]:
        return self._errors.covariance

    @property
    def _errors(self) -> MultivariateNormal:
        like = MultivariateNormal.template(self.num_responses)
        mean = jnp.zeros_like(self.intercept)
        return eqx.tree_at(lambda n: (n.mean, n.factor), like, (mean, self.factor))

    @property
    def num_parameters(self) -> int:
        r = self.num_responses
        return r * (self.num_features + 1) + r * (r + 1) // 2

    @property
    def origin(self) -> Float[Array, "*stack r q"]:
        return joined(self.coefficients, self.intercept)

    def given(self, x: Float[Array, " p"]) -> MultivariateNormal:
        """The density of the response given covariates."""
        mean = jnp.dot(self.coefficients, x, precision=HIGHEST) + self.intercept
        return eqx.tree_at(lambda n: n.mean, self._errors, mean)

    def check_rows(self, rows: Any, names: Any = None) -> None:
        """Refuse rows of covariates that determine one another."""
        x = rows[1]
        check_design(x, numbered(x.shape[1]) if names is None else names)

    def _event(self, event):
        y, x, _ = taken_apart(event, self.num_features, False, self.intercept.dtype)
        return response_of(y, self.intercept.shape, self.intercept.dtype), with_intercept(x)

    def _residual(self, event, origin):
        y, q = self._event(event)
        return y - jnp.dot(self.origin if origin is None else origin, q, precision=HIGHEST), q

    def log_prob(self, x) -> Scalar:
        return self._errors.log_prob(self._residual(x, None)[0])

    def stats(self, x, origin=None) -> Residuals:
        e, q = self._residual(x, origin)
        cross = q[:, None] * e[None, :]
        return Residuals(jnp.ones((), e.dtype), products_of_pairs(q), cross, e[:, None] * e[None])

    def pair(self, t: Residuals, x, origin=None) -> Scalar:
        e, q = self._residual(x, origin)
        dot = lambda a, b: jnp.dot(a, b, precision=HIGHEST)
        squares = dot(e, dot(t.square, e))
        return t.count + dot(t.gram, products_of_pairs(q)) + dot(e, dot(q, t.cross)) + squares

    def natural(self, origin=None) -> Residuals:
        shift = self.origin - (self.origin if origin is None else origin)
        precision = self._errors.precision
        pulled = jnp.matmul(precision, shift, precision=HIGHEST)  # (r, q)
        outer = jnp.einsum("...rq,...rp->...qp", shift, pulled, precision=HIGHEST)
        log_det = jnp.sum(jnp.diagonal(self.factor, axis1=-2, axis2=-1), -1)
        head = log_det - 0.5 * self.num_responses * LOG_2_PI
        cross = jnp.swapaxes(pulled, -1, -2)
        return Residuals(head, -0.5 * weights_of_pairs(outer), cross, -0.5 * precision)

    def from_stats(self, stats: Residuals, origin=None) -> Self:
        step, less = _updated(stats, self.num_features + 1)
        new = (self.origin if origin is None else origin) + jnp.swapaxes(step, -1, -2)
        covariance = (stats.square - less) / stats.count[..., None, None]
        fields = lambda m: (m.coefficients, m.intercept, m.factor)
        values = (new[..., :-1], new[..., -1], precision_factor(covariance))
        return eqx.tree_at(fields, self, values)

    def recentre(self, stats: Residuals, old, new) -> Residuals:
        return _recentred(stats, jnp.swapaxes(old - new, -1, -2))

    def floor(self, stats: Residuals, share) -> Residuals:
        mean = stats.cross[..., -1, :] / stats.count[..., None]
        scatter = (
            stats.square / stats.count[..., None, None] - mean[..., :, None] * mean[..., None, :]
        )
        eye = jnp.eye(self.num_responses, dtype=scatter.dtype)
        return zeros_like(stats)._replace(square=share * scatter * eye)

    def on_boundary(self, floor: Residuals):
        # In units of the floor's own diagonal: responses have units of their own.
        scale = jnp.sqrt(jnp.diagonal(floor.square, axis1=-2, axis2=-1))
        white = whitener(self.factor) * jnp.where(scale > 0, scale, 1)[..., :, None]
        precisions = jnp.linalg.eigvalsh(
            jnp.matmul(white, jnp.swapaxes(white, -1, -2), precision=HIGHEST)
        )
        return (precisions[..., -1] >= 0.5) & jnp.any(scale > 0, -1)

    def zero_stats(self) -> Residuals:
        q, r = self.num_features + 1, self.num_responses
        zeros = lambda *core: jnp.zeros((*self.stack_shape, *core), self.intercept.dtype)
        return Residuals(zeros(), zeros(q * (q // 2 + 1)), zeros(q, r), zeros(r, r))
