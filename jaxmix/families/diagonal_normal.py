"""Normal families of a vector with independent coordinates: own scales, or one scale."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._platform import platform
from ._family import LOG_2_PI, Moments, ProductForm, as_float, check_one, exp_of, logs, one_event
from ._moments import OfMoments, at_floor, diagonal_matrix, mean_and_scatter
from ._seen import SeenDiagonal
from .normal import normal_log_normaliser


class _Independent(ProductForm, SeenDiagonal):
    """What the two families share: everything but how many scales there are."""

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "mean"

    mean: eqx.AbstractVar[Array]
    log_scale: eqx.AbstractVar[Array]
    scale = exp_of("log_scale")
    variance = exp_of("log_scale", 2)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + self.scale * z


class DiagonalNormal(_Independent, OfMoments):
    """Normal density of a vector with independent coordinates.

    log p(x) = sum_i log N(x_i; mean_i, scale_i), in nats.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,), positive.
        log_scale: their logarithms (d,), any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.DiagonalNormal(jnp.zeros(2), jnp.ones(2)).log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack d"]

    def __init__(self, mean, scale=None, *, log_scale=None):
        (log_scale,) = logs("DiagonalNormal", scale=(scale, log_scale))
        self.mean, self.log_scale = as_float(mean, log_scale)
        check_one(self)

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        return diagonal_matrix(self.variance)

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        x = one_event(x, (self.dim,), self)
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return -jnp.sum(0.5 * z * z) - jnp.sum(self.log_scale) - 0.5 * self.dim * LOG_2_PI

    def stats(self, x, origin=None) -> Moments:
        r = one_event(x, (self.dim,), self) - origin
        return Moments(jnp.ones((), r.dtype), r, r * r)

    def natural(self, origin=None) -> Moments:
        shift = self.mean - origin
        precision = jnp.exp(-2 * self.log_scale)
        head = -0.5 * jnp.sum(precision * shift * shift, -1) - jnp.sum(self.log_scale, -1)
        return Moments(head - 0.5 * self.dim * LOG_2_PI, precision * shift, -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        return jnp.sum(normal_log_normaliser(natural.first, natural.second), -1)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        _, shift, variance = mean_and_scatter(stats)
        mean = origin + shift
        return self._replace(mean=mean, log_scale=0.5 * jnp.log(variance))

    def zero_stats(self) -> Moments:
        zero = jnp.zeros_like(self.mean)
        return Moments(zero[..., 0], zero, zero)

    def on_boundary(self, floor: Moments):
        return jnp.any(at_floor(self.variance, floor.second, self.mean), -1)

    def features(self, residual):
        if platform() == "tpu":  # whose lanes an axis of length 2 would cost a third of a chunk
            return jnp.concatenate([residual, residual * residual])
        # Chosen row by row: on a CPU several times faster than to concatenate.
        first = jnp.arange(2)[:, None] == 0
        return jnp.where(first, residual[None], (residual * residual)[None]).ravel()

    def product_natural(self, origin):
        natural = self.natural(origin)
        return natural.count, jnp.concatenate([natural.first, natural.second], -1)

    def from_features(self, count, sums) -> Moments:
        return Moments(count, sums[..., : self.dim], sums[..., self.dim :])

    def spread(self, origin):
        return jnp.max(((self.mean - origin) * jnp.exp(-self.log_scale)) ** 2, -1)


class SphericalNormal(_Independent):
    """Normal density of a vector with independent coordinates of one scale.

    log p(x) = -|x - mean|^2 / (2 scale^2) - d log(scale) - d log(2 pi) / 2, in nats.

    Args:
        mean: vector (d,).
        scale: the standard deviation, a positive scalar.
        log_scale: its logarithm, any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.SphericalNormal(jnp.zeros(2), 1).log_prob(jnp.zeros(2)).round(4)
        Array(-1.8379, dtype=float32)
    """

    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, mean, scale=None, *, log_scale=None):
        (log_scale,) = logs("SphericalNormal", scale=(scale, log_scale))
        self.mean, self.log_scale = as_float(mean, log_scale)
        check_one(self)

    @property
    def covariance(self) -> Float[Array, "*stack d d"]:
        return diagonal_matrix(jnp.broadcast_to(self.variance[..., None], self.mean.shape))

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        x = one_event(x, (self.dim,), self)
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return -jnp.sum(0.5 * z * z) - self.dim * (self.log_scale + 0.5 * LOG_2_PI)

    def stats(self, x, origin=None) -> Moments:
        r = one_event(x, (self.dim,), self) - origin
        return Moments(jnp.ones((), r.dtype), r, jnp.sum(r * r))

    def natural(self, origin=None) -> Moments:
        shift = self.mean - origin
        precision = jnp.exp(-2 * self.log_scale)
        head = -0.5 * precision * jnp.sum(shift * shift, -1)
        head = head - self.dim * (self.log_scale + 0.5 * LOG_2_PI)
        return Moments(head, precision[..., None] * shift, -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        second = jnp.broadcast_to(natural.second[..., None], natural.first.shape)
        return jnp.sum(normal_log_normaliser(natural.first, second), -1)

    def from_stats(self, stats: Moments, origin=None) -> Self:
        shift = stats.first / stats.count[..., None]
        variance = (stats.second / stats.count - jnp.sum(shift * shift, -1)) / self.dim
        mean = origin + shift
        return self._replace(mean=mean, log_scale=0.5 * jnp.log(variance))

    def floor(self, stats: Moments, share) -> Moments:
        shift = stats.first / stats.count[..., None]
        second = share * (stats.second / stats.count - jnp.sum(shift * shift, -1))
        return Moments(jnp.zeros_like(stats.count), jnp.zeros_like(stats.first), second)

    def recentre(self, stats: Moments, old, new) -> Moments:
        shift = old - new
        first = stats.first + stats.count[..., None] * shift
        cross = 2 * jnp.sum(stats.first * shift, -1)
        second = stats.second + cross + stats.count * jnp.sum(shift * shift, -1)
        return Moments(stats.count, first, second)

    def zero_stats(self) -> Moments:
        zero = jnp.zeros_like(self.mean)
        return Moments(zero[..., 0], zero, zero[..., 0])

    def on_boundary(self, floor: Moments):
        largest = jnp.max(jnp.abs(self.mean), -1)
        return at_floor(self.variance, floor.second / self.dim, largest)

    def features(self, residual):
        return jnp.concatenate([residual, jnp.sum(residual * residual)[None]])

    def product_natural(self, origin):
        natural = self.natural(origin)
        return natural.count, jnp.concatenate([natural.first, natural.second[..., None]], -1)

    def from_features(self, count, sums) -> Moments:
        return Moments(count, sums[..., :-1], sums[..., -1])

    def spread(self, origin):
        return jnp.max((self.mean - origin) ** 2, -1) * jnp.exp(-2 * self.log_scale)
