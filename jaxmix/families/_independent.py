"""What normal families of independent coordinates share: a number, own scales, or one scale."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Scalar

from ._family import LOG_2_PI, Moments, ProductForm, exp_of, one_event, within
from ._moments import OfMoments


class Independent(OfMoments, ProductForm):
    """A mean of no axis or one, and a scale for each coordinate or for all: `ranks` tell which."""

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "mean"

    mean: eqx.AbstractVar[Array]
    log_scale: eqx.AbstractVar[Array]
    scale = exp_of("log_scale")
    variance = exp_of("log_scale", 2)

    _is_number = property(lambda self: self.ranks["mean"] == 0)
    _has_one_scale = property(lambda self: self.ranks["log_scale"] < self.ranks["mean"])
    _event_shape = property(lambda self: () if self._is_number else self.mean.shape[-1:])
    _size = property(lambda self: 1 if self._is_number else self.mean.shape[-1])

    def _sum(self, a: Array) -> Array:
        """Over the coordinates."""
        return a if self._is_number else jnp.sum(a, -1)

    def _each(self, a: Any) -> Any:
        """What there is of every scale, for each coordinate."""
        return a[..., None] if self._has_one_scale else a

    @property
    def _head(self) -> Array:
        """Log-density at the mean."""
        log = self.log_scale
        scales = jnp.sum(log, -1) if self.ranks["log_scale"] else self._size * log
        return -scales - 0.5 * self._size * LOG_2_PI

    def log_prob(self, x) -> Scalar:
        x = one_event(x, self._event_shape, self)
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return self._head - self._sum(0.5 * z * z)

    def sample(self, key: Key[Array, ""]) -> Array:
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + self.scale * z

    def stats(self, x, origin=None) -> Moments:
        r = one_event(x, self._event_shape, self) - origin
        square = r * r
        return Moments(jnp.ones((), r.dtype), r, jnp.sum(square) if self._has_one_scale else square)

    def natural(self, origin=None) -> Moments:
        shift, precision = self.mean - origin, jnp.exp(-2 * self.log_scale)
        first = self._each(precision) * shift
        return Moments(self._head - 0.5 * self._sum(first * shift), first, -0.5 * precision)

    def log_normaliser(self, natural: Moments, origin=None) -> Scalar:
        first = natural.first
        second = jnp.broadcast_to(self._each(natural.second), first.shape)
        value = lambda p, first: 0.5 * (first * first / p - jnp.log(p) + LOG_2_PI)
        return self._sum(within(second < 0, value, -2 * second, first))

    def product_natural(self, origin):
        natural = self.natural(origin)
        parts = [self._as_vector(name, a) for name, a in zip(self.ranks, natural[1:], strict=True)]
        return natural.count, jnp.concatenate(parts, -1)

    def _as_vector(self, field: str, a: Array) -> Array:
        return a if self.ranks[field] else a[..., None]

    def from_features(self, count, sums) -> Moments:
        first, second = sums[..., : self._size], sums[..., self._size :]
        both = zip(self.ranks.values(), (first, second), strict=True)
        return Moments(count, *(a if rank else a[..., 0] for rank, a in both))

    def spread(self, origin):
        squares = ((self.mean - origin) * self._each(jnp.exp(-self.log_scale))) ** 2
        return squares if self._is_number else jnp.max(squares, -1)
