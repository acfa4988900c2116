"""What families of directions share: statistics about a direction, and a concentration."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._bessel import concentration_of, log_mass, mean_length
from ._family import LOG_2_PI, ExponentialFamily, exp_of


class Directions(NamedTuple):
    """Counts, sums of a shift from the origin, and of 1 less the cosine of the angle to it."""

    count: Array
    shift: Array
    bend: Array


def above(across_square: Array, straight: Array, kappa: Array) -> Array:
    """kappa - straight, where kappa^2 = straight^2 + across_square, with its own digits."""
    forward = straight > 0
    safe = jnp.where(forward, kappa + straight, jnp.ones_like(kappa))
    return jnp.where(forward, across_square / safe, kappa - straight)


class Direction(ExponentialFamily):
    """What both families share: a concentration kappa, and a density kappa cos(angle to mean).

    Statistics are about the leaf's own direction, so that 1 less the mean resultant length keeps
    its digits in float32 at every concentration.
    """

    log_concentration: eqx.AbstractVar[Array]
    concentration = exp_of("log_concentration")

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Dimension of the space the directions are in."""

    @property
    def mean_length(self) -> Float[Array, "*stack"]:
        """Mean resultant length: the length of the mean of the unit vectors."""
        return mean_length(self.dim, self.concentration)[0]

    def _head(self):
        """Log-density at the mean direction."""
        return -self._log_area(self.concentration)

    def _log_area(self, kappa):
        """Log of the integral of exp(kappa (cos - 1)) over the sphere."""
        n = 0.5 * self.dim
        one = jnp.asarray(n, kappa.dtype)
        log_area = n * (LOG_2_PI - float(np.log(2))) + float(np.log(2)) - jax.lax.lgamma(one)
        return log_mass(self.dim, kappa) + log_area

    def floor(self, stats: Directions, share) -> Directions:
        length, square = self._mean_vector(stats)
        zero = jnp.zeros_like(stats.count)
        return Directions(zero, jnp.zeros_like(stats.shift), share * square / (1 + length))

    def on_boundary(self, floor: Directions):
        gap = mean_length(self.dim, self.concentration)[1]
        return gap <= 2 * floor.bend

    @abc.abstractmethod
    def _mean_vector(self, stats: Directions) -> tuple[Array, Array]:
        """Mean resultant length of summed statistics, and 1 less its square."""

    def _log_kappa(self, stats: Directions) -> Array:
        return jnp.log(concentration_of(self.dim, *self._mean_vector(stats)))
