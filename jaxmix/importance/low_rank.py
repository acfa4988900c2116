"""Proposals for vectors of many coordinates, and proposals with heavy tails."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from .._density import LogDensity
from .._numerics import as_float

LOG_2_PI = 1.8378770664093453


class LowRankNormal(LogDensity):
    """Normal density of a vector, stretched along a few directions.

    With u = (x - mean) / scale the covariance of u is I + V diag(stretch^2 - 1) V', V orthonormal.

    Args:
        mean: vector (d,).
        scale: standard deviations (d,) across all other directions.
        directions: orthonormal columns (d, r).
        stretch: standard deviations (r,) of u along them, positive.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> axis = jnp.array([[1.0], [0.0]])
        >>> flat = jm.importance.LowRankNormal(jnp.zeros(2), jnp.ones(2), axis, jnp.array([2.0]))
        >>> flat.log_prob(jnp.array([2.0, 0.0])).round(4)  # -1/2 - log 2 - log(2 pi)
        Array(-3.031, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    ranks: ClassVar[dict[str, int]] = {"mean": 1, "log_scale": 1, "directions": 2, "log_stretch": 1}

    mean: Float[Array, "*stack d"]
    log_scale: Float[Array, "*stack d"]
    directions: Float[Array, "*stack d r"]
    log_stretch: Float[Array, "*stack r"]

    def __init__(self, mean, scale, directions, stretch):
        self.mean, scale, self.directions, stretch = as_float(mean, scale, directions, stretch)
        self.log_scale, self.log_stretch = jnp.log(scale), jnp.log(stretch)

    @property
    def dim(self) -> int:
        return self.mean.shape[-1]

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        u = (x - self.mean) * jnp.exp(-self.log_scale)
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
        df: degrees of freedom v, a positive scalar.
        loc: vector (d,).
        shape: positive definite matrix (d, d); the covariance is v / (v - 2) of it.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> cauchy = jm.importance.MultivariateT(1, jnp.zeros(1), jnp.eye(1))
        >>> round(float(cauchy.log_prob(jnp.zeros(1))), 3)  # -log(pi)
        -1.145
    """

    reparametrised: ClassVar[bool] = True
    ranks: ClassVar[dict[str, int]] = {"log_df": 0, "loc": 1, "root": 2, "whitener": 2}

    log_df: Float[Array, "*stack"]
    loc: Float[Array, "*stack d"]
    root: Float[Array, "*stack d d"]
    whitener: Float[Array, "*stack d d"]

    def __init__(self, df, loc, shape):
        df, self.loc, shape = as_float(df, loc, shape)
        self.log_df = jnp.log(df)
        self.root = jnp.linalg.cholesky(shape)
        eye = jnp.eye(shape.shape[-1], dtype=shape.dtype)
        self.whitener = jax.scipy.linalg.solve_triangular(self.root, eye, lower=True).T

    @property
    def mean(self) -> Float[Array, "*stack d"]:
        return self.loc

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        z = jnp.dot(x - self.loc, self.whitener, precision="highest")
        v, d = jnp.exp(self.log_df), self.loc.shape[-1]
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.whitener)))
        head = jax.lax.lgamma((v + d) / 2) - jax.lax.lgamma(v / 2) - 0.5 * d * jnp.log(v * jnp.pi)
        return head + log_det - (v + d) / 2 * jnp.log1p(jnp.sum(z * z) / v)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        k_normal, k_scale = jax.random.split(key)
        z = jax.random.normal(k_normal, self.loc.shape, self.loc.dtype)
        v = jnp.exp(self.log_df)
        precision = jax.random.gamma(k_scale, v / 2, dtype=self.loc.dtype) / (v / 2)
        return self.loc + jnp.dot(self.root, z, precision="highest") / jnp.sqrt(precision)
