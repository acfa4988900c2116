"""Proposals for vectors of many coordinates, and proposals with heavy tails."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._density import LogDensity, one_event
from ..families import MultivariateNormal
from ..families._entrances import exp_of, of_field, store
from ..families._factors import log_det_of, whitener
from ..families._special import LOG_2_PI


class LowRankNormal(LogDensity):
    """Normal density of a vector, stretched along a few directions.

    With u = (x - mean) / scale the covariance of u is I + V diag(stretch^2 - 1) V', V orthonormal.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,) across all other directions; or `log_scale` instead.
        directions: orthonormal columns (d, r).
        stretch: standard deviations (r,) of u along them, positive; or `log_stretch` instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> axis = jnp.array([[1.0], [0.0]])
        >>> flat = jm.importance.LowRankNormal(jnp.zeros(2), jnp.ones(2), axis, jnp.array([2.0]))
        >>> flat.log_prob(jnp.array([2.0, 0.0])).round(4)  # -1/2 - log 2 - log(2 pi)
        Array(-3.031, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack d"]
    directions: Float[Array, "*stack d r"]
    log_stretch: Float[Array, "*stack r"]

    def __init__(
        self, mean, scale=None, directions=None, stretch=None, *, log_scale=None, log_stretch=None
    ):
        store(
            self, mean=mean, scale=scale, log_scale=log_scale, directions=directions,
            stretch=stretch, log_stretch=log_stretch,
        )  # fmt: skip

    dim = property(lambda self: self.mean.shape[-1])
    scale, stretch = exp_of("log_scale"), exp_of("log_stretch")

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        u = (one_event(x, self.mean.shape, self) - self.mean) * jnp.exp(-self.log_scale)
        along = jnp.dot(u, self.directions, precision="highest")
        square = jnp.sum(u * u) + jnp.sum(along**2 * jnp.expm1(-2 * self.log_stretch))
        log_det = jnp.sum(self.log_scale) + jnp.sum(self.log_stretch)
        return -0.5 * square - log_det - 0.5 * self.dim * LOG_2_PI

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        z = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        along = jnp.dot(z, self.directions, precision="highest") * jnp.expm1(self.log_stretch)
        u = z + jnp.dot(self.directions, along, precision="highest")
        return self.mean + jnp.exp(self.log_scale) * u


class MultivariateT(LogDensity):
    """Student's t density of a vector: a normal whose precision is gamma distributed.

    log p(x) = log Gamma((v + d) / 2) - log Gamma(v / 2) - d log(v pi) / 2 + log det W
    - (v + d) / 2 log(1 + |W'(x - loc)|^2 / v), in nats, W W' = shape^-1.

    Args:
        df: degrees of freedom v, a positive scalar; or `log_df` instead.
        loc: vector (d,).
        shape: positive definite matrix (d, d); the covariance is v / (v - 2) of it.
        forms: `scale_tril`, `precision` or `factor` of the shape instead, as of a covariance in
            `MultivariateNormal`.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> cauchy = jm.importance.MultivariateT(1, jnp.zeros(1), jnp.eye(1))
        >>> round(float(cauchy.log_prob(jnp.zeros(1))), 3)  # -log(pi)
        -1.145
    """

    reparametrised: ClassVar[bool] = True

    log_df: Float[Array, "*stack"]
    normal: MultivariateNormal  # of which it is a mixture over scales

    def __init__(self, df=None, loc=None, shape=None, *, log_df=None, **forms):
        store(self, df=df, log_df=log_df)
        self.normal = MultivariateNormal(loc, shape, **forms)

    df, loc, mean = exp_of("log_df"), of_field("normal", "mean"), of_field("normal", "mean")

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        x, factor = one_event(x, self.loc.shape, self.normal), self.normal.factor
        z = jnp.dot(x - self.loc, whitener(factor), precision="highest")
        v, d = jnp.exp(self.log_df), self.loc.shape[-1]
        head = jax.lax.lgamma((v + d) / 2) - jax.lax.lgamma(v / 2) - 0.5 * d * jnp.log(v * jnp.pi)
        return head + log_det_of(factor) - (v + d) / 2 * jnp.log1p(jnp.sum(z * z) / v)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        k_normal, k_scale = jax.random.split(key)
        v = jnp.exp(self.log_df)
        precision = jax.random.gamma(k_scale, v / 2, dtype=self.loc.dtype) / (v / 2)
        return self.loc + (self.normal.sample(k_normal) - self.loc) / jnp.sqrt(precision)
