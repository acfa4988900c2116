"""The zeta family of a whole number from 1 up: ranks, and sizes with a heavy tail."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _loops
from ._family import TRIALS, ExponentialFamily, Form, Total, store, within
from ._special import log_zeta


class Zeta(ExponentialFamily):
    """Zeta (Zipf) density of 1, 2, ...: log p(x) = -s log x - log zeta(s), s > 1, in nats.

    Johnson, Kemp and Kotz (2005, "Univariate discrete distributions", 11.2.20); log(s - 1) is
    stored, and the M-step is a Newton ascent. `sample` leaves out what no integer holds.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> jm.Zeta(2).log_prob(1).round(4)  # log(6 / pi^2)
        Array(-0.4977, dtype=float32)
        >>> jm.em.run(jm.Zeta(2), jnp.array([1, 1, 2, 1, 3, 5, 9])).model.exponent.round(2)
        Array(1.8, dtype=float32)
    """

    domain = TRIALS
    log_excess: Float[Array, "*stack"]
    exponent = Form(
        "log_excess", lambda log: 1 + jnp.exp(log), lambda s: jnp.log(s - 1), "s, above 1."
    )

    def __init__(self, exponent=None, *, log_excess=None):
        store(self, exponent=exponent, log_excess=log_excess)

    @property
    def mean(self) -> Float[Array, "*stack"]:
        """Infinite where the exponent is at most 2."""
        return 1 + self._beyond_one(1)

    @property
    def variance(self) -> Float[Array, "*stack"]:
        """Infinite where the exponent is at most 3, NaN where there is no mean."""
        first = self._beyond_one(1)
        return jnp.where(jnp.isfinite(first), self._beyond_one(2) - first * first, jnp.nan)

    def _beyond_one(self, power):
        """Mean of (x - 1)^power, 1 or 2, of which no digit is lost where almost all x are 1."""
        excess = jnp.exp(self.log_excess)
        there = excess > power
        lower = lambda j: jnp.where(there, excess - j, jnp.ones_like(excess))
        above = [jnp.expm1(log_zeta(lower(j))) for j in range(power + 1)]
        rise = above[1] - above[0] if power == 1 else above[2] - 2 * above[1] + above[0]
        return jnp.where(there, rise / (1 + above[0]), jnp.full_like(rise, jnp.inf))

    def stats(self, x, origin=None):
        value, _ = self.on_support(x)
        return Total(jnp.ones_like(value), jnp.log(value))

    def natural(self, origin=None):
        excess = jnp.exp(self.log_excess)
        return Total(-log_zeta(excess), -1 - excess)

    def log_normaliser(self, natural, origin=None):
        return within(natural.total < -1, log_zeta, -1 - natural.total)

    def cdf(self, x):
        above = jnp.log(jax.scipy.special.zeta(self.exponent, x + 1))
        return -jnp.expm1(above - log_zeta(jnp.exp(self.log_excess)))

    def sample(self, key):
        """Devroye (1986, "Non-uniform random variate generation", X.6.1): by rejection."""
        excess, most = jnp.exp(self.log_excess), jnp.iinfo(int).max

        def draw(carry):
            k_u, k_v, k_next = jax.random.split(carry[0], 3)
            log_x = jax.random.exponential(k_u, (), excess.dtype) / excess
            x = jnp.floor(jnp.exp(jnp.minimum(log_x, jnp.log(jnp.asarray(most, excess.dtype)))))
            rise = jnp.expm1(excess * jnp.log1p(1 / x))  # of (1 + 1 / x)^(s - 1) above 1
            v = jax.random.uniform(k_v, (), excess.dtype)
            fits = v * x * rise * 2**excess <= (1 + rise) * (2**excess - 1)
            return k_next, x, fits & (x < 0.99 * most)

        last = _loops.while_loop(lambda carry: ~carry[2], draw, (key, excess, excess < 0))
        return last[1].astype(int)
