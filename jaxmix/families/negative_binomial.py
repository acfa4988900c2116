"""The negative binomial family of a count."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Scalar

from ._family import COUNT, Refittable, exp_of, sigmoid_of, stated, store
from ._special import (
    deviance,
    farther,
    log_factorial_gap,
    log_minus_digamma,
    stirling,
)
from ._tails import beta_sides

LIMIT = 1e5  # means of successes beyond which a fit doesn't go: a Poisson, to 1e-10 nats


class Groups(NamedTuple):
    """Counts, and sums of x and of what x has above its expected number of groups."""

    count: Array
    total: Array
    excess: Array


class NegativeBinomial(Refittable):
    """Negative binomial density of a count: a Poisson whose rate is gamma distributed, in nats.

    log p(x) = log Gamma(x + r) - log Gamma(r) - log x! + r log(prob) + x log(1 - prob).

    EM treats it as a Poisson number of groups whose sizes are logarithmic (Quenouille 1949).

    Args:
        successes: the number r of successes awaited, a positive scalar, whole or not.
        prob: probability of success, in (0, 1]; the mean is r (1 - prob) / prob.
        log_successes, logits: log(r) and log(prob / (1 - prob)), any numbers, instead.

    Example:
        >>> import jaxmix as jm, jax.numpy as jnp
        >>> jm.NegativeBinomial(2, 0.5).log_prob(jnp.array(0)).round(4)
        Array(-1.3863, dtype=float32)
    """

    domain = COUNT

    log_successes: Float[Array, "*stack"]
    logit: Float[Array, "*stack"]
    successes = exp_of("log_successes")
    prob = sigmoid_of("logit")

    def __init__(self, successes=None, prob=None, *, log_successes=None, logits=None):
        forms = {"successes": successes, "log_successes": log_successes}
        store(self, **forms, prob=prob, logits=logits)

    mean = stated(lambda self: jnp.exp(self.log_successes - self.logit))
    variance = stated(lambda self: self.mean / self.prob)

    def log_prob(self, x) -> Scalar:
        value, base = self.on_support(x)
        r = self.successes
        n = value + r
        wins = jnp.log(n) + jax.nn.log_sigmoid(self.logit)
        losses = jnp.log(n) + jax.nn.log_sigmoid(-self.logit)
        head = stirling(r) - stirling(n) + log_factorial_gap(value)
        return head - deviance(r, wins) - deviance(value, losses) + base

    def log_cdf(self, x) -> Scalar:
        r = self.successes
        head = self.log_prob(x) + jax.nn.log_sigmoid(-self.logit) + jnp.log(x + r)
        return beta_sides(head, r, x + 1, self.prob, jax.nn.sigmoid(-self.logit))[0]

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        k_rate, k_count = jax.random.split(key)
        rate = jax.random.gamma(k_rate, self.successes, (), self.logit.dtype)
        return jax.random.poisson(k_count, rate * jnp.exp(-self.logit), ())

    def stats(self, x, origin=None) -> Groups:
        value, _ = self.on_support(x)
        r = self.successes
        # The expected number of groups is r (digamma(x + r) - digamma(r)).
        digammas = jnp.log1p(value / r) - log_minus_digamma(value + r) + log_minus_digamma(r)
        return Groups(jnp.ones_like(value), value, value - r * digammas)

    def from_stats(self, stats: Groups, origin=None) -> Self:
        log_mean = jnp.log(stats.total) - jnp.log(stats.count)
        plain = log_mean - self.log_successes - _log_odds_of(stats.excess / stats.total)
        log_successes = self._next_log_successes(plain, stats, jnp.exp(log_mean))
        log_odds = log_mean - log_successes  # of (1 - prob) / prob
        return self._replace(log_successes=log_successes, logit=-log_odds)

    def _next_log_successes(self, plain, stats: Groups, mean):
        """The step of EM, which crawls where r is large, or one of scoring if that is longer.

        In 1 / r at this mean, in which the log-likelihood is all but a parabola there. The expected
        information is (mean r / (mean + r))^2 / 2 times what it is of gamma densities in units of
        theirs, to 1 %: at small means it is less, and the step too short.
        """
        r = self.successes
        groups = (stats.total - stats.excess) / stats.count
        score = -r * (groups - r * jnp.log1p(mean / r))
        information = 0.5 * (mean / (1 + mean / r)) ** 2 * (r + 0.816) / (r + 0.408)
        top = jnp.log(1 + mean) + float(np.log(LIMIT))
        return farther(self.log_successes, plain, 1 + score * r / information, top)

    def limits(self, stats=None):
        far = self.log_successes > float(np.log(500)) + jnp.log(1 + self.mean)
        return {"log_successes": far}

    def expected_log_prob(self, stats: Groups, origin=None) -> Scalar:
        log_win, log_loss = jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit)
        groups = (stats.total - stats.excess) * self.log_successes
        return jnp.sum(groups + stats.count * self.successes * log_win + stats.total * log_loss)

    def floor(self, stats: Groups, share) -> Groups:
        """Events beyond the groups: the number of successes stays finite."""
        zero = jnp.zeros_like(stats.count)
        some = share * (1 + stats.total / stats.count)
        return Groups(zero, some, 0.5 * some)


def _shortfall(q):
    """The share 1 - log(1 + q) / q, to its own digits."""
    small = q < 0.05
    near, far = jnp.where(small, q, jnp.zeros_like(q)), jnp.where(small, jnp.ones_like(q), q)
    series = near * (1 / 2 - near * (1 / 3 - near * (1 / 4 - near * (1 / 5 - near / 6))))
    return jnp.where(small, series, 1 - jnp.log1p(far) / far)


def _log_odds_of(share: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The log q at which 1 - log(1 + q) / q is this share: Newton on the logits of both sides."""
    wanted = jnp.log(share) - jnp.log1p(-share)

    def level(log_q):
        q = jnp.exp(log_q)
        return jnp.log(_shortfall(q)) - jnp.log(jnp.log1p(q)) + log_q

    log_q = wanted + float(np.log(2))
    for _ in range(6):
        value, slope = jax.jvp(level, (log_q,), (jnp.ones_like(log_q),))
        log_q = log_q - (value - wanted) / slope
    return log_q
