"""Normal families of a vector with independent coordinates: own scales, or one scale."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._platform import platform
from ._family import store
from ._independent import Independent
from ._moments import diagonal_matrix
from ._seen import SeenDiagonal


class _Vector(Independent, SeenDiagonal):
    """Of a vector."""

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        return diagonal_matrix(jnp.broadcast_to(self._each(self.variance), self.mean.shape))


class DiagonalNormal(_Vector):
    """Normal density of a vector with independent coordinates.

    log p(x) = sum_i log N(x_i; mean_i, scale_i), in nats.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,), positive; or `log_scale`, their logarithms (d,).

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.DiagonalNormal(jnp.zeros(2), jnp.ones(2)).log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack d"]

    def __init__(self, mean, scale=None, *, log_scale=None):
        store(self, mean=mean, scale=scale, log_scale=log_scale)

    def features(self, residual):
        if platform() == "tpu":  # whose lanes an axis of length 2 would cost a third of a chunk
            return jnp.concatenate([residual, residual * residual])
        # Chosen row by row: on a CPU several times faster than to concatenate.
        first = jnp.arange(2)[:, None] == 0
        return jnp.where(first, residual[None], (residual * residual)[None]).ravel()


class SphericalNormal(_Vector):
    """Normal density of a vector with independent coordinates of one scale.

    log p(x) = -|x - mean|^2 / (2 scale^2) - d log(scale) - d log(2 pi) / 2, in nats.

    Args:
        mean: vector (d,).
        scale: the standard deviation, a positive scalar; or `log_scale`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.SphericalNormal(jnp.zeros(2), 1).log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, mean, scale=None, *, log_scale=None):
        store(self, mean=mean, scale=scale, log_scale=log_scale)

    def features(self, residual):
        return jnp.concatenate([residual, jnp.sum(residual * residual)[None]])
