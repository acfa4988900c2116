"""The normal density cut off outside an interval, and the von Mises density of an angle."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from .._density import LogDensity
from .._numerics import as_float
from ._domain import Domain
from ._special import LOG_2_PI
from ._support import outside


class TruncatedNormal(LogDensity):
    """Normal density given that low <= x <= high, in nats; EM moves its parameters by gradient.

    log p(x) = log N(x; loc, scale) - log(Phi((high - loc) / scale) - Phi((low - loc) / scale)).

    Args:
        loc: location of the normal before truncation, a scalar.
        scale: its standard deviation, a positive scalar.
        low: lower end (static), may be -inf.
        high: upper end (static), may be inf.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.TruncatedNormal(0, 1, low=0.0).log_prob(jnp.array(0.0)).round(4)
        Array(-0.2258, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"loc": 0, "log_scale": 0}

    loc: Float[Array, "*stack"]
    log_scale: Float[Array, "*stack"]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(self, loc, scale, *, low: float = -np.inf, high: float = np.inf):
        self.loc, scale = as_float(loc, scale)
        self.log_scale, self.low, self.high = jnp.log(scale), float(low), float(high)

    @classmethod
    def template(cls, *, low: float = -np.inf, high: float = np.inf) -> Self:
        """A placeholder for a fit, at the middle (or the one end) of the interval."""
        ends = [end for end in (low, high) if np.isfinite(end)]
        return cls(sum(ends) / max(len(ends), 1), 1.0, low=low, high=high)

    @property
    def domain(self) -> Domain:
        words = f"a number from {self.low} to {self.high}"
        return Domain(words, low=self.low, high=self.high)

    def _ends(self):
        scale = jnp.exp(self.log_scale)
        return (self.low - self.loc) / scale, (self.high - self.loc) / scale

    def log_mass(self) -> Scalar:
        """Logarithm of the mass of the interval under the whole normal."""
        low, high = self._ends()
        # In the upper tail by its mirror image, where the distribution function keeps its digits.
        swap = low > 0
        a, b = jnp.where(swap, -high, low), jnp.where(swap, -low, high)
        log_b, log_a = jax.scipy.stats.norm.logcdf(b), jax.scipy.stats.norm.logcdf(a)
        return log_b + jnp.log1p(-jnp.exp(log_a - log_b))

    def log_prob(self, x) -> Scalar:
        value = jnp.asarray(x).astype(self.loc.dtype)
        inside = (value >= self.low) & (value <= self.high)
        safe = jnp.where(inside, value, jax.lax.stop_gradient(self.loc))
        z = (safe - self.loc) * jnp.exp(-self.log_scale)
        whole = -0.5 * z * z - self.log_scale - 0.5 * LOG_2_PI
        return whole - self.log_mass() + outside(inside, value)

    def sample(self, key: Key[Array, ""]) -> Scalar:
        low, high = self._ends()
        draw = jax.random.truncated_normal(key, low, high, (), self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * draw


class VonMises(LogDensity):
    """Von Mises density of an angle, in nats; EM moves its parameters by gradient.

    log p(x) = kappa cos(x - loc) - log(2 pi I0(kappa)), on any interval of length 2 pi.

    Args:
        loc: mean direction, an angle.
        concentration: kappa, a positive scalar.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.VonMises(0, 1).log_prob(jnp.array(0.0)).round(4)
        Array(-1.0738, dtype=float32)
    """

    ranks: ClassVar[dict[str, int]] = {"loc": 0, "log_concentration": 0}

    loc: Float[Array, "*stack"]
    log_concentration: Float[Array, "*stack"]

    def __init__(self, loc, concentration):
        self.loc, concentration = as_float(loc, concentration)
        self.log_concentration = jnp.log(concentration)

    @classmethod
    def template(cls) -> Self:
        """A placeholder for a fit."""
        return cls(0.0, 1.0)

    @property
    def concentration(self) -> Float[Array, "*stack"]:
        return jnp.exp(self.log_concentration)

    def log_prob(self, x: Float[Array, ""]) -> Scalar:
        kappa = self.concentration
        # cos - 1 and the scaled Bessel function: neither overflows at a large concentration.
        bend = -2 * jnp.sin(0.5 * (x - self.loc)) ** 2
        return kappa * bend - jnp.log(jax.scipy.special.i0e(kappa)) - LOG_2_PI

    def sample(self, key: Key[Array, ""]) -> Scalar:
        """By rejection from a wrapped Cauchy (Best and Fisher 1979), in [-pi, pi)."""
        kappa, dtype = self.concentration, self.loc.dtype
        tau = 1 + jnp.sqrt(1 + 4 * kappa * kappa)
        rho = (tau - jnp.sqrt(2 * tau)) / (2 * kappa)
        # At a small concentration rho loses its digits, and is kappa / 2.
        rho = jnp.where(kappa > 0.02, rho, 0.5 * kappa)
        r = (1 + rho * rho) / (2 * rho)
        kind = jax.random.key_impl(key)

        def attempt(carry):
            data, _, _ = carry
            k_next, k_angle, k_accept = jax.random.split(
                jax.random.wrap_key_data(data, impl=kind), 3
            )
            turn = jnp.pi * (2 * jax.random.uniform(k_angle, (), dtype) - 1)
            cosine = jnp.cos(turn)
            f = (1 + r * cosine) / (r + cosine)
            c = kappa * (r - f)
            level = jax.random.uniform(k_accept, (), dtype)
            taken = (c * (2 - c) - level > 0) | (jnp.log(c / level) + 1 - c >= 0)
            sign = jnp.where(turn < 0, -jnp.ones_like(f), jnp.ones_like(f))
            angle = sign * jnp.arccos(jnp.clip(f, -1, 1))
            return jax.random.key_data(k_next), angle, taken

        start = (jax.random.key_data(key), jnp.zeros((), dtype), jnp.asarray(False))
        _, angle, _ = jax.lax.while_loop(lambda carry: ~carry[2], attempt, start)
        return jnp.mod(angle + self.loc + jnp.pi, 2 * jnp.pi) - jnp.pi
