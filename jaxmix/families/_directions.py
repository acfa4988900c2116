"""What families of directions share: statistics about a direction, and a concentration."""

import abc
import functools
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _loops
from ._bessel import concentration_of, log_mass, mean_length
from ._family import LOG_2_PI, ExponentialFamily, exp_of
from ._special import unit_nodes


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


NODES, SIZES = unit_nodes(32)
STEPS = (np.arange(1, 65) / 64) ** 4
REACH = 30.0  # nats below an angle's density, beyond which nothing is left of it


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def carried(angle, kappa, dim: int):
    """An angle drawn at a concentration, which moves as its quantile does with it.

    The implicit derivative (Figurnov, Mohamed and Mnih 2018, arXiv 1805.08498).
    """
    del kappa, dim
    return angle


@carried.defjvp
def _(dim, primals, tangents):
    angle, kappa = primals
    moved = _drift(carried(angle, kappa, dim), kappa, dim)
    return carried(angle, kappa, dim), tangents[0] + moved * tangents[1]


def _drift(angle, kappa, dim: int):
    """Minus the derivative of the distribution function in kappa over the density.

    The integral of cos t - A times the density at t over that at the angle, from the angle to the
    end of its tail, A the mean length: the density is sin(t)^(dim - 2) exp(kappa cos t).
    """
    size = jnp.abs(angle)

    def level(t):
        out = -2 * kappa * jnp.sin(0.5 * (t - size)) * jnp.sin(0.5 * (t + size))
        return out + (dim - 2) * jnp.log(jnp.abs(jnp.sin(t) / jnp.sin(size))) if dim > 2 else out

    beyond = (dim - 2) * jnp.cos(size) <= kappa * jnp.sin(size) ** 2  # the density's top
    way = jnp.where(beyond, jnp.pi, jnp.zeros_like(size)) - size
    ends = size + jnp.asarray(STEPS, size.dtype) * way
    out = jnp.sum(level(ends) > -REACH)  # levels fall all the way
    end = jax.lax.stop_gradient(ends[jnp.minimum(out, len(STEPS) - 1)])
    width = end - size
    t = size + jnp.asarray(NODES, size.dtype) * width
    bend = mean_length(dim, kappa)[1] - 2 * jnp.sin(0.5 * t) ** 2
    integral = jnp.sum(jnp.asarray(SIZES, size.dtype) * bend * jnp.exp(level(t)))
    return jnp.where(angle < 0, -integral, integral) * width


class Direction(ExponentialFamily):
    """What both families share: a concentration kappa, and a density kappa cos(angle to mean).

    Statistics are about the leaf's own direction, so that 1 less the mean resultant length keeps
    its digits in float32 at every concentration.
    """

    log_concentration: eqx.AbstractVar[Array]
    concentration = exp_of("log_concentration")
    width_in: ClassVar[str] = "bend"

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

    def _draw_angle(self, key):
        """An angle from 0 to pi to the mean direction, by rejection (Wood 1994).

        Its derivative is the implicit one (Figurnov, Mohamed and Mnih 2018, arXiv 1805.08498).
        """
        kappa, rest = jax.lax.stop_gradient(self.concentration), float(self.dim - 1)
        kind = jax.random.key_impl(key)  # a loop carries keys as data
        b = rest / (2 * kappa + jnp.hypot(2 * kappa, jnp.full_like(kappa, rest)))
        gap = 2 * b / (1 + b)

        def again(carry):
            keys = jax.random.split(jax.random.wrap_key_data(carry[0], impl=kind), 3)
            z = jax.random.beta(keys[1], 0.5 * rest, 0.5 * rest, (), kappa.dtype)
            less = 2 * b * z / ((1 - z) + b * z)  # 1 less the cosine: nothing cancels
            level = jnp.log(gap + (1 - gap) * less) - jnp.log(gap * (2 - gap))
            level = kappa * (gap - less) + rest * level
            taken = level >= jnp.log(jax.random.uniform(keys[2], (), kappa.dtype))
            return jax.random.key_data(keys[0]), less, taken

        start = (jax.random.key_data(key), jnp.zeros_like(kappa), jnp.asarray(False))
        less = _loops.while_loop(lambda carry: ~carry[2], again, start)[1]
        return carried(2 * jnp.arcsin(jnp.sqrt(0.5 * less)), self.concentration, self.dim)

    width = property(lambda self: mean_length(self.dim, self.concentration)[1])

    def width_of(self, stats: Directions):
        length, square = self._mean_vector(stats)
        return square / (1 + length)

    @abc.abstractmethod
    def _mean_vector(self, stats: Directions) -> tuple[Array, Array]:
        """Mean resultant length of summed statistics, and 1 less its square."""

    def _log_kappa(self, stats: Directions) -> Array:
        return jnp.log(concentration_of(self.dim, *self._mean_vector(stats)))
