"""The von Mises-Fisher family of a unit vector."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._directions import Direction, Directions, above
from ._family import Domain, Form, one_event, outside, store


class VonMisesFisher(Direction):
    """Von Mises-Fisher density of a unit vector, with respect to area on the sphere, in nats.

    log p(x) = kappa <mean_direction, x> + (d/2 - 1) log kappa - (d/2) log(2 pi)
    - log I_(d/2-1)(kappa), for |x| = 1. Right in float32 from kappa 1e-3 to 1e4 and beyond.

    Args:
        mean_direction: vector (d,), d >= 2, of any length but 0; it is normalised.
        concentration: kappa, a positive scalar; or `log_concentration`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> north = jnp.array([0.0, 0.0, 1.0])
        >>> jm.VonMisesFisher(north, 1.0).log_prob(north).round(4)
        Array(-1.6925, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "mean_direction"

    direction: Float[Array, "*stack d"]
    log_concentration: Float[Array, "*stack"]
    dim = property(lambda self: self.direction.shape[-1])
    mean_direction = Form(
        "direction", lambda a: a / jnp.sqrt(jnp.sum(a * a, -1, keepdims=True)), lambda a: a,
        "The direction as a unit vector (d,).",
    )  # fmt: skip

    def __init__(self, mean_direction, concentration=None, *, log_concentration=None):
        forms = {"concentration": concentration, "log_concentration": log_concentration}
        store(self, mean_direction=mean_direction, **forms)
        if self.dim < 2:
            raise ValueError("VonMisesFisher takes a direction of two coordinates or more; got 1.")

    @classmethod
    def template(cls, dim: int) -> Self:
        """A placeholder of this dimension for a fit."""
        return cls(jnp.ones(dim), 1.0)

    @property
    def domain(self) -> Domain:
        return Domain(
            f"a vector of {self.dim} numbers of length 1", low=-1.001, high=1.001, dim=self.dim
        )

    def placed_at(self, origin) -> Self:
        return self._replace(direction=origin)

    @property
    def mean(self) -> Float[Array, "*stack d"]:
        """The mean of the unit vectors: the mean direction times the mean resultant length."""
        return self.mean_length[..., None] * self.mean_direction

    num_parameters = property(lambda self: self.dim)

    def _on_sphere(self, x):
        x = one_event(x, (self.dim,), self)
        square = jnp.sum(x * x)
        inside = jnp.abs(square - 1) <= 1000 * jnp.finfo(x.dtype).eps
        return jnp.where(inside, x, self._still()), outside(inside, square)

    def _still(self):
        return jax.lax.stop_gradient(self.mean_direction)

    def log_base(self, x) -> Scalar:
        return self._on_sphere(x)[1]

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        # On the sphere cos - 1 is half the squared distance, which keeps its digits.
        value, base = self._on_sphere(x)
        apart = value - self.mean_direction
        return self._head() - 0.5 * self.concentration * jnp.sum(apart * apart) + base

    def stats(self, x, origin=None) -> Directions:
        value, _ = self._on_sphere(x)
        shift = value - origin
        return Directions(jnp.ones((), shift.dtype), shift, 0.5 * jnp.sum(shift * shift))

    def natural(self, origin=None) -> Directions:
        mean = self.mean_direction
        apart = mean - origin
        kappa = self.concentration
        head = self._head() - 0.5 * kappa * jnp.sum(apart * apart, -1)
        return Directions(head, kappa[..., None] * apart, -kappa)

    def log_normaliser(self, natural: Directions, origin=None) -> Scalar:
        # The exponent is linear in x: its vector, along the origin and across it, and a constant.
        length = jnp.sqrt(jnp.sum(origin**2, -1))
        axis = origin / length[..., None]
        along = jnp.sum(natural.shift * axis, -1)
        across = jnp.sum((natural.shift - along[..., None] * axis) ** 2, -1)
        straight = along - natural.bend * length
        kappa = jnp.sqrt(across + straight**2)
        apart = 1 - length
        constant = along * apart + 0.5 * natural.bend * apart**2
        return self._log_area(kappa) + above(across, straight, kappa) + constant

    def _mean_vector(self, stats):
        bend, shift = stats.bend / stats.count, stats.shift / stats.count[..., None]
        square = 2 * bend - jnp.sum(shift * shift, -1)
        return jnp.sqrt(jnp.maximum(1 - square, jnp.zeros_like(square))), square

    def from_stats(self, stats: Directions, origin=None) -> Self:
        direction = origin + stats.shift / stats.count[..., None]
        direction = direction / jnp.sqrt(jnp.sum(direction**2, -1, keepdims=True))
        return self._replace(direction=direction, log_concentration=self._log_kappa(stats))

    def recentre(self, stats: Directions, old, new) -> Directions:
        apart = old - new
        shift = stats.shift + stats.count[..., None] * apart
        half = 0.5 * stats.count * jnp.sum(apart * apart, -1)
        return Directions(stats.count, shift, stats.bend + jnp.sum(stats.shift * apart, -1) + half)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        k_angle, k_turn = jax.random.split(key)
        mean, angle = self.mean_direction, self._draw_angle(k_angle)
        turn = jax.random.normal(k_turn, mean.shape, mean.dtype)
        turn = turn - mean * jnp.dot(turn, mean)
        turn = turn / jnp.sqrt(jnp.sum(turn * turn))
        drawn = jnp.cos(angle) * mean + jnp.sin(angle) * turn
        return drawn / jnp.sqrt(jnp.sum(drawn * drawn))
