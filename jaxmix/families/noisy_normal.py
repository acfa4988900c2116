"""Normal vectors that are observed with noise of known covariance, a row its own."""

from typing import NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array

from ._factors import product
from ._family import LOG_2_PI, one_event
from ._seen import inverse_and_log_det
from .multivariate_normal import MultivariateNormal
from .partial_normal import CompletedFull


class NoisyEvent(NamedTuple):
    """A vector (d,) as it was observed, and the covariance (d, d) of its noise."""

    value: Array
    noise: Array


class NoisyNormal(CompletedFull):
    """Normal density of a vector observed with known noise: log p(x | S) = log N(x; mean, V + S).

    An event is a `jm.NoisyEvent(x, S)`, in nats; S is given, and not modelled. EM completes what
    was before the noise, so that a mixture is an extreme deconvolution (Bovy, Hogg and Roweis
    2011, arXiv 0905.2979). A coordinate not observed has a large variance. `sample` is noiseless.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> event = jm.NoisyEvent(jnp.zeros(2), 3 * jnp.eye(2))
        >>> jm.NoisyNormal(jnp.zeros(2), jnp.eye(2)).log_prob(event).round(4)  # -log(8 pi)
        Array(-3.2242, dtype=float32)
    """

    whole: MultivariateNormal

    def __init__(self, mean, covariance=None, *, scale_tril=None, precision=None, factor=None):
        forms = {"scale_tril": scale_tril, "precision": precision, "factor": factor}
        self.whole = MultivariateNormal(mean, covariance, **forms)

    @classmethod
    def template(cls, dim: int) -> Self:
        """A placeholder for a fit."""
        return cls(jnp.zeros(dim), jnp.eye(dim))

    def _seen(self, event):
        """Residual, and the inverse and log-determinant of what it is spread by."""
        if not isinstance(event, NoisyEvent):
            raise ValueError(
                "One event of a NoisyNormal is a jm.NoisyEvent(value, noise); a "
                f"{type(event).__name__} was given."
            )
        noise = one_event(event.noise, (self.dim, self.dim), self)
        residual = one_event(event.value, (self.dim,), self) - self.mean
        return residual, *inverse_and_log_det(self.covariance + noise)

    def log_prob(self, x):
        residual, inverse, log_det = self._seen(x)
        square = jnp.dot(residual, product(inverse, residual))
        return -0.5 * (square + log_det + self.dim * LOG_2_PI)

    def stats(self, x, origin=None):
        residual, inverse, _ = self._seen(x)
        gain = product(self.covariance, inverse)
        rest = self.covariance - product(gain, self.covariance)
        return self._stats(self.mean + product(gain, residual), rest, origin)
