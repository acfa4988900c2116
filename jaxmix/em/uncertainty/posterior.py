"""A fit's log-posterior as a function of a vector, for a sampler of the user's choice."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from ..._compile import Quick
from ..._results import RESULTS
from ..._sharding import everywhere, on_automatic_axes
from ..chunks import is_brief
from ..entry import enter
from ..priors.prior import Prior
from .information import Chart, chart, inverse_root, objective, observed_information


class Posterior(eqx.Module):
    """Log-likelihood plus log-prior about a fit, in free coordinates; the fit itself is at 0.

    The coordinates are linear in the unconstrained parameters (means, logarithms of scales, K - 1
    for K weights), and the log-density is with respect to them: where the prior is flat, it is
    flat in these.

    - `origin`: zeros (r,).
    - `covariance`: (r, r), the inverse of the observed information, a metric for a sampler; NaN
      with `singular_information` as the `result` where there is none.
    """

    chart: Chart
    data: PyTree
    weights: Array | None
    prior: Prior | None
    covariance: Float[Array, "r r"]
    result: RESULTS

    @property
    def origin(self) -> Float[Array, " r"]:
        return self.chart.origin

    def log_density(self, position: Float[Array, " r"]) -> Scalar:
        """Log-likelihood of the data plus log-density of the prior, in nats."""
        return _log_density(self, position)

    def model(self, position: Float[Array, " r"]) -> PyTree:
        """The model at a position."""
        return self.chart.at(position)


def posterior(
    model: PyTree, data: PyTree, *, weights: Array | None = None, prior: Prior | None = None
) -> Posterior:
    """The log-posterior about a fit, for a sampler such as those of blackjax.

    Components that may change places make the posterior multimodal, and without a prior it may be
    improper: a chain that starts at the fit explores the mode it is in.

    Args:
        model: a fit at its maximum, such as `em.solve` gives.
        data: events, stacked along a leading axis.
        weights: case weights (rows,).
        prior: pseudo-statistics, if the fit used any.

    Returns:
        A `Posterior`.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> post = jm.em.posterior(jm.Normal(0, 1), x)
        >>> post.log_density(post.origin).round(3), post.covariance.shape
        (Array(-5.676, dtype=float32), (2, 2))
    """
    data, weights = everywhere(enter(model, data, weights))
    at, covariance, result = _about(model, data, weights, prior)
    return Posterior(at, data, weights, prior, covariance, result)


def _chart_of(model, data, weights, prior):
    at = chart(model, data, weights, prior)
    root, result = inverse_root(at, observed_information(at, data, weights, prior))
    return at, jnp.dot(root, root.T, precision="highest"), result


_about = on_automatic_axes(Quick(_chart_of, is_brief))


def _objective(about, position):
    return objective(about.chart.at(position), about.data, about.weights, about.prior)


_log_density = on_automatic_axes(
    Quick(_objective, lambda about, _: is_brief(about.chart.model, about.data))
)
