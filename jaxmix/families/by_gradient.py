"""Families whose parameters EM moves by gradient: Laplace, Weibull, negative binomial."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Scalar

from .._density import LogDensity
from .._numerics import as_float
from ._domain import COUNT, POSITIVE, Domain
from ._support import counted, positive, times


class Laplace(LogDensity):
    """Laplace density of one real number: log p(x) = -|x - loc| / scale - log(2 scale), in nats.

    Args:
        loc: location (mean and median), a scalar.
        scale: mean absolute deviation, a positive scalar.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Laplace(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-0.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    ranks: ClassVar[dict[str, int]] = {"loc": 0, "log_scale": 0}

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]

    def __init__(self, loc, scale):
        self.loc, scale = as_float(loc, scale)
        self.log_scale = jnp.log(scale)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(0.0, 1.0)

    @property
    def scale(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_scale)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return self.loc

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return 2 * jnp.exp(2 * self.log_scale)

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        z = jnp.abs(x - self.loc) * jnp.exp(-self.log_scale)
        return -z - self.log_scale - jnp.log(jnp.full_like(z, 2))

    def sample(self, key: Key[Array, ""]) -> Scalar:
        return self.loc + self.scale * jax.random.laplace(key, (), self.loc.dtype)


class Weibull(LogDensity):
    """Weibull density of one positive number, in nats.

    log p(x) = log(shape / scale) + (shape - 1) log(x / scale) - (x / scale)^shape.

    Args:
        shape: a positive scalar.
        scale: a positive scalar.

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

    def __init__(self, shape, scale):
        shape, scale = as_float(shape, scale)
        self.log_shape, self.log_scale = jnp.log(shape), jnp.log(scale)

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
        value, base = positive(x, self.log_shape.dtype)
        log_ratio = jnp.log(value) - self.log_scale
        power = self.shape * log_ratio
        return self.log_shape - jnp.log(value) + power - jnp.exp(power) + base

    def sample(self, key: Key[Array, ""]) -> Scalar:
        draw = jax.random.exponential(key, (), self.log_shape.dtype)
        return self.scale * draw ** (1 / self.shape)


class NegativeBinomial(LogDensity):
    """Negative binomial density of a count: a Poisson whose rate is gamma distributed, in nats.

    log p(x) = log Gamma(x + r) - log Gamma(r) - log x! + r log(prob) + x log(1 - prob).

    Args:
        successes: the number r of successes awaited, a positive scalar, whole or not.
        prob: probability of success, in (0, 1]; the mean is r (1 - prob) / prob.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.NegativeBinomial(2, 0.5).log_prob(jnp.array(0)).round(4)
        Array(-1.3863, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"log_successes": 0, "logit": 0}
    domain: ClassVar[Domain] = COUNT

    log_successes: Float[Array, "*stack"]
    logit: Float[Array, "*stack"]

    def __init__(self, successes, prob):
        successes, prob = as_float(successes, prob)
        self.log_successes = jnp.log(successes)
        self.logit = jnp.log(prob) - jnp.log1p(-prob)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(1.0, 0.5)

    @property
    def successes(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_successes)

    @property
    def prob(self) -> Float[Array, "*stack"]:
        return jax.nn.sigmoid(self.logit)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_successes - self.logit)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        return self.mean / self.prob

    def log_prob(self, x) -> Scalar:
        value, base = counted(x, self.logit.dtype)
        r = self.successes
        choices = jax.lax.lgamma(value + r) - jax.lax.lgamma(r) - jax.lax.lgamma(value + 1)
        log_win, log_loss = jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit)
        return choices + r * log_win + times(value, log_loss) + base

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        k_rate, k_count = jax.random.split(key)
        rate = jax.random.gamma(k_rate, self.successes, (), self.logit.dtype)
        return jax.random.poisson(k_count, rate * jnp.exp(-self.logit), ())
