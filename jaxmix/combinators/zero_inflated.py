"""Counts with more zeros than their law has."""

from typing import Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import as_part, is_density, one_event
from ..families._entrances import of_field
from ..families.bernoulli import Bernoulli
from ._labels import HiddenLabel


class ZeroInflated(HiddenLabel):
    """Density of a count that is 0 for one more reason, in nats.

    log p(x) = log(p_zero [x = 0] + (1 - p_zero) p(x)).

    Args:
        count: density of a count, of any family.
        p_zero: probability of the extra zero, or a density of it (`Bernoulli`).
        logits: log(p_zero / (1 - p_zero)), any number, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.ZeroInflated(jm.Poisson(2.0), 0.5).log_prob(jnp.array(0)).round(4)
        Array(-0.5662, dtype=float32)
    """

    count: PyTree
    extra: PyTree
    p_zero, domain = of_field("extra", "prob"), of_field("count", "domain")

    def __init__(self, count, p_zero=None, *, logits=None):
        self.count = as_part("The count of ZeroInflated", count)
        self.extra = p_zero if is_density(p_zero) else Bernoulli(p_zero, logits=logits)

    @classmethod
    def template(cls, count) -> Self:
        """A placeholder for a fit: a template of the count."""
        return cls(count, 0.5)

    mean = property(lambda self: (1 - self.p_zero) * self.count.mean)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return (1 - self.p_zero) * (self.count.variance + self.p_zero * self.count.mean**2)

    def log_parts(self, x) -> tuple[Float[Array, " 2"], Float[Array, " 2"]]:
        """Of its being a count, and of its being the extra zero."""
        x = one_event(x, (), self)
        counted = self.count.log_prob(x)
        zero = jnp.where(
            x == jnp.zeros_like(x), jnp.zeros_like(counted), jnp.full_like(counted, -jnp.inf)
        )
        which = [self.extra.log_prob(jnp.asarray(extra)) for extra in (False, True)]
        return jnp.stack(which), jnp.stack([counted, zero])

    def cdf(self, x: Scalar) -> Scalar:
        below = self.p_zero + (1 - self.p_zero) * self.count.cdf(x)
        return jnp.where(x >= 0, below, jnp.zeros_like(below))

    def sample(self, key: Key[Array, ""]) -> PyTree:
        k_extra, k_count = jax.random.split(key)
        drawn = self.count.sample(k_count)
        return jnp.where(self.extra.sample(k_extra), jnp.zeros_like(drawn), drawn)
