"""Families of w = x^shape or the like: M-steps by the profile likelihood of the shape."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from .._numerics import or_one
from ._family import Refittable


class Powers(NamedTuple):
    """Statistics of a power exp(shape v), v about an origin, and of its derivatives in the shape.

    Counts, and sums of the shape, of v, of the power, of its first and of its second derivative.
    """

    count: Array
    shape: Array
    log: Array
    power: Array
    first: Array
    second: Array

    def own_shape(self) -> Array:
        """The shape that statistics were taken at; 0 where there is none."""
        return self.shape / or_one(self.count)

    def cumulants(self) -> tuple[Array, Array, Array]:
        """Logarithm of the sum of powers, and its first and second derivatives in the shape."""
        none = self.power == 0
        power = jnp.where(none, jnp.ones_like(self.power), self.power)
        mean, square = self.first / power, self.second / power
        # Of more than rounding: about an origin far away no digit of the difference is left.
        spread = jnp.maximum(square - mean * mean, jnp.finfo(mean.dtype).eps * square)
        return jnp.log(power), mean, spread

    def log_power_at(self, shape: Array) -> Array:
        """Logarithm of the sum of powers at another shape, to second order."""
        level, mean, spread = self.cumulants()
        shift = shape - self.own_shape()
        return level + shift * (mean + 0.5 * shift * spread)


class ByPowers(Refittable):
    """A family whose first field is the logarithm of a shape, and whose M-step is a Newton step.

    The logarithm of the sum of powers at another shape is taken to second order in the shape.
    """

    ascends: ClassVar[bool] = False

    _log_shape = property(lambda self: getattr(self, next(iter(self.ranks))))

    def floor(self, stats: Powers, share) -> Powers:
        _, mean, spread = stats.cumulants()
        shape = stats.shape / stats.count
        width = 1 / best_shape(shape, mean - stats.log / stats.count, spread)
        none = Powers(*map(jnp.zeros_like, stats))
        return none._replace(log=-jnp.sqrt(share) * width)

    def on_boundary(self, floor: Powers):
        return jnp.exp(-self._log_shape) <= -2 * floor.log

    def recentre(self, stats: Powers, old, new) -> Powers:
        move = old - new
        lift = jnp.exp(stats.own_shape() * move)
        second = stats.second + move * (2 * stats.first + move * stats.power)
        first = stats.first + move * stats.power
        log = stats.log + stats.count * move
        return Powers(
            stats.count, stats.shape, log, *(lift * s for s in (stats.power, first, second))
        )


def best_shape(old: Array, slope: Array, bend: Array) -> Array:
    """The shape k at which 1 / k is a slope, that at the old shape, plus (k - old) bend."""
    fall = slope - old * bend
    root = jnp.sqrt(fall * fall + 4 * bend)
    far, none = fall > 0, jnp.zeros_like(root)
    above, below = jnp.where(far, none + 2, root - fall), jnp.where(far, root + fall, 2 * bend)
    return jnp.where(below > 0, above / jnp.where(below > 0, below, none + 1), none + jnp.inf)


def log_if_held(shape: Array, place: Array) -> Array:
    """The logarithm of a shape; inf, no estimate, where logarithms at a place lack the digits."""
    held = shape * jnp.finfo(shape.dtype).eps * (1 + jnp.abs(place)) < 0.25
    return jnp.where(held, jnp.log(shape), jnp.full_like(shape, jnp.inf))
