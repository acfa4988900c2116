"""The von Mises family of an angle."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._directions import Direction, Directions, above
from ._family import finite, one_event, store
from ._support import Domain


class VonMises(Direction):
    """Von Mises density of an angle, in nats.

    log p(x) = kappa cos(x - loc) - log(2 pi I0(kappa)), on any interval of length 2 pi.

    Args:
        loc: mean direction, an angle.
        concentration: kappa, a positive scalar; or `log_concentration`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.VonMises(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-1.0738, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "loc"

    loc: Float[Array, "*stack"]
    log_concentration: Float[Array, "*stack"]
    dim: ClassVar[int] = 2
    domain: ClassVar[Domain] = Domain("an angle, in radians")

    def __init__(self, loc, concentration=None, *, log_concentration=None):
        forms = {"concentration": concentration, "log_concentration": log_concentration}
        store(self, loc=loc, **forms)

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        x, base = finite(one_event(x, (), self))
        bend = 2 * jnp.sin(0.5 * (x - self.loc)) ** 2
        return base + self._head() - self.concentration * bend

    def stats(self, x, origin=None) -> Directions:
        angle = finite(one_event(x, (), self))[0] - origin
        return Directions(jnp.ones_like(angle), jnp.sin(angle), 2 * jnp.sin(0.5 * angle) ** 2)

    def natural(self, origin=None) -> Directions:
        angle = self.loc - origin
        kappa = self.concentration
        head = self._head() - 2 * kappa * jnp.sin(0.5 * angle) ** 2
        return Directions(head, kappa * jnp.sin(angle), -kappa * jnp.cos(angle))

    def log_normaliser(self, natural: Directions, origin=None) -> Scalar:
        square, straight = natural.shift**2, -natural.bend
        kappa = jnp.sqrt(square + straight**2)
        return self._log_area(kappa) + above(square, straight, kappa)

    def _mean_vector(self, stats):
        bend, shift = stats.bend / stats.count, stats.shift / stats.count
        square = bend * (2 - bend) - shift * shift
        return jnp.hypot(1 - bend, shift), square

    def from_stats(self, stats: Directions, origin=None) -> Self:
        angle = jnp.arctan2(stats.shift, stats.count - stats.bend)
        loc = origin + angle
        return self._replace(loc=loc, log_concentration=self._log_kappa(stats))

    def recentre(self, stats: Directions, old, new) -> Directions:
        angle = old - new
        sine, less = jnp.sin(angle), 2 * jnp.sin(0.5 * angle) ** 2
        straight = stats.count - stats.bend
        shift = stats.shift * (1 - less) + straight * sine
        return Directions(stats.count, shift, stats.bend + straight * less + stats.shift * sine)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        """In [-pi, pi)."""
        k_angle, k_side = jax.random.split(key)
        angle = self._draw_angle(k_angle)
        angle = jnp.where(jax.random.bernoulli(k_side), angle, -angle)
        return jnp.mod(angle + self.loc + jnp.pi, 2 * jnp.pi) - jnp.pi
