"""Families on the simplex: probabilities that add up to 1, and one of two."""

import abc
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from ._family import (
    UNIT,
    Domain,
    ExponentialFamily,
    exp_of,
    newton_maximum,
    one_event,
    outside,
    stated,
    store,
)
from ._special import deviance, log_minus_digamma, stirling, trigamma
from ._tails import beta_sides


class Logs(NamedTuple):
    """Counts, and sums of log x less the origin, a coordinate each."""

    count: Array
    logs: Array


class _Concentrations(ExponentialFamily):
    """What both families share. With m = a / A the mean and A the total concentration,

    log p(x) = sum_i a_i (log x_i - log m_i - log x_i / a_i) + sum_i g(a_i) - g(A),
    g(a) = a log a - a - log Gamma(a): nothing large cancels at large concentrations.
    """

    @property
    @abc.abstractmethod
    def _log_a(self) -> Float[Array, "*stack d"]:
        """Logarithms of the concentrations."""

    @abc.abstractmethod
    def _with(self, log_a: Float[Array, "*stack d"]) -> Self:
        """The density of these concentrations."""

    @abc.abstractmethod
    def _safe_logs(self, x: Any) -> tuple[Array, Array]:
        """The logarithms of the coordinates, safe off the support, and 0, -inf or NaN by it."""

    origin = property(lambda self: jax.nn.log_softmax(self._log_a))

    def log_base(self, x) -> Scalar:
        logs, base = self._safe_logs(x)
        return base - jnp.sum(logs)

    def log_prob(self, x) -> Scalar:
        x = one_event(x, self._event_shape, self)
        logs, base = self._safe_logs(x)
        a = jnp.exp(self._log_a)
        total = jnp.sum(a)
        head = jnp.sum(stirling(a)) - stirling(total)
        return head - jnp.sum(deviance(a, jnp.log(total) + logs)) - jnp.sum(logs) + base

    def stats(self, x, origin=None) -> Logs:
        logs, _ = self._safe_logs(x)
        return Logs(jnp.ones((), logs.dtype), logs - origin)

    def natural(self, origin=None) -> Logs:
        a, mean = jnp.exp(self._log_a), self.origin
        head = jnp.sum(stirling(a), -1) - stirling(jnp.sum(a, -1))
        return Logs(head + jnp.sum(a * (origin - mean), -1), a)

    def log_normaliser(self, natural: Logs, origin=None) -> Scalar:
        inside = jnp.all(natural.logs > 0, -1)
        a = jnp.where(inside[..., None], natural.logs, jnp.ones_like(natural.logs))
        total = jnp.sum(a, -1, keepdims=True)
        shift = jnp.log(a / total) - origin
        value = stirling(total[..., 0]) - jnp.sum(stirling(a), -1) + jnp.sum(a * shift, -1)
        return jnp.where(inside, value, jnp.full_like(value, jnp.inf))

    def from_stats(self, stats: Logs, origin=None) -> Self:
        means = stats.logs / stats.count[..., None]
        return self._with(newton_maximum(_level, self._log_a, (means, origin), _derivatives))

    def floor(self, stats: Logs, share) -> Logs:
        a = jnp.exp(self.from_stats(stats, self.origin)._log_a)
        return Logs(jnp.zeros_like(stats.count), -share * _gaps(a))

    def recentre(self, stats: Logs, old, new) -> Logs:
        return Logs(stats.count, stats.logs + stats.count[..., None] * (old - new))

    def on_boundary(self, floor: Logs):
        # Mean logarithms have no more digits than this: more spread cannot be told from none.
        rounding = 4 * jnp.finfo(self._log_a.dtype).eps * jnp.abs(self.origin)
        return jnp.any(_gaps(jnp.exp(self._log_a)) <= rounding - 2 * floor.logs, -1)


def _level(log_a, given):
    """Mean log-density of events of given mean logarithms, less the base measure."""
    means, centre = given
    a = jnp.exp(log_a)
    head = jnp.sum(stirling(a)) - stirling(jnp.sum(a))
    return head + jnp.vdot(a, means + (centre - jax.nn.log_softmax(log_a)))


def _derivatives(log_a, given):
    """Gradient and Hessian of the level (Minka 2000, "Estimating a Dirichlet distribution")."""
    means, centre = given
    a = jnp.exp(log_a)
    slope = a * (means + (centre - jax.nn.log_softmax(log_a)) + _gaps(a))
    bend = jnp.diag(slope - a * a * trigamma(a)) + jnp.outer(a, a) * trigamma(jnp.sum(a))
    return slope, bend


def _gaps(a):
    """What the logarithm of each mean has above the mean of the logarithm."""
    return log_minus_digamma(a) - log_minus_digamma(jnp.sum(a, -1, keepdims=True))


class Beta(_Concentrations):
    """Beta density of a number between 0 and 1, in nats; its M-step is a Newton ascent.

    log p(x) = (a - 1) log x + (b - 1) log(1 - x) - log B(a, b).

    Args:
        a: a positive scalar.
        b: a positive scalar.
        log_a, log_b: their logarithms, any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Beta(2, 2).log_prob(jnp.array(0.5)).round(4)
        Array(0.4055, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True
    domain = UNIT

    log_a: Float[Array, "*stack"]
    log_b: Float[Array, "*stack"]
    a = exp_of("log_a")
    b = exp_of("log_b")

    def __init__(self, a=None, b=None, *, log_a=None, log_b=None):
        store(self, a=a, log_a=log_a, b=b, log_b=log_b)

    mean = stated(lambda self: jax.nn.sigmoid(self.log_a - self.log_b))
    variance = stated(lambda self: self.mean * (1 - self.mean) / (self.a + self.b + 1))
    _log_a = property(lambda self: jnp.stack([self.log_a, self.log_b], -1))

    def _with(self, log_a):
        return self._replace(log_a=log_a[..., 0], log_b=log_a[..., 1])

    def _safe_logs(self, x):
        value, base = self.on_support(x)
        return jnp.stack([jnp.log(value), jnp.log1p(-value)]), base

    def log_cdf(self, x) -> Scalar:
        head = self.log_prob(x) + jnp.sum(self._safe_logs(x)[0])
        return beta_sides(head, self.a, self.b, x, 1 - x)[0]

    def sample(self, key: Key[Array, ""]) -> Scalar:
        # Two gammas, which JAX differentiates implicitly (Figurnov et al. 2018, arXiv 1805.08498).
        return jax.random.beta(key, self.a, self.b, (), self.log_a.dtype)


class Dirichlet(_Concentrations):
    """Dirichlet density of probabilities that add up to 1, in nats; its M-step is a Newton ascent.

    log p(x) = log Gamma(sum a) - sum log Gamma(a_i) + sum (a_i - 1) log x_i.

    Args:
        concentration: vector (d,) of positive numbers.
        log_concentration: their logarithms (d,), any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.Dirichlet(jnp.ones(3)).log_prob(jnp.array([0.2, 0.3, 0.5])).round(4)
        Array(0.6931, dtype=float32)
    """

    reparametrised: ClassVar[bool] = True

    log_concentration: Float[Array, "*stack d"]
    concentration = exp_of("log_concentration")
    dim = property(lambda self: self.log_concentration.shape[-1])

    def __init__(self, concentration=None, *, log_concentration=None):
        store(self, concentration=concentration, log_concentration=log_concentration)

    @property
    def domain(self) -> Domain:
        words = f"{self.dim} positive numbers that add up to 1"
        return Domain(words, low=0, open=True, dim=self.dim, total=1.0)

    mean = stated(lambda self: jax.nn.softmax(self.log_concentration), "d")

    @property
    def variance(self) -> Float[Array, "*stack d"]:
        total = jnp.sum(self.concentration, -1, keepdims=True)
        return self.mean * (1 - self.mean) / (total + 1)

    _log_a = property(lambda self: self.log_concentration)

    def _with(self, log_a):
        return self._replace(log_concentration=log_a)

    def _safe_logs(self, x):
        x = one_event(x, self._event_shape, self)
        total = jnp.sum(x)
        slack = 100 * jnp.finfo(x.dtype).eps * self.dim
        inside = jnp.all(x > 0) & (jnp.abs(total - 1) <= slack)
        safe = jnp.where(inside, x, jnp.full_like(x, 1 / self.dim))
        return jnp.log(safe), outside(inside, total)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return jax.random.dirichlet(key, self.concentration, dtype=self.log_concentration.dtype)
