"""The Laplace family of one real number: a normal whose variance is exponential."""

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from .._numerics import or_one
from ._family import Refittable, exp_of, one_event, stated, store
from ._moments import shifted, weighed_variance

NEAR = 1e-6  # in scales: an event nearer to the old location is tied with it


class Weighed(NamedTuple):
    """Counts; sums of a weight u = 1 / |x - old loc|, of u r, of u r^2, and of 1 / u.

    Events tied with the old location have no weight, but a count and a sum of r of their own.
    """

    count: Array
    weight: Array
    first: Array
    second: Array
    size: Array
    tied: Array
    place: Array


class Laplace(Refittable):
    """Laplace density of one real number: log p(x) = -|x - loc| / scale - log(2 scale), in nats.

    EM treats it as a normal of random variance (Andrews and Mallows 1974): residuals are weighed
    by the inverse of their old size.

    Args:
        loc: location (mean and median), a scalar.
        scale: mean absolute deviation, a positive scalar; or `log_scale`, its logarithm.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Laplace(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-0.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    about: ClassVar[str] = "loc"

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    scale = exp_of("log_scale")

    def __init__(self, loc, scale=None, *, log_scale=None):
        store(self, loc=loc, scale=scale, log_scale=log_scale)

    mean = stated(lambda self: self.loc)
    variance = stated(lambda self: 2 * jnp.exp(2 * self.log_scale))

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        x = one_event(x, (), self)
        z = jnp.abs(x - self.loc) * jnp.exp(-self.log_scale)
        return -z - self.log_scale - jnp.log(jnp.full_like(z, 2))

    def cdf(self, x) -> Scalar:
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        tail = 0.5 * jnp.exp(-jnp.abs(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def log_cdf(self, x) -> Scalar:
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        above = jnp.log1p(-0.5 * jnp.exp(-jnp.where(z < 0, 0, z)))
        return jnp.where(z < 0, z - float(np.log(2)), above)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.loc + self.scale * jax.random.laplace(key, (), self.loc.dtype)

    def stats(self, x, origin=None) -> Weighed:
        x = one_event(x, (), self)
        r = x - origin
        size = jnp.abs(x - self.loc)
        tied = (size <= NEAR * self.scale).astype(r.dtype)
        weight = (1 - tied) / jnp.where(tied > 0, 1, size)
        return Weighed(jnp.ones_like(r), weight, r * weight, r * (r * weight), size, tied, r * tied)

    def _apart(self, stats: Weighed, shift) -> Array:
        """Bounds of the summed absolute residuals about a shifted location, exact at the old one."""
        square = shifted(stats.weight, stats.first, stats.second, -shift)[1]
        return 0.5 * (square + stats.size) + jnp.abs(stats.tied * shift - stats.place)

    def from_stats(self, stats: Weighed, origin=None) -> Self:
        # Events tied with the old location hold it unless the others pull with more than their
        # number (Vardi and Zhang 2000, doi:10.1073/pnas.97.4.1423).
        mean = stats.first / or_one(stats.weight)
        place = jnp.where(stats.tied > 0, stats.place / or_one(stats.tied), mean)
        pull = jnp.abs(stats.first - place * stats.weight)
        shift = place + jnp.maximum(1 - stats.tied / or_one(pull), 0) * (mean - place)
        loc = origin + shift
        return self._replace(loc=loc, log_scale=jnp.log(self._apart(stats, shift) / stats.count))

    def expected_log_prob(self, stats: Weighed, origin=None) -> Scalar:
        shift = self.loc - origin
        log_height = -self.log_scale - float(np.log(2))
        return jnp.sum(stats.count * log_height - self._apart(stats, shift) / self.scale)

    def floor(self, stats: Weighed, share) -> Weighed:
        floor = share * weighed_variance(or_one(stats.weight), stats.first, stats.second)
        # The derivative of the root of 0 is infinite.
        root = jnp.where(floor > 0, jnp.sqrt(or_one(floor)), jnp.zeros_like(floor))
        return Weighed(*map(jnp.zeros_like, stats))._replace(size=root)

    def recentre(self, stats: Weighed, old, new) -> Weighed:
        shift = old - new
        first, second = shifted(stats.weight, stats.first, stats.second, shift)
        return stats._replace(first=first, second=second, place=stats.place + shift * stats.tied)

    def curvature_of_kinks(self, stats: Weighed) -> Self:
        return self._replace(
            loc=stats.count / self.scale**2, log_scale=jnp.zeros_like(self.log_scale)
        )

    def on_boundary(self, floor: Weighed):
        return self.scale <= floor.size
