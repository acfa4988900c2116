"""The Weibull family of one positive number, whose parameters EM moves by gradient."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._density import LogDensity, one_event
from .._numerics import as_float
from ._domain import POSITIVE, Domain
from ._entrances import entrance
from ._special import log_one_less_exp
from ._support import positive


class Weibull(LogDensity):
    """Weibull density of one positive number, in nats.

    log p(x) = log(shape / scale) + (shape - 1) log(x / scale) - (x / scale)^shape.
    It is no exponential family: it has no statistics, EM moves it by gradient, and
    `jm.em.conjugate_prior` has no prior for it.

    Args:
        shape: a positive scalar.
        scale: a positive scalar.
        log_shape, log_scale: their logarithms, any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Weibull(1, 2).log_prob(jnp.array(2.0)).round(4)
        Array(-1.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    ranks: ClassVar[dict[str, int]] = {"log_shape": 0, "log_scale": 0}
    domain: ClassVar[Domain] = POSITIVE

    log_shape: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, shape=None, scale=None, *, log_shape=None, log_scale=None):
        log_of_shape, shape = entrance("Weibull", shape=shape, log_shape=log_shape)
        log_of_scale, scale = entrance("Weibull", scale=scale, log_scale=log_scale)
        shape, scale = as_float(shape, scale)
        self.log_shape, self.log_scale = log_of_shape(shape), log_of_scale(scale)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(1.0, 1.0)

    @property
    def shape(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_shape)

    @property
    def scale(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_scale)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.scale * jnp.exp(jax.lax.lgamma(1 + 1 / self.shape))

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return self.scale**2 * jnp.exp(jax.lax.lgamma(1 + 2 / self.shape)) - self.mean**2

    def log_prob(self, x) -> Scalar:
        x = one_event(x, (), self)
        value, base = positive(x, self.log_shape.dtype)
        log_ratio = jnp.log(value) - self.log_scale
        power = self.shape * log_ratio
        return self.log_shape - jnp.log(value) + power - jnp.exp(power) + base

    def cdf(self, x) -> Scalar:
        return jnp.exp(self.log_cdf(x))

    def log_cdf(self, x) -> Scalar:
        value, base = positive(one_event(x, (), self), self.log_shape.dtype)
        below = log_one_less_exp(self.shape * (jnp.log(value) - self.log_scale))
        return jnp.where(x > 0, below, base)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        draw = jax.random.exponential(key, (), self.log_shape.dtype)
        return self.scale * draw ** (1 / self.shape)
